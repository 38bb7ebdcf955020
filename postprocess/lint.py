"""What is checked of a plan and its tensors before the first frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npud.errors import ConfigError, ModelError
from postprocess.options import Options
from postprocess.plan import HeadPlan, Level
from postprocess.tensor import TensorSpec
from postprocess.views import channels_of, is_scannable

DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32")
MAX_CLASSES = 4095  # a candidate's sort key has 12 bits for its class …
MAX_CELLS = 1 << 20  # … and 20 bits for its cell
MAX_BINS = 64
MAX_LEVELS = 32
COARSEST_SCORE = 0.1  # a step between scores from which on they mean nothing


def check_readable(plan: HeadPlan, outputs: Sequence[TensorSpec], options: Options) -> None:
    """Raise ModelError (ConfigError for an option) where the tensors cannot be read as planned."""
    for spec in outputs:
        _check_type(spec)
    for key, value, limit in (
        ("cells", plan.cells, MAX_CELLS),
        ("classes", plan.num_classes, MAX_CLASSES),
        ("levels", len(plan.levels), MAX_LEVELS),
        ("bins", max(level.bins for level in plan.levels), MAX_BINS),
    ):
        if value > limit:
            raise ModelError(f"expected at most {limit} {key}, the model has {value}")
    if options.sigmoid == "none" and plan.activation == "logits":
        raise ConfigError(
            'sigmoid: expected "table" or "exact", got "none", which states that the NPU did it; '
            f"the class outputs are logits ({plan.evidence})"
        )
    if options.multi_label and plan.head != "end2end":
        _check_multi_label(plan, options)
    for level in plan.levels:
        _check_level(plan, level, outputs)


def _check_multi_label(plan: HeadPlan, options: Options) -> None:
    if plan.objectness:
        raise ConfigError(
            f"multi_label: expected a head without objectness, got {plan.head} with one"
        )
    if options.nms != "none" and options.iou_threshold < 1:
        raise ConfigError(
            f'multi_label: expected nms = "none": one-to-one heads need none; got "{options.nms}"'
        )


def _check_type(spec: TensorSpec) -> None:
    if spec.dtype.name not in DTYPES or not spec.dtype.isnative:
        raise ModelError(f"output {spec}: expected one of {', '.join(DTYPES)}")
    if spec.strides is not None and (
        len(spec.strides) != len(spec.shape) or any(stride < 0 for stride in spec.strides)
    ):
        raise ModelError(f"output {spec}: its strides {spec.strides} do not fit its shape")
    if spec.dtype.kind == "f":
        return
    quantization = spec.quantization
    if quantization is None:
        raise ModelError(f"output {spec}: integers without a scale; expected its quantization")
    scale, zero_point = np.ravel(quantization.scale), np.ravel(quantization.zero_point)
    if (
        not (np.isfinite(scale) & (scale > 0)).all()
        or len(scale) != len(zero_point)
        or not len(scale)
    ):
        raise ModelError(
            f"output {spec}: expected as many scales > 0 as zero points, got {scale}, {zero_point}"
        )


def _check_level(plan: HeadPlan, level: Level, outputs: Sequence[TensorSpec]) -> None:
    classes = 1 if plan.head == "end2end" else plan.num_classes
    for index, count in (
        (level.cls, classes),
        (level.box, 4),
        (level.obj, 1),
        (level.score_sum, 1),
    ):
        if index is None:
            continue
        spec = outputs[index]
        scales = 1 if spec.quantization is None else np.size(spec.quantization.scale)
        if scales not in (1, channels_of(level, spec)) and spec.dtype.kind != "f":
            raise ModelError(
                f"output {spec}: expected 1 or {channels_of(level, spec)} scales, got {scales}"
            )
        if not is_scannable(level, spec, count):
            raise ModelError(f"output {spec}: neither cells nor channels lie side by side")
    if plan.activation == "probabilities":
        if plan.head != "end2end":
            _check_step(outputs[level.cls], level.cls_channel)
        if level.obj is not None:
            _check_step(outputs[level.obj], level.obj_channel)


def _check_step(spec: TensorSpec, channel: int) -> None:
    """Refuse scores in one integer tensor with boxes in pixels: the scale is that of the boxes."""
    if spec.dtype.kind == "f" or spec.quantization is None:
        return
    scales = np.ravel(spec.quantization.scale)
    step = float(scales[channel if len(scales) > 1 else 0])
    if step > COARSEST_SCORE:
        raise ModelError(
            f"output {spec}: its scores are multiples of {step:.3g}, so nearly all are 0: boxes in "
            "pixels and scores share one scale.  Export them as separate outputs, cut the model "
            "before they are joined, or quantize this output per channel"
        )
