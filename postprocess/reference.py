"""The NumPy reference: slow, plain, and the definition of what every decoder must return.

Cells. Each cell (end2end: each row) gives at most one box, of its best class: the largest class
value, NaN never counting, the lowest class id among equals. Cells are numbered through all
levels, strides ascending, row by row.

Candidates. A cell passes iff its best class value, as stored, is ≥ the score threshold brought
into its domain (`threshold_in_domain`). Its rank is that value. With an objectness (flat) the
objectness must be ≥ the threshold and so must the product of both (float32), which is the rank.

Scores. Probabilities: the rank, at most 1. Logits: σ(rank). Never below the float32 threshold.

Order. Rank descending, then class id ascending, then cell number ascending.

Boxes. xyxy in model-input pixels, not clipped, in float32 with the operations as written here;
only the softmax of DFL is done in float64 (the kernels: float32, 1e-4 cells apart at most).
A box with a NaN or infinite coordinate is dropped and counted, also where an end2end row has a
class that is no integer from 0 to MAX_CLASS_ID.

NMS. In order, a box is dropped iff its IoU with a kept box (of the same class in mode "class") is
greater than the threshold: inter > threshold * union in float32, union = (area + kept area) -
inter. Widths and heights below 0 count as 0, so a degenerate box has IoU 0 with all others. It ends
when `max_detections` boxes are kept; candidates beyond are not looked at (nor counted). end2end
heads have done their NMS: mode "none" applies.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from postprocess.options import NmsMode, Options, threshold_in_domain
from postprocess.plan import HeadPlan, Level
from postprocess.tensor import TensorSpec

MAX_CLASS_ID = 4094  # one more marks a class that is none; it sorts behind all others

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
    if mode == "none":
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
    if iou_threshold >= 1.0:
        return False
    zero = np.float32(0)
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.maximum(box[:2], kept[:, :2]), np.minimum(box[2:], kept[:, 2:])
        sides = np.maximum(high - low, zero)
        inter = sides[:, 0] * sides[:, 1]
        width, height = np.maximum(box[2:] - box[:2], zero)
        kept_sides = np.maximum(kept[:, 2:] - kept[:, :2], zero)
        union = (width * height + kept_sides[:, 0] * kept_sides[:, 1]) - inter
        return bool((inter > np.float32(iou_threshold) * union).any())


class ReferenceEngine:
    """Decodes with NumPy by the definition above; the same signature as the native engine."""

    name = "reference"

    def __init__(self, plan: HeadPlan, outputs: Sequence[TensorSpec], options: Options) -> None:
        self.nonfinite = 0
        self._plan = plan
        self._specs = tuple(outputs)
        self._options = options
        self._threshold = np.float32(threshold_in_domain(options.score_threshold, plan.activation))
        self._lock = threading.Lock()

    def decode(
        self,
        tensors: Sequence[NDArray[Any]],
        boxes: Float32,
        scores: Float32,
        class_ids: NDArray[np.int32],
    ) -> int:
        """Write the detections of one frame; return their number.  ValueError: unfit tensors."""
        self._check(tensors)
        cell_boxes, ranks, classes = self._read(tensors)
        passing = np.flatnonzero(ranks >= self._threshold)  # a NaN rank never passes
        cell_boxes, ranks, classes = cell_boxes[passing], ranks[passing], classes[passing]
        options = self._options
        finite = np.isfinite(cell_boxes).all(axis=1) & (classes <= MAX_CLASS_ID)
        usable = np.flatnonzero(finite)
        mode: NmsMode = "none" if self._plan.head == "end2end" else options.nms
        kept = usable[
            nms(
                cell_boxes[usable],
                ranks[usable],
                classes[usable],
                options.iou_threshold,
                options.max_detections,
                mode,
            )
        ]
        self._count_dropped(finite, ranks, classes, kept)
        boxes[: len(kept)] = cell_boxes[kept]
        scores[: len(kept)] = self._scores(ranks[kept])
        class_ids[: len(kept)] = classes[kept]
        return len(kept)

    def _check(self, tensors: Sequence[NDArray[Any]]) -> None:
        if len(tensors) != len(self._specs) or not all(map(_fits, tensors, self._specs)):
            raise ValueError("the tensors do not fit the model's outputs")

    def _read(self, tensors: Sequence[NDArray[Any]]) -> tuple[Float32, Float32, Integers]:
        """Boxes (N, 4), ranks (N,), class ids (N,) of all cells."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self._plan.head == "end2end":
                return self._read_end2end(tensors[0])
            if self._plan.head == "flat":
                return self._read_flat(tensors[0])
            parts = [self._read_level(level, tensors) for level in self._plan.levels]
        boxes, ranks, classes = (np.concatenate(part) for part in zip(*parts))
        return boxes, ranks, classes

    def _read_level(
        self, level: Level, tensors: Sequence[NDArray[Any]]
    ) -> tuple[Float32, Float32, Integers]:
        distances = cells_first(tensors[level.box], level)
        if level.bins:
            distances = dfl(distances.reshape(level.cells, 4, level.bins))
        rows, columns = np.divmod(np.arange(level.cells), level.grid[1])
        centres = np.stack([columns, rows], axis=1).astype(np.float32) + np.float32(0.5)
        corners = np.hstack([centres - distances[:, :2], centres + distances[:, 2:]])
        classes, ranks = best_class(cells_first(tensors[level.cls], level))
        return corners * np.float32(level.stride), ranks, classes

    def _read_flat(self, tensor: NDArray[Any]) -> tuple[Float32, Float32, Integers]:
        cells = cells_first(tensor, self._plan.levels[0])
        centres, half = cells[:, :2], cells[:, 2:4] * np.float32(0.5)
        classes, ranks = best_class(cells[:, 4 + self._plan.objectness :])
        if self._plan.objectness:
            ranks = np.where(cells[:, 4] >= self._threshold, cells[:, 4] * ranks, np.float32("nan"))
        return np.hstack([centres - half, centres + half]), ranks, classes

    def _read_end2end(self, tensor: NDArray[Any]) -> tuple[Float32, Float32, Integers]:
        rows = cells_first(tensor, self._plan.levels[0])[:, int(self._plan.batch_column) :]
        whole = (rows[:, 5] >= 0) & (rows[:, 5] == np.floor(rows[:, 5]))
        classes = np.where(whole & (rows[:, 5] <= MAX_CLASS_ID), rows[:, 5], MAX_CLASS_ID + 1)
        return rows[:, :4], rows[:, 4], classes.astype(np.int64)

    def _scores(self, ranks: Float32) -> Float32:
        scores = sigmoid(ranks) if self._plan.activation == "logits" else np.minimum(ranks, 1)
        floor = np.float32(self._options.score_threshold)
        result: Float32 = np.maximum(scores.astype(np.float32), floor)
        return result

    def _count_dropped(
        self,
        finite: NDArray[np.bool_],
        ranks: Float32,
        classes: Integers,
        kept: Integers,
    ) -> None:
        """Count the candidates without a usable box that come before the end of NMS."""
        order = np.lexsort((np.arange(len(ranks)), classes, -ranks))
        if len(kept) == self._options.max_detections:
            order = order[: int(np.flatnonzero(order == kept[-1])[0])]
        with self._lock:
            self.nonfinite += int((~finite[order]).sum())


def _fits(tensor: object, spec: TensorSpec) -> bool:
    return (
        isinstance(tensor, np.ndarray)
        and tensor.shape == spec.shape
        and tensor.dtype == spec.dtype
        and tensor.flags.c_contiguous
        and tensor.flags.aligned
    )


def cells_first(tensor: NDArray[Any], level: Level) -> Float32:
    """View the tensor as (cells, channels)."""
    if level.layout == "nchw":
        planes: Float32 = tensor.reshape(-1, level.cells)
        transposed: Float32 = planes.T
        return transposed
    cells: Float32 = tensor.reshape(level.cells, -1)
    return cells


def dfl(bins: Float32) -> Float32:
    """Compute the expected bin Σ b · softmax(x)_b over the last axis, in float64; float32 out."""
    x = bins.astype(np.float64)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    distances = e @ np.arange(bins.shape[-1]) / e.sum(axis=-1)
    result: Float32 = distances.astype(np.float32)
    return result


def best_class(values: Float32) -> tuple[Integers, Float32]:
    """Class id (N,) and value (N,) of the largest of (N, C); the value is NaN where all are."""
    comparable = np.where(np.isnan(values), -np.inf, values)
    classes = comparable.argmax(axis=1)
    best = comparable[np.arange(len(values)), classes].astype(np.float32)
    return classes, np.where(np.isnan(values).all(axis=1), np.float32("nan"), best)
