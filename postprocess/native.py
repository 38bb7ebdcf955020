"""The native engine: a HeadPlan told to the C kernels as offsets and strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from postprocess import _native
from postprocess.options import NMS_MODES, Options, threshold_in_domain
from postprocess.plan import HeadPlan, Level
from postprocess.tensor import TensorSpec

NO_VIEW: _native.View = (-1, 0, 0, 0)


class NativeEngine:
    """Decodes with the C kernels, as `postprocess.reference` defines it.

    One frame at a time: a second thread waits (without the GIL) until the first is done.
    """

    def __init__(self, plan: HeadPlan, outputs: Sequence[TensorSpec], options: Options) -> None:
        nms = "none" if plan.head == "end2end" else options.nms
        self._decoder = _native.Decoder(
            head=plan.head,
            num_classes=plan.num_classes,
            logits=plan.activation == "logits",
            threshold=threshold_in_domain(options.score_threshold, plan.activation),
            score_floor=options.score_threshold,
            iou_threshold=options.iou_threshold,
            max_detections=min(options.max_detections, plan.cells),
            nms=NMS_MODES.index(nms),
            table_size=options.table_size if options.sigmoid == "table" else 0,
            outputs=tuple(spec.shape for spec in outputs),
            levels=tuple(_level(plan, level, outputs) for level in plan.levels),
        )
        self.name = self._decoder.kernels

    @property
    def nonfinite(self) -> int:
        """Candidates dropped so far because their box was NaN or infinite."""
        return self._decoder.nonfinite

    def decode(
        self,
        tensors: Sequence[NDArray[Any]],
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        class_ids: NDArray[np.int32],
    ) -> int:
        """Write the detections of one frame; return their number.  ValueError: unfit tensors."""
        return self._decoder.decode(tensors, boxes, scores, class_ids)


def _level(plan: HeadPlan, level: Level, outputs: Sequence[TensorSpec]) -> _native.Level:
    """(rows, columns, stride, bins, box, class and objectness view) of a level."""
    objectness = NO_VIEW
    if plan.head == "flat":
        box = _view(level, outputs, level.box, 0)
        cls = _view(level, outputs, level.cls, 4 + plan.objectness)
        objectness = _view(level, outputs, level.cls, 4) if plan.objectness else NO_VIEW
    elif plan.head == "end2end":
        box = _view(level, outputs, level.box, int(plan.batch_column))
        cls = _view(level, outputs, level.cls, 5 + plan.batch_column)
        objectness = _view(level, outputs, level.cls, 4 + plan.batch_column)
    else:
        box = _view(level, outputs, level.box, 0)
        cls = _view(level, outputs, level.cls, 0)
    return (*level.grid, level.stride, level.bins, box, cls, objectness)


def _view(
    level: Level, outputs: Sequence[TensorSpec], index: int, first_channel: int
) -> _native.View:
    """(output, first element, elements from cell to cell, elements from channel to channel)."""
    if level.layout == "nchw":
        return (index, first_channel * level.cells, 1, level.cells)
    channels = int(np.prod(outputs[index].shape)) // level.cells
    return (index, first_channel, channels, 1)
