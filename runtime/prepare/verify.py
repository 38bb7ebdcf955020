"""Whether a cut model finds what the uncut one finds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npud.detections import Detections
from npud.errors import ModelError
from postprocess.decoder import make_decoder
from runtime import config
from runtime.accuracy.matching import match
from runtime.detector import Detector, read_model
from runtime.frame import Frame

LARGEST_BOX_PX = 0.001
LARGEST_SCORE = 1e-4
LOWEST, MOST = 0.001, 300  # score and number of detections asked of both models
THRESHOLDS = (0.25, 0.05, 0.01, LOWEST)
SMALLEST_PX = 0.1  # sides of boxes that are compared
ENOUGH = 5  # detections that make a comparison


@dataclass(frozen=True)
class Difference:
    """Largest differences between the detections of two models in one picture.

    `threshold` is the score above which `count` detections of the uncut model were compared; box
    sides in source pixels, scores 0..1.
    """

    count: int
    threshold: float
    box_px: float
    score: float


def open_model(path: Path) -> Detector:
    """The model as npud runs it, on the CPU."""
    settings = config.Model(path=str(path))
    return Detector(read_model(settings), settings, config.Backend(name="onnx"))


def found_by(detector: Detector, frame: Frame) -> Detections:
    """What a model finds in a picture, down to LOWEST."""
    seen = detector.observe(frame)
    options = dataclasses.replace(detector.options, score_threshold=LOWEST, max_detections=MOST)
    decode = make_decoder(detector.plan, detector.backend.outputs, options)
    return seen.letterbox.to_source(decode(seen.outputs))


def compare(uncut: Detections, cut: Detections, room: int = MOST) -> Difference:
    """The differences; raises ModelError where one model finds what the other does not.

    `room` is how many detections the uncut model can have.
    """
    threshold = next((t for t in THRESHOLDS if (uncut.scores >= t).sum() >= ENOUGH), LOWEST)
    first, second = _above(uncut, threshold), _above(cut, threshold)
    pairs = match(first, second)
    full = [found for found, most in ((uncut, room), (cut, MOST)) if len(found) >= most]
    limit = max([threshold, *(float(found.scores.min()) for found in full)])
    for some, alone in ((first, pairs.only_a), (second, pairs.only_b)):
        # near the threshold, or the last of a full list, one model may just miss it
        clear = [k for k in alone if some.scores[k] > limit + LARGEST_SCORE]
        if clear:
            by = "uncut" if some is first else "cut"
            raise ModelError(
                f"expected the same detections, got {len(clear)} that only the {by} model has, "
                f"the best with a score of {some.scores[clear].max():.3f}"
            )
    boxes = np.abs(first.boxes[pairs.a] - second.boxes[pairs.b])
    scores = np.abs(first.scores[pairs.a] - second.scores[pairs.b])
    return Difference(
        len(first), threshold, float(boxes.max(initial=0)), float(scores.max(initial=0))
    )


def check(difference: Difference) -> None:
    """Raise ModelError where a difference is more than rounding."""
    if difference.box_px > LARGEST_BOX_PX or difference.score > LARGEST_SCORE:
        raise ModelError(
            f"expected the same detections, to {LARGEST_BOX_PX:g} px and {LARGEST_SCORE:g} in "
            f"score, got differences of {difference.box_px:.3g} px and {difference.score:.3g}"
        )


def _above(found: Detections, threshold: float) -> Detections:
    """Those with at least this score of which clipping has left something to compare by IoU."""
    seen = (found.boxes[:, 2:] - found.boxes[:, :2] > SMALLEST_PX).all(1)
    keep = (found.scores >= threshold) & seen
    return Detections(found.boxes[keep], found.scores[keep], found.class_ids[keep])
