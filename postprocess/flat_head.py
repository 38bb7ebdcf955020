"""Recognise heads without a grid.

`flat` is [1, 4+C, N] or [1, N, 4+C], `end2end` [1, K, 6], `boxes_scores` [1, N, 4] and [1, N, C].
N tells them apart: a flat head has one prediction per cell of its strides (three per cell, one for
each anchor, where it has an objectness: YOLOv5 and v7), an end-to-end head a small round number.
"""

from __future__ import annotations

from collections.abc import Sequence

from npud.errors import ModelError
from postprocess.lint import MAX_CLASSES
from postprocess.plan import CellLayout, HeadPlan, Hints, Level
from postprocess.tensor import TensorSpec
from postprocess.views import two_axes

MAX_END2END_ROWS = 1000
CERTAIN_LEVELS = 3  # fewer levels match small round numbers by chance


def recognise_flat(
    spec: TensorSpec, input_size: tuple[int, int], strides: tuple[int, ...], hints: Hints
) -> HeadPlan | None:
    """Plan for a single output; None where it is neither flat nor end to end.

    Raises ModelError where both orientations fit, or a hint contradicts the shape.
    """
    shape = _two_dimensions(spec.shape)
    if shape is None:
        return None
    runs = _cell_counts(input_size, strides)
    if hints.head != "flat" and (plan := _end2end(spec, shape, runs, input_size, hints)):
        return plan
    if hints.head == "end2end":
        return None
    plans = []
    for layout in _orientations(shape, hints):
        channels, cells = shape if layout == "nchw" else (shape[1], shape[0])
        objectness = _objectness(channels, cells, runs, hints)
        if objectness is not None:
            plans.append(_flat_plan(layout, channels, cells, objectness, input_size, hints))
    if len(plans) > 1:
        raise ModelError(
            f"output {spec} can be read in 2 ways: {plans[0]}; or {plans[1]}.  State `layout` "
            '("nchw" for [1, 4+C, N], "nhwc" for [1, N, 4+C]) or `num_classes` in the manifest'
        )
    return plans[0] if plans else None


def _two_dimensions(shape: tuple[int, ...]) -> tuple[int, int] | None:
    axes = two_axes(shape)
    return (shape[axes[0]], shape[axes[1]]) if axes else None


def _cell_counts(input_size: tuple[int, int], strides: tuple[int, ...]) -> dict[int, int]:
    """Map number of cells to number of levels, for every run of consecutive strides."""
    counts: dict[int, int] = {}
    cells = [(input_size[0] // s) * (input_size[1] // s) for s in strides]
    for start in range(len(cells)):
        for stop in range(start + 1, len(cells) + 1):
            counts[sum(cells[start:stop])] = stop - start
    return counts


def _end2end(
    spec: TensorSpec,
    shape: tuple[int, int],
    runs: dict[int, int],
    input_size: tuple[int, int],
    hints: Hints,
) -> HeadPlan | None:
    rows, columns = shape
    certain = hints.head == "end2end"
    if columns not in (6, 7) or (not certain and rows > MAX_END2END_ROWS):
        return None
    if not certain and runs.get(rows, 0) >= CERTAIN_LEVELS:
        return None
    if hints.activation == "logits":
        raise ModelError(f"output {spec}: an end2end head has probabilities, the hint says logits")
    return HeadPlan(
        head="end2end",
        input_size=input_size,
        num_classes=hints.num_classes or 0,
        activation="probabilities",
        evidence=hints.activation_evidence or "by definition of end2end",
        levels=(
            Level(
                0,
                (1, rows),
                "nhwc",
                0,
                0,
                obj=0,
                box_channel=columns - 6,
                obj_channel=columns - 2,
                cls_channel=columns - 1,
            ),
        ),
    )


def _orientations(shape: tuple[int, int], hints: Hints) -> tuple[CellLayout, ...]:
    return (hints.layout,) if hints.layout in ("nchw", "nhwc") else ("nchw", "nhwc")


def _objectness(channels: int, cells: int, runs: dict[int, int], hints: Hints) -> bool | None:
    """Whether channel 4 is an objectness; None where this cannot be a flat head."""
    found: bool | None = None
    if cells in runs:
        found = False
    elif cells % 3 == 0 and cells // 3 in runs:
        found = True
    elif hints.head != "flat" or (hints.num_classes is None and hints.objectness is None):
        return None
    if hints.objectness is not None:
        found = hints.objectness
    if hints.num_classes is not None:
        extra = channels - hints.num_classes
        if extra not in (4, 5) or (hints.objectness is not None and extra != 4 + hints.objectness):
            return None
        found = extra == 5
    if found is None or not 4 + found < channels <= 4 + found + MAX_CLASSES:
        return None
    return found


def _flat_plan(
    layout: CellLayout,
    channels: int,
    cells: int,
    objectness: bool,
    input_size: tuple[int, int],
    hints: Hints,
) -> HeadPlan:
    if objectness and hints.activation == "logits":
        raise ModelError("a flat head with objectness has probabilities, the hint says logits")
    return HeadPlan(
        head="flat",
        input_size=input_size,
        num_classes=channels - 4 - objectness,
        activation=hints.activation or "probabilities",
        evidence=hints.activation_evidence
        or ("stated" if hints.activation else "by definition of flat"),
        levels=(
            Level(
                0,
                (1, cells),
                layout,
                0,
                0,
                obj=0 if objectness else None,
                obj_channel=4,
                cls_channel=4 + objectness,
            ),
        ),
    )


def recognise_boxes_scores(
    outputs: Sequence[TensorSpec],
    input_size: tuple[int, int],
    strides: tuple[int, ...],
    hints: Hints,
) -> HeadPlan | None:
    """Plan for boxes (xyxy in pixels) and scores of the same N cells, in any order; None if not.

    Raises ModelError where both outputs could be the boxes.
    """
    shapes = [_two_dimensions(spec.shape) for spec in outputs]
    runs = _cell_counts(input_size, strides)
    plans = []
    for layout in _orientations((0, 0), hints):
        for box in (0, 1):
            pair = [shapes[box], shapes[1 - box]]
            sizes = [s if layout == "nhwc" else s[::-1] for s in pair if s]
            if len(sizes) != 2 or sizes[0][0] != sizes[1][0] or sizes[0][1] != 4:
                continue
            cells, classes = sizes[1]
            known = cells in runs or hints.head == "boxes_scores"
            if known and hints.num_classes in (None, classes):
                plans.append(_boxes_scores_plan(layout, box, cells, classes, input_size, hints))
    box_first = [plan for plan in plans if (plan.levels[0].box == 0) == (hints.order == "box,cls")]
    if len(plans) > 1 and hints.order and box_first:
        plans = box_first
    if len(plans) > 1:
        shown = "; or ".join(
            f"{plan}, boxes in {outputs[plan.levels[0].box].name}" for plan in plans
        )
        raise ModelError(
            f"the outputs can be read in {len(plans)} ways: {shown}.  State `order`, `layout` or "
            "`num_classes` in the manifest"
        )
    return plans[0] if plans else None


def _boxes_scores_plan(
    layout: CellLayout,
    box: int,
    cells: int,
    classes: int,
    input_size: tuple[int, int],
    hints: Hints,
) -> HeadPlan:
    return HeadPlan(
        head="boxes_scores",
        input_size=input_size,
        num_classes=classes,
        activation=hints.activation or "probabilities",
        evidence=hints.activation_evidence
        or ("stated" if hints.activation else "by definition of boxes_scores"),
        levels=(Level(0, (1, cells), layout, box, 1 - box),),
    )
