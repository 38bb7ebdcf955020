"""The native engine: a HeadPlan told to the C kernels as offsets and strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from postprocess import _native
from postprocess.options import (
    INTERPOLATIONS,
    NMS_MODES,
    Options,
    threshold_in_domain,
    uses_score_sum,
)
from postprocess.plan import HeadPlan, Level
from postprocess.tensor import TensorSpec
from postprocess.views import native_view

NO_VIEW: _native.View = (-1, 0, 0, 0, 0, 0, 0, 0)
EXACT = len(INTERPOLATIONS)


class NativeEngine:
    """Decodes with the C kernels, as `postprocess.reference` defines it.

    One frame at a time: a second thread waits (without the GIL) until the first is done.
    """

    def __init__(
        self,
        plan: HeadPlan,
        outputs: Sequence[TensorSpec],
        options: Options,
        kernels: str = "auto",
    ) -> None:
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
            multi_label=options.multi_label and plan.head != "end2end",
            sigmoid=sigmoid_mode(options),
            table_size=options.table_size,
            table_range=options.table_range,
            outputs=tuple(map(_output, outputs)),
            levels=tuple(_level(plan, level, outputs, options) for level in plan.levels),
            kernels=kernels,
        )
        self.name = self._decoder.kernels

    @property
    def nonfinite(self) -> int:
        """Candidates dropped so far because their box was NaN or infinite."""
        return self._decoder.nonfinite

    @property
    def contradictions(self) -> int:
        """Frames so far with a probability that cannot be one."""
        return self._decoder.contradictions

    def decode(
        self,
        tensors: Sequence[NDArray[Any]],
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        class_ids: NDArray[np.int32],
    ) -> int:
        """Write the detections of one frame; return their number.  ValueError: unfit tensors."""
        return self._decoder.decode(tensors, boxes, scores, class_ids)


def sigmoid_mode(options: Options) -> int:
    """How the C kernels number the sigmoids: the interpolations, then the polynomial."""
    return (
        INTERPOLATIONS.index(options.table_interpolation) if options.sigmoid == "table" else EXACT
    )


def _output(spec: TensorSpec) -> _native.Output:
    """(type, shape, strides, scales, zero points) of an output."""
    scale, zero_point = np.ones(1, np.float32), np.zeros(1, np.int32)
    if spec.quantization is not None and spec.dtype.kind != "f":
        scale = np.ascontiguousarray(np.ravel(spec.quantization.scale), np.float32)
        zero_point = np.ascontiguousarray(np.ravel(spec.quantization.zero_point), np.int32)
    return (spec.dtype.char, spec.shape, spec.element_strides, scale, zero_point)


def _level(
    plan: HeadPlan, level: Level, outputs: Sequence[TensorSpec], options: Options
) -> _native.Level:
    box = native_view(level, outputs[level.box], level.box, level.box_channel)
    cls = native_view(level, outputs[level.cls], level.cls, level.cls_channel)
    gate, gate_is_sum = NO_VIEW, False
    if level.obj is not None:
        gate = native_view(level, outputs[level.obj], level.obj, level.obj_channel)
    elif level.score_sum is not None and uses_score_sum(plan, options):
        gate = native_view(level, outputs[level.score_sum], level.score_sum, 0)
        gate_is_sum = True
    anchor = level.anchor or (0.0, 0.0)
    return (*level.grid, level.stride, level.bins, *anchor, gate_is_sum, box, cls, gate)
