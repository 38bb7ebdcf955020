"""What two variants found in one frame, as sums that frames can be added up by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from npud.detections import Detections
from runtime.accuracy.matching import match
from runtime.detector import Timing
from runtime.golden.tensors import Key, Values

# Per frame; every measure is a ratio of two of them.
SUMS = (
    "frames", "boxes_a", "boxes_b", "matched", "only_a", "only_b", "lost", "gained",
    "score_shift", "score_distance", "iou", "shift_x", "shift_y", "shift",
    "preprocess_a", "preprocess_b", "inference_a", "inference_b", "postprocess_a", "postprocess_b",
    "cpu_a", "cpu_b", "bytes_a", "bytes_b",
)  # fmt: skip
STAGES = ("preprocess", "inference", "postprocess")


@dataclass(frozen=True)
class Found:
    """What one variant made of a frame.

    detections may reach below the threshold, down to a floor: it is then known whether a box that
    is missing was found with a lower score; cpu_us: CPU time, 0 where it is not known; moved_bytes:
    between CPU and NPU; outputs: by meaning, where they are at hand.
    """

    detections: Detections
    timing: Timing
    cpu_us: int = 0
    moved_bytes: int = 0
    outputs: Mapping[Key, Values] | None = None


@dataclass(frozen=True, eq=False)
class Pair:
    """One frame: sums, and the values of its matched boxes, for distributions.

    scores (M, 2) are of the matched boxes, score_shifts (M,) b's less a's, shifts_px (M,) distances
    of the centres, class_ids (M,) their classes; only_a and only_b the class ids of those without a
    partner, alone their scores.
    """

    sums: NDArray[np.float64]
    score_shifts: NDArray[np.float32]
    ious: NDArray[np.float64]
    shifts_px: NDArray[np.float64]
    class_ids: NDArray[np.int32]
    only_a: NDArray[np.int32]
    only_b: NDArray[np.int32]
    scores: NDArray[np.float32]
    alone: tuple[NDArray[np.float32], NDArray[np.float32]]
    difference: float = field(default=0.0)  # how much there is to see: for a report's examples


def compare(a: Found, b: Found, threshold_a: float, threshold_b: float) -> Pair:
    """Match what both found: pairs at IoU ≥ 0.5 of the same class.

    Boxes count where their score is at least their side's threshold.  A pair of which only one does
    is a flip: `lost` where a's counts, `gained` where b's does; both are among only_a and only_b.
    """
    first, second = a.detections, b.detections
    pairs = match(first, second)
    in_a, in_b = first.scores >= threshold_a, second.scores >= threshold_b
    both = in_a[pairs.a] & in_b[pairs.b]
    left, right = pairs.a[both], pairs.b[both]
    alone_a, alone_b = in_a.copy(), in_b.copy()
    alone_a[left], alone_b[right] = False, False
    score_shifts = second.scores[right] - first.scores[left]
    moved = _centres(second.boxes[right]) - _centres(first.boxes[left])
    distances = np.hypot(moved[:, 0], moved[:, 1])
    sums = dict.fromkeys(SUMS, 0.0)
    sums |= {
        "frames": 1,
        "boxes_a": in_a.sum(),
        "boxes_b": in_b.sum(),
        "matched": len(left),
        "only_a": alone_a.sum(),
        "only_b": alone_b.sum(),
        "lost": (in_a[pairs.a] & ~in_b[pairs.b]).sum(),
        "gained": (~in_a[pairs.a] & in_b[pairs.b]).sum(),
        "score_shift": score_shifts.sum(dtype=np.float64),
        "score_distance": np.abs(score_shifts).sum(dtype=np.float64),
        "iou": pairs.iou[both].sum(),
        "shift_x": moved[:, 0].sum(),
        "shift_y": moved[:, 1].sum(),
        "shift": distances.sum(),
        "cpu_a": a.cpu_us,
        "cpu_b": b.cpu_us,
        "bytes_a": a.moved_bytes,
        "bytes_b": b.moved_bytes,
    }
    for stage in STAGES:
        sums[f"{stage}_a"] = getattr(a.timing, stage)
        sums[f"{stage}_b"] = getattr(b.timing, stage)
    unlike = float(alone_a.sum() + alone_b.sum() + np.abs(score_shifts).sum())
    return Pair(
        np.array([sums[name] for name in SUMS], np.float64),
        score_shifts,
        pairs.iou[both],
        distances,
        first.class_ids[left],
        first.class_ids[alone_a],
        second.class_ids[alone_b],
        np.stack([first.scores[left], second.scores[right]], 1),
        (first.scores[alone_a], second.scores[alone_b]),
        unlike,
    )


def _centres(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    return (boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2
