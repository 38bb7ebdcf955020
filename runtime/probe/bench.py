"""Bench: a loaded model whose pictures are fed, and whose outputs are read, in other ways as well.

Nothing here judges: a setting (how fed, how read) gives detections, and a Trial their figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.detections import Detections
from postprocess.decoder import make_decoder
from postprocess.options import Options
from postprocess.plan import HeadPlan
from postprocess.tensor import TensorSpec
from runtime.accuracy.matching import iou_of, match
from runtime.detector import Detector
from runtime.frame import Frame
from runtime.golden.tensors import Key, Values, by_meaning, probabilities
from runtime.input_spec import InputSpec, Letterbox
from runtime.preprocess import Preprocessor

Picture = NDArray[np.uint8]  # (H, W, 3) BGR
MOST = 3000  # candidates that are looked at


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model gave for one picture, and how it is read: one `specs` entry per tensor."""

    plan: HeadPlan
    specs: tuple[TensorSpec, ...]
    tensors: tuple[NDArray[Any], ...]

    @property
    def values(self) -> dict[Key, Values]:
        """Real values (cells, channels) float32 per role and stride."""
        return by_meaning(self.plan, self.specs, self.tensors)

    @property
    def scores(self) -> NDArray[np.float32]:
        """The best score of every cell (cells,), as the plan reads it; NaN counts as 0."""
        parts, values = [], self.values
        for stride in sorted({key.stride for key in values}):
            likely: Any = 1.0
            for role in ("cls", "obj"):
                array = values.get(Key(role, stride))
                if array is not None:
                    best = np.nan_to_num(array).max(axis=1)
                    likely = likely * probabilities(best, self.plan.activation)
            parts.append(np.asarray(likely, np.float32))
        return np.concatenate(parts)


@dataclass(frozen=True)
class Feed:
    """How a picture is fed.

    `swap`: red and blue are exchanged before, `mirror`: left and right; `turned`: the bytes are
    laid out as NHWC where the spec says NCHW, or the other way round.
    """

    spec: InputSpec
    swap: bool = False
    mirror: bool = False
    turned: bool = False


Reading = Callable[[Outputs], Outputs]


@dataclass(frozen=True)
class Trial:
    """How one setting did on all pictures together; NaN where something was not measured.

    count and mass are the number and the summed scores of its detections; share is the part of the
    cells that pass the threshold (of the worst picture).  tight: how well the boxes that NMS drops
    lie on those that it keeps, per candidate: 0.8 in dense heads that are read right, 0 in
    one-to-one heads.  repeated is the F1 with what is found in the mirrored pictures; close how
    near the detections are to the reference's, 1 for the same boxes and scores.
    """

    count: int
    mass: float
    share: float
    tight: float
    close: float = math.nan
    repeated: float = math.nan


class Bench:
    """A loaded model and the pictures it is tried on; remembers the outputs of every feed."""

    def __init__(
        self,
        detector: Detector,
        pictures: Sequence[Picture],
        reference: Sequence[Detections] | None = None,
        options: Options | None = None,
    ) -> None:
        self.detector = detector
        self.pictures = list(pictures)
        self.reference = reference
        self.deployed = Feed(detector.input)
        self.options = options or detector.options
        self.runs = detector.files.info.format != "recording"  # whatever comes in
        self._shape = detector.backend.inputs[0].shape
        self._known: dict[Feed, list[tuple[Outputs, Letterbox]]] = {}

    def run(self, feed: Feed) -> list[tuple[Outputs, Letterbox]]:
        """The outputs for every picture, and how it was fitted.  Raises InferenceError."""
        if feed not in self._known:
            fit = Preprocessor(turned(feed.spec) if feed.turned else feed.spec)
            self._known[feed] = [self._run(fit, feed, pixels) for pixels in self.pictures]
        return self._known[feed]

    def _run(self, fit: Preprocessor, feed: Feed, pixels: Picture) -> tuple[Outputs, Letterbox]:
        shown = pixels[:, :: -1 if feed.mirror else 1, :: -1 if feed.swap else 1]
        tensor, letterbox = fit(Frame(np.ascontiguousarray(shown)))
        backend = self.detector.backend
        tensors = tuple(np.array(o) for o in backend.infer([tensor.reshape(self._shape)]))
        return Outputs(self.detector.plan, tuple(backend.outputs), tensors), letterbox

    def found(
        self, feed: Feed, reading: Reading | None = None, options: Options | None = None
    ) -> list[Detections]:
        """The detections in every picture, in its pixels; raises ModelError for a bad reading."""
        results = []
        for (outputs, letterbox), pixels in zip(self.run(feed), self.pictures):
            seen = reading(outputs) if reading else outputs
            decode = make_decoder(seen.plan, seen.specs, options or self.options)
            found = letterbox.to_source(decode(seen.tensors))
            results.append(mirrored(found, pixels.shape[1]) if feed.mirror else found)
        return results

    def trial(self, feed: Feed, reading: Reading | None = None, repeat: bool = False) -> Trial:
        """Figures of one setting; `repeat` runs the mirrored pictures too."""
        found = self.found(feed, reading)
        seen = [reading(outputs) if reading else outputs for outputs, _ in self.run(feed)]
        least = self.options.score_threshold
        all_options = replace(self.options, nms="none", iou_threshold=1.0, max_detections=MOST)
        close = repeated = math.nan
        if self.reference is not None:
            close = closeness(self.reference, found)
        if repeat and self.runs:
            repeated = f1(found, self.found(replace(feed, mirror=True), reading))
        return Trial(
            count=sum(map(len, found)),
            mass=sum(float(one.scores.sum()) for one in found),
            share=max(float((one.scores >= least).mean()) for one in seen),
            tight=tightness(self.found(feed, reading, all_options), found),
            close=close,
            repeated=repeated,
        )


def turned(spec: InputSpec) -> InputSpec:
    """The other memory layout."""
    return replace(spec, layout="nhwc" if spec.layout == "nchw" else "nchw")


def mirrored(found: Detections, width_px: int) -> Detections:
    """Detections in a picture of this width, left and right exchanged."""
    boxes = found.boxes.copy()
    boxes[:, 0], boxes[:, 2] = width_px - found.boxes[:, 2], width_px - found.boxes[:, 0]
    return Detections(boxes, found.scores, found.class_ids)


def f1(wanted: Sequence[Detections], found: Sequence[Detections]) -> float:
    """F1 of one-to-one matches (IoU ≥ 0.5, same class) over all pictures; NaN for two nothings."""
    pairs = sum(len(match(a, b)) for a, b in zip(wanted, found))
    total = sum(map(len, wanted)) + sum(map(len, found))
    return 2 * pairs / total if total else math.nan


def closeness(wanted: Sequence[Detections], found: Sequence[Detections]) -> float:
    """As f1(), a pair counting IoU · (1 - difference of the scores); 1 for two nothings."""
    near, total = 0.0, 0
    for a, b in zip(wanted, found):
        pairs = match(a, b)
        shifts = np.abs(a.scores[pairs.a] - b.scores[pairs.b])
        near += float((pairs.iou * (1 - shifts)).sum())
        total += len(a) + len(b)
    return 2 * near / total if total else 1.0


def tightness(candidates: Sequence[Detections], kept: Sequence[Detections]) -> float:
    """Mean best IoU of the candidates that NMS drops with those it keeps, over all candidates."""
    total, count = 0.0, 0
    for every, final in zip(candidates, kept):
        best = np.zeros(len(every))
        for box, label in zip(final.boxes, final.class_ids):
            overlap = iou_of(every.boxes, np.broadcast_to(box, every.boxes.shape))
            best = np.maximum(best, np.where(every.class_ids == label, overlap, 0.0))
        total += float(best.sum()) - len(final)  # which overlap themselves entirely
        count += len(every)
    return max(0.0, total / count) if count else 0.0
