"""The NumPy reference: slow, plain, and the definition of what every decoder must return.

Values. A stored element is taken as it is (float32, float16), or as (stored - zero_point) * scale
in float32: its real value.

Cells. Each cell (end2end: each row) gives at most one box, of its best class: the largest stored
class value (the largest real value where scales differ from channel to channel), NaN never
counting, the lowest class id among equals. Cells are numbered through all levels, strides
ascending, anchor by anchor, row by row.

Candidates. A cell passes iff the real value of its best class is ≥ the score threshold brought into
its domain (`threshold_in_domain`; of integers two float32 steps less, `least_real`). Its rank is
that value. With an objectness, that must be ≥ the threshold in the same sense, and the product of
both probabilities (float32) ≥ the float32 threshold; the product is the rank. A cell whose score
sum is NaN does not pass where score sums are used; else they change nothing.

Scores. Probabilities and products: the rank, at most 1. Logits: σ of the best class value, as
`postprocess.sigmoid` has it. Never below the float32 threshold.

Order. Rank descending, then class id ascending, then cell number ascending.

Boxes. See `postprocess.reference_boxes`; not clipped. A box with a NaN or infinite coordinate is
dropped and counted, also where an end2end row has a class that is no integer from 0 to
MAX_CLASS_ID.

NMS. In order, a box is dropped iff its IoU with a kept box (of the same class in mode "class") is
greater than the threshold: inter > threshold * union in float32, union = (area + kept area) -
inter. Widths and heights below 0 count as 0, so a degenerate box has IoU 0 with all others. It ends
when `max_detections` boxes are kept; candidates beyond are not looked at (nor counted). end2end
heads have done their NMS: mode "none" applies.

All labels. With `multi_label`, the boxes kept are those of the best cells; the detections are pairs
of such a cell and any class whose real value passes as above, in the order above, the rank being
that value; `max_detections` cuts again.

Contradictions. Frames of probabilities are counted whose best detection has a class value, an
objectness or a rank outside of [-0.01, 1.01].
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from postprocess.options import (
    NmsMode,
    Options,
    least_real,
    threshold_in_domain,
    uses_score_sum,
)
from postprocess.plan import HeadPlan, Level
from postprocess.reference_boxes import boxes_of
from postprocess.reference_nms import nms, sigmoid
from postprocess.sigmoid import exact, probability
from postprocess.tensor import TensorSpec, fits
from postprocess.views import cells_first, dequantize

__all__ = ["MAX_CLASS_ID", "ReferenceEngine", "nms", "sigmoid"]

MAX_CLASS_ID = 4094  # one more marks a class that is none; it sorts behind all others
LOWEST, HIGHEST = np.float32(-0.01), np.float32(1.01)  # of what can be called a probability

Float32 = NDArray[np.float32]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass
class Cells:
    """What is read from all cells of a level: arrays over the cells."""

    boxes: Float32
    ranks: Float32
    scores: Float32
    classes: Integers
    passing: Booleans
    odd: Booleans  # has a probability that cannot be one

    def at(self, chosen: NDArray[Any]) -> Cells:
        """The cells that an index or mask chooses."""
        return Cells(*(getattr(self, field.name)[chosen] for field in fields(self)))


class ReferenceEngine:
    """Decodes with NumPy by the definition above; the same signature as the native engine."""

    name = "reference"

    def __init__(self, plan: HeadPlan, outputs: Sequence[TensorSpec], options: Options) -> None:
        self.nonfinite = 0
        self.contradictions = 0
        self._plan = plan
        self._specs = tuple(outputs)
        self._options = options
        self._threshold = threshold_in_domain(options.score_threshold, plan.activation)
        self._lock = threading.Lock()

    def decode(
        self,
        tensors: Sequence[NDArray[Any]],
        boxes: Float32,
        scores: Float32,
        class_ids: NDArray[np.int32],
    ) -> int:
        """Write the detections of one frame; return their number.  ValueError: unfit tensors."""
        if len(tensors) != len(self._specs) or not all(map(fits, tensors, self._specs)):
            raise ValueError("the tensors do not fit the model's outputs")
        with np.errstate(over="ignore", invalid="ignore"):
            parts = [self._read(level, tensors) for level in self._plan.levels]
            merged = (np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Cells))
            cells = Cells(*merged)
        passing = cells.passing
        cells = cells.at(passing)
        finite = np.isfinite(cells.boxes).all(axis=1) & (cells.classes <= MAX_CLASS_ID)
        usable = np.flatnonzero(finite)
        found, options = cells.at(usable), self._options
        mode: NmsMode = "none" if self._plan.head == "end2end" else options.nms
        limits = (options.iou_threshold, options.max_detections, mode)
        kept = usable[nms(found.boxes, found.ranks, found.classes, *limits)]
        self._count(finite, cells, kept)
        if options.multi_label and self._plan.head != "end2end":
            numbers = np.flatnonzero(passing)[kept]
            return self._all_labels(tensors, numbers, cells.boxes[kept], boxes, scores, class_ids)
        boxes[: len(kept)] = cells.boxes[kept]
        scores[: len(kept)] = cells.scores[kept]
        class_ids[: len(kept)] = cells.classes[kept]
        return len(kept)

    def _all_labels(
        self,
        tensors: Sequence[NDArray[Any]],
        numbers: Integers,
        found: Float32,
        boxes: Float32,
        scores: Float32,
        class_ids: NDArray[np.int32],
    ) -> int:
        """Write the best pairs of a cell, by its number, and a class; return how many."""
        plan, values, chances, passing = self._plan, [], [], []
        for level in plan.levels:
            spec = self._specs[level.cls]
            _, real = self._stored(tensors, level, level.cls, level.cls_channel, plan.num_classes)
            values.append(real)
            chances.append(self._probabilities(real, level.cls))
            passing.append(real >= least_real(self._threshold, spec.dtype))
        rank = np.concatenate(values)[numbers]
        chance = self._limit(np.concatenate(chances)[numbers])
        row, class_id = np.nonzero(np.concatenate(passing)[numbers])
        order = np.lexsort((numbers[row], class_id, -rank[row, class_id]))
        row, class_id = row[order][: len(scores)], class_id[order][: len(scores)]
        boxes[: len(row)] = found[row]
        scores[: len(row)] = chance[row, class_id]
        class_ids[: len(row)] = class_id
        return len(row)

    def _stored(
        self,
        tensors: Sequence[NDArray[Any]],
        level: Level,
        index: int,
        channel: int,
        count: int,
    ) -> tuple[NDArray[Any], Float32]:
        """Channels of an output as (cells, count): as stored, and as real values."""
        spec = self._specs[index]
        stored = cells_first(tensors[index], level, spec, channel, count)
        return stored, dequantize(stored, spec, channel)

    def _probabilities(self, real: Float32, index: int) -> Float32:
        if self._plan.activation == "probabilities":
            return real
        spec = self._specs[index]
        return probability(real, spec.dtype, per_channel(spec), self._options)

    def _sides(self, real: Float32, index: int) -> Float32:
        """σ of an anchor's sides: never from a table with steps, which would show in pixels."""
        if self._plan.activation == "probabilities":
            return real
        spec = self._specs[index]
        all_values = spec.dtype.itemsize <= 2 and not per_channel(spec)
        return self._probabilities(real, index) if all_values else exact(real)

    def _read(self, level: Level, tensors: Sequence[NDArray[Any]]) -> Cells:
        plan, options = self._plan, self._options
        box_channels = 4 * (level.bins or 1)
        _, box = self._stored(tensors, level, level.box, level.box_channel, box_channels)
        if plan.head == "anchor":
            box = self._sides(box, level.box)
        classes = 1 if plan.head == "end2end" else plan.num_classes
        stored, real = self._stored(tensors, level, level.cls, level.cls_channel, classes)
        if plan.head == "end2end":
            return self._read_rows(level, tensors, box, real[:, 0])
        best, ranks = best_class(real if per_channel(self._specs[level.cls]) else stored, real)
        scores = self._probabilities(ranks, level.cls)
        passing = ranks >= least_real(self._threshold, self._specs[level.cls].dtype)
        odd = is_odd(real).any(axis=1)
        if level.obj is not None:
            _, obj = self._stored(tensors, level, level.obj, level.obj_channel, 1)
            ranks = scores = self._probabilities(obj[:, 0], level.obj) * scores
            passing &= obj[:, 0] >= least_real(self._threshold, self._specs[level.obj].dtype)
            passing &= ranks >= np.float32(options.score_threshold)
            odd |= is_odd(obj[:, 0])
        elif level.score_sum is not None and uses_score_sum(plan, options):
            passing &= ~np.isnan(self._stored(tensors, level, level.score_sum, 0, 1)[1][:, 0])
        boxes = boxes_of(plan, level, box)
        return Cells(boxes, ranks, self._limit(scores), best, passing, odd | is_odd(ranks))

    def _read_rows(
        self, level: Level, tensors: Sequence[NDArray[Any]], box: Float32, classes: Float32
    ) -> Cells:
        """end2end: one score and one class per row."""
        assert level.obj is not None  # noqa: S101
        _, real = self._stored(tensors, level, level.obj, level.obj_channel, 1)
        scores = real[:, 0]
        whole = (classes >= 0) & (classes == np.floor(classes)) & (classes <= MAX_CLASS_ID)
        ids = np.where(whole, classes, MAX_CLASS_ID + 1).astype(np.int64)
        passing = scores >= least_real(self._threshold, self._specs[level.obj].dtype)
        return Cells(box, scores, self._limit(scores), ids, passing, is_odd(scores))

    def _limit(self, scores: Float32) -> Float32:
        floor = np.float32(self._options.score_threshold)
        result: Float32 = np.maximum(np.minimum(scores, np.float32(1)), floor)
        return result

    def _count(self, finite: Booleans, cells: Cells, kept: Integers) -> None:
        """Count the candidates without a usable box that come before the end of NMS, and alarms."""
        order = np.lexsort((np.arange(len(finite)), cells.classes, -cells.ranks))
        if len(kept) == self._options.max_detections:
            order = order[: int(np.flatnonzero(order == kept[-1])[0])]
        odd = self._plan.activation == "probabilities" and len(kept) and cells.odd[kept[0]]
        with self._lock:
            self.nonfinite += int((~finite[order]).sum())
            self.contradictions += int(odd)


def per_channel(spec: TensorSpec) -> bool:
    """Whether every channel has its own scale."""
    quantization = spec.quantization
    return spec.dtype.kind != "f" and quantization is not None and np.size(quantization.scale) > 1


def is_odd(real: Float32) -> Booleans:
    """Whether a value cannot be a probability (NaN: no)."""
    result: Booleans = (real < LOWEST) | (real > HIGHEST)
    return result


def best_class(values: NDArray[Any], real: Float32) -> tuple[Integers, Float32]:
    """Class id (N,) of the largest of values (N, C), and its real value; NaN where all are."""
    comparable = np.where(np.isnan(values), -np.inf, values) if values.dtype.kind == "f" else values
    classes = (values == comparable.max(axis=1, keepdims=True)).argmax(axis=1)
    return classes, real[np.arange(len(values)), classes]
