"""Recognise a model's head from the shapes of its outputs, never from their names or order.

The grid size of a tensor gives its stride, the channel count its role.  What shapes leave open
(a model with 4, 64 or 68 classes, a grid as large as the channel count) is decided by, in this
order: the same channel count on all levels; the number of classes; the order the manifest states.
What is still open is refused with both readings shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from npud.errors import ModelError
from postprocess.flat_head import recognise_flat
from postprocess.plan import Activation, CellLayout, Head, HeadPlan, Hints, Level
from postprocess.tensor import TensorSpec

__all__ = ["Hints", "recognise"]

STRIDES = (4, 8, 16, 32, 64, 128)
USUAL_BOX_CHANNELS = (4, 64, 68)  # ltrb; DFL with 16 bins; DFL with 17 bins (PP-YOLOE, YOLO-NAS)
KNOWN_FORMS = (
    "per stride box [1,4,h,w] or [1,4*bins,h,w] and classes [1,C,h,w] (or NHWC), each optionally "
    "with a score sum [1,1,h,w]; one [1,4+C,N] or [1,N,4+C]; one [1,N,5+C] with objectness; "
    "one [1,K,6] or [K,7] end to end"
)


@dataclass(frozen=True)
class _Tensor:
    """One output read as a grid: `index` among the outputs, `channels` per cell."""

    index: int
    channels: int
    stride: int
    grid: tuple[int, int]


@dataclass(frozen=True)
class _Reading:
    """One consistent way to read all outputs."""

    head: Head
    num_classes: int
    levels: tuple[Level, ...]

    def describe(self, outputs: Sequence[TensorSpec]) -> str:
        """Name the head and, by example, which output is what."""
        first = self.levels[0]
        bins = f" with {first.bins} bins" if first.bins else ""
        return (
            f"{self.head}{bins}, {self.num_classes} classes, {first.layout.upper()}, "
            f"boxes in {outputs[first.box].name}, classes in {outputs[first.cls].name}"
        )


def recognise(
    outputs: Sequence[TensorSpec], input_size: tuple[int, int], hints: Hints | None = None
) -> HeadPlan:
    """Find which head `outputs` are; `input_size` is (height, width) in pixels.

    Raises ModelError where no known head fits (all shapes listed), where two do (both readings
    shown), where a shape is dynamic or a batch is larger than one, and where a raw head comes
    without evidence whether its classes are logits or probabilities.
    """
    hints = hints or Hints()
    _check_shapes(outputs)
    if len(outputs) == 1 and hints.head in (None, "flat", "end2end"):
        strides = _possible_strides(input_size, hints)
        plan = recognise_flat(outputs[0], input_size, strides, hints)
        if plan is not None:
            return plan
    readings = [
        reading
        for layout in _layouts(outputs, hints)
        for reading in _read_levels(outputs, input_size, layout, hints)
        if hints.head in (None, reading.head)
    ]
    reading = _decide(readings, outputs, hints)
    activation, evidence = _activation(reading, outputs, hints)
    return HeadPlan(
        head=reading.head,
        input_size=input_size,
        num_classes=reading.num_classes,
        activation=activation,
        evidence=evidence,
        levels=reading.levels,
    )


def _check_shapes(outputs: Sequence[TensorSpec]) -> None:
    for spec in outputs:
        if any(size <= 0 for size in spec.shape):
            raise ModelError(f"output {spec}: expected a fixed shape, got a dynamic dimension")


def _possible_strides(input_size: tuple[int, int], hints: Hints) -> tuple[int, ...]:
    height, width = input_size
    strides = hints.strides or STRIDES
    return tuple(s for s in sorted(strides) if height % s == 0 and width % s == 0)


def _layouts(outputs: Sequence[TensorSpec], hints: Hints) -> Iterator[CellLayout]:
    stated = {hints.layout} if hints.layout else {spec.layout for spec in outputs if spec.layout}
    if "nchw" in stated or not stated:
        yield "nchw"
    if "nhwc" in stated or not stated:
        yield "nhwc"


def _read_levels(
    outputs: Sequence[TensorSpec], input_size: tuple[int, int], layout: CellLayout, hints: Hints
) -> Iterator[_Reading]:
    """All readings of the outputs as box + class (+ score sum) tensors per stride."""
    strides = _possible_strides(input_size, hints)
    levels: dict[int, list[_Tensor]] = {}
    for index, spec in enumerate(outputs):
        tensor = _read_grid(index, spec, input_size, layout, strides)
        if tensor is None:
            return
        levels.setdefault(tensor.stride, []).append(tensor)
    per_level = [levels[stride] for stride in sorted(levels)]
    counts = {tuple(sorted(t.channels for t in level)) for level in per_level}
    if len(counts) != 1 or not 2 <= len(per_level[0]) <= 3:
        return
    for roles in permutations(range(len(per_level[0]))):
        reading = _assign(per_level, roles, layout)
        if reading is not None:
            yield reading


def _read_grid(
    index: int,
    spec: TensorSpec,
    input_size: tuple[int, int],
    layout: CellLayout,
    strides: tuple[int, ...],
) -> _Tensor | None:
    shape = spec.shape[1:] if len(spec.shape) == 4 and spec.shape[0] == 1 else spec.shape
    if len(shape) != 3:
        return None
    channels, rows, columns = shape if layout == "nchw" else (shape[2], shape[0], shape[1])
    for stride in strides:
        if (rows * stride, columns * stride) == input_size:
            return _Tensor(index, channels, stride, (rows, columns))
    return None


def _assign(
    per_level: list[list[_Tensor]], roles: tuple[int, ...], layout: CellLayout
) -> _Reading | None:
    """Give the roles box, class, score sum to the `roles`-th output of the first level.

    On the other levels the tensors with the same channel counts play the same roles; equal counts
    keep their order.
    """
    first = per_level[0]
    wanted = [first[r].channels for r in roles]
    rank = [sum(first[j].channels == first[r].channels for j in range(r)) for r in roles]
    if wanted[0] % 4 or (len(wanted) == 3 and wanted[2] != 1):
        return None
    if len(wanted) == 3 and wanted[1] == 1 and roles[1] > roles[2]:
        return None  # one class: class and score sum look alike, all exporters put the class first
    bins = wanted[0] // 4 if wanted[0] > 4 else 0
    levels = []
    for tensors in per_level:
        picked = [
            [t for t in tensors if t.channels == channels][nth]
            for channels, nth in zip(wanted, rank)
        ]
        score_sum = picked[2].index if len(picked) == 3 else None
        levels.append(
            Level(
                stride=picked[0].stride,
                grid=picked[0].grid,
                layout=layout,
                box=picked[0].index,
                cls=picked[1].index,
                score_sum=score_sum,
                bins=bins,
            )
        )
    return _Reading("dfl" if bins else "ltrb", wanted[1], tuple(levels))


def _decide(readings: list[_Reading], outputs: Sequence[TensorSpec], hints: Hints) -> _Reading:
    """Reduce the readings to one; each rule applies only where it leaves something."""
    if hints.num_classes is not None:
        readings = [r for r in readings if r.num_classes == hints.num_classes]
    box_first = hints.order == "box,cls"
    usual = [r for r in readings if _box_channels(r) in USUAL_BOX_CHANNELS]
    stated = [
        r
        for r in usual or readings
        if hints.order and (r.levels[0].box < r.levels[0].cls) == box_first
    ]
    candidates = usual or readings
    if len(candidates) > 1 and stated:
        candidates = stated
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        shown = "; or ".join(reading.describe(outputs) for reading in candidates)
        raise ModelError(
            f"the outputs can be read in {len(candidates)} ways: {shown}.  State `num_classes`, "
            f"`head`, `order` or `layout` in the manifest; the outputs are {_list(outputs)}"
        )
    classes = "" if hints.num_classes is None else f" with {hints.num_classes} classes"
    wanted = f"{hints.head} head" if hints.head else "known head"
    raise ModelError(f"no {wanted}{classes} in the outputs {_list(outputs)}; known: {KNOWN_FORMS}")


def _box_channels(reading: _Reading) -> int:
    return 4 * (reading.levels[0].bins or 1)


def _activation(
    reading: _Reading, outputs: Sequence[TensorSpec], hints: Hints
) -> tuple[Activation, str]:
    if hints.activation is None:
        name = outputs[reading.levels[0].cls].name
        raise ModelError(
            f"cannot tell whether the class scores ({name}, …) are logits or probabilities: no "
            'evidence in the model.  State `activation = "logits"` (class branch without Sigmoid) '
            'or `activation = "probabilities"` (Sigmoid in the graph) in the manifest'
        )
    return hints.activation, hints.activation_evidence or "stated"


def _list(outputs: Sequence[TensorSpec]) -> str:
    return "; ".join(str(spec) for spec in outputs) or "(none)"
