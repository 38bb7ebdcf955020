"""NMS and the true sigmoid in NumPy; what they mean: `postprocess.reference`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from postprocess.options import NmsMode

Float32 = NDArray[np.float32]
Integers = NDArray[np.int64]


def sigmoid(x: NDArray[Any]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) in float64, without overflow for large negative x."""
    x = np.asarray(x, np.float64)
    e = np.exp(-np.abs(x))
    result: NDArray[np.float64] = np.where(x >= 0, 1.0, e) / (1.0 + e)
    return result


def nms(
    boxes: Float32,
    scores: Float32,
    class_ids: NDArray[np.integer[Any]],
    iou_threshold: float,
    max_detections: int = 300,
    mode: NmsMode = "class",
) -> Integers:
    """Return the indices of the boxes that greedy NMS keeps, best first.

    boxes (N, 4) float32 xyxy, scores (N,) float32, class_ids (N,).  The index stands for the cell
    number; NaN scores and non-finite boxes are left out.
    """
    usable = np.flatnonzero(~np.isnan(scores) & np.isfinite(boxes).all(axis=1))
    order = usable[np.lexsort((usable, class_ids[usable], -scores[usable]))]
    if mode == "none" or iou_threshold >= 1.0:
        return order[:max_detections]
    kept: list[int] = []
    for index in order:
        rivals = [k for k in kept if mode == "agnostic" or class_ids[k] == class_ids[index]]
        if not _overlaps(boxes[index], boxes[rivals], iou_threshold):
            kept.append(int(index))
        if len(kept) == max_detections:
            break
    return np.array(kept, np.int64)


def _overlaps(box: Float32, kept: Float32, iou_threshold: float) -> bool:
    """Whether the IoU of `box` (4,) with any of `kept` (K, 4) is greater than the threshold."""
    zero = np.float32(0)
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.maximum(box[:2], kept[:, :2]), np.minimum(box[2:], kept[:, 2:])
        sides = np.maximum(high - low, zero)
        inter = sides[:, 0] * sides[:, 1]
        width, height = np.maximum(box[2:] - box[:2], zero)
        kept_sides = np.maximum(kept[:, 2:] - kept[:, :2], zero)
        union = (width * height + kept_sides[:, 0] * kept_sides[:, 1]) - inter
        return bool((inter > np.float32(iou_threshold) * union).any())
