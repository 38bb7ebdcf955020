"""Other ways to read the same outputs: each takes Outputs and gives Outputs, read otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from postprocess.plan import Activation, Anchors, CellLayout, HeadPlan, Level
from postprocess.tensor import TensorSpec
from postprocess.views import cells_first, dequantize
from runtime.golden.tensors import places as by_role
from runtime.probe.bench import Outputs, Reading

LEAST = 1e-12  # of a probability whose logit is taken
Boxes = NDArray[np.float32]  # (cells, 4) or (cells, 4 * bins)
YOLOV7_ANCHORS: Anchors = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)  # of its COCO models, cfg/training/yolov7.yaml


def with_activation(activation: Activation) -> Reading:
    """The class outputs as logits, or as probabilities."""

    def read(seen: Outputs) -> Outputs:
        return dataclasses.replace(seen, plan=dataclasses.replace(seen.plan, activation=activation))

    return read


def without_sigmoid(seen: Outputs) -> Outputs:
    """Probabilities that went through a second sigmoid, brought back."""
    plain = as_floats(seen)
    tensors = list(plain.tensors)
    for index in {
        i for level in plain.plan.levels for i in (level.cls, level.obj) if i is not None
    }:
        values = tensors[index].clip(LEAST, 1 - 1e-7)
        tensors[index] = np.log(values / (1 - values)).clip(0, 1).astype(np.float32)
    plan = dataclasses.replace(plain.plan, activation="probabilities")
    return Outputs(plan, plain.specs, tuple(tensors))


def with_anchors(change: Callable[[tuple[Level, ...]], list[tuple[float, float]]]) -> Reading:
    """Other anchors for an anchor head; `change` gives one per level."""

    def read(seen: Outputs) -> Outputs:
        levels = seen.plan.levels
        anchors = change(levels)
        changed = tuple(
            dataclasses.replace(level, anchor=anchor) for level, anchor in zip(levels, anchors)
        )
        return dataclasses.replace(seen, plan=dataclasses.replace(seen.plan, levels=changed))

    return read


def in_other_layout(seen: Outputs) -> Outputs:
    """The bytes of [1,C,H,W] outputs as [1,H,W,C], or the other way round."""
    layout: CellLayout = "nhwc" if seen.plan.levels[0].layout == "nchw" else "nchw"
    specs, tensors = [], []
    for spec, tensor in zip(seen.specs, seen.tensors):
        shape, kept = _turned(spec.shape, layout), np.ascontiguousarray(tensor)
        specs.append(TensorSpec(spec.name, shape, spec.dtype, quantization=spec.quantization))
        tensors.append(kept.reshape(shape))
    levels = tuple(dataclasses.replace(level, layout=layout) for level in seen.plan.levels)
    plan = dataclasses.replace(seen.plan, levels=levels)
    return Outputs(plan, tuple(specs), tuple(tensors))


def _turned(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    *batch, a, b, c = shape if len(shape) > 2 else (1, *shape)
    if len(shape) == 3:
        return a, c, b
    return (*batch, b, c, a) if layout == "nhwc" else (*batch, c, a, b)


def with_boxes(change: Callable[[Boxes, Level, HeadPlan], Boxes]) -> Reading:
    """Other boxes: `change` gets the real values of a level's box channels."""

    def read(seen: Outputs) -> Outputs:
        plain = as_floats(seen)
        tensors = list(plain.tensors)
        for level in plain.plan.levels:
            old = tensors[level.box]
            count = 4 * max(1, level.bins)
            boxes = old.reshape(level.cells, -1).copy()
            part = slice(level.box_channel, level.box_channel + count)
            boxes[:, part] = change(boxes[:, part], level, plain.plan)
            tensors[level.box] = boxes.reshape(old.shape)
        return Outputs(plain.plan, plain.specs, tuple(tensors))

    return read


def in_order(*order: int) -> Reading:
    """The four sides of a box in another order, e.g. (1, 0, 3, 2) for y before x."""

    def change(boxes: Boxes, level: Level, plan: HeadPlan) -> Boxes:
        cells = len(boxes)
        return boxes.reshape(cells, 4, -1)[:, list(order)].reshape(cells, -1)

    return with_boxes(change)


def from_corners(boxes: Boxes, level: Level, plan: HeadPlan) -> Boxes:
    """Centre and size of what are corners."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.hstack([(low + high) / 2, high - low]).astype(np.float32)


def from_centres(boxes: Boxes, level: Level, plan: HeadPlan) -> Boxes:
    """Corners of what are centre and size."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.hstack([centre - half, centre + half]).astype(np.float32)


def from_fractions(boxes: Boxes, level: Level, plan: HeadPlan) -> Boxes:
    """Pixels of what are fractions of the input."""
    height, width = plan.input_size
    sides = np.array([width, height, width, height], np.float32)
    result: Boxes = boxes * sides
    return result


def from_pixels(boxes: Boxes, level: Level, plan: HeadPlan) -> Boxes:
    """Cells of what are pixels."""
    result: Boxes = boxes / np.float32(level.stride)
    return result


def as_floats(seen: Outputs) -> Outputs:
    """The same as float32 tensors, one for each role of each level, cells first; exact."""
    if seen.plan.head == "end2end":
        rows = [dequantize(t, s, 0) for t, s in zip(seen.tensors, seen.specs)]
        specs = [TensorSpec(s.name, s.shape, np.dtype(np.float32)) for s in seen.specs]
        return Outputs(seen.plan, tuple(specs), tuple(rows))
    specs, tensors = [], []
    levels: list[Level] = []
    for level in seen.plan.levels:
        moved: dict[str, Any] = {"layout": "nhwc", "score_sum": None}
        for role, (index, first, count) in by_role(seen.plan, level).items():
            spec = seen.specs[index]
            values = dequantize(
                cells_first(seen.tensors[index], level, spec, first, count), spec, first
            )
            shape = (1, *(level.grid if level.stride else (level.cells,)), count)
            moved |= {role: len(specs), f"{role}_channel": 0}
            specs.append(TensorSpec(f"{role}_{len(levels)}", shape, np.dtype(np.float32)))
            tensors.append(np.ascontiguousarray(values).reshape(shape))
        levels.append(dataclasses.replace(level, **moved))
    plan = dataclasses.replace(seen.plan, levels=tuple(levels))
    return Outputs(plan, tuple(specs), tuple(tensors))
