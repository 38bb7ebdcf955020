"""What recognition works with: one output read as a grid, one consistent way to read them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from postprocess.plan import CellLayout, Head, Hints, Level
from postprocess.tensor import TensorSpec

STRIDES = (4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Grid:
    """One output read as a grid: `index` among the outputs, `channels` per cell."""

    index: int
    channels: int
    stride: int
    grid: tuple[int, int]


@dataclass(frozen=True)
class Reading:
    """One consistent way to read all outputs.

    `usual`: the channel counts are those of well-known models.  `note` joins the evidence;
    `missing` says what keeps this reading from being decoded.
    """

    head: Head
    num_classes: int
    levels: tuple[Level, ...]
    usual: bool = True
    note: str = ""
    missing: str = ""

    def describe(self, outputs: Sequence[TensorSpec]) -> str:
        """Name the head and, by example, which output is what."""
        first = self.levels[0]
        bins = f" with {first.bins} bins" if first.bins else ""
        parts = [f"{self.head}{bins}", f"{self.num_classes} classes", first.layout.upper()]
        if first.box == first.cls:
            parts.append(f"all in {outputs[first.box].name}")
        else:
            parts.append(f"boxes in {outputs[first.box].name}")
            parts.append(f"classes in {outputs[first.cls].name}")
        if first.obj is not None and first.obj != first.cls:
            parts.append(f"objectness in {outputs[first.obj].name}")
        if first.score_sum is not None:
            parts.append(f"score sum in {outputs[first.score_sum].name}")
        return ", ".join(parts)


def possible_strides(input_size: tuple[int, int], hints: Hints) -> tuple[int, ...]:
    """The strides that divide the input."""
    height, width = input_size
    strides = hints.strides or STRIDES
    return tuple(s for s in sorted(strides) if height % s == 0 and width % s == 0)


def layouts(outputs: Sequence[TensorSpec], hints: Hints) -> tuple[CellLayout, ...]:
    """The layouts that the outputs may have; five dimensions are always NC1HWC2."""
    if outputs and all(len(spec.shape) == 5 for spec in outputs):
        return ("nc1hwc2",)
    stated = {hints.layout} if hints.layout else {s.layout for s in outputs if s.layout}
    return tuple(layout for layout in ("nchw", "nhwc") if layout in stated - {"nc1hwc2"}) or (
        "nchw",
        "nhwc",
    )


def by_stride(
    outputs: Sequence[TensorSpec], input_size: tuple[int, int], layout: CellLayout, hints: Hints
) -> list[list[Grid]] | None:
    """The outputs of each stride, strides ascending; None where they are no such set."""
    strides = possible_strides(input_size, hints)
    levels: dict[int, list[Grid]] = {}
    for index, spec in enumerate(outputs):
        tensor = _grid(index, spec, input_size, layout, strides)
        if tensor is None:
            return None
        levels.setdefault(tensor.stride, []).append(tensor)
    per_level = [levels[stride] for stride in sorted(levels)]
    counts = {tuple(sorted(t.channels for t in level)) for level in per_level}
    return per_level if len(counts) == 1 else None


def _grid(
    index: int,
    spec: TensorSpec,
    input_size: tuple[int, int],
    layout: CellLayout,
    strides: tuple[int, ...],
) -> Grid | None:
    shape = spec.shape[1:] if len(spec.shape) in (4, 5) and spec.shape[0] == 1 else spec.shape
    if len(shape) == 4:
        blocks, rows, columns, channels = shape
        channels = spec.channels or blocks * channels
    elif len(shape) == 3:
        channels, rows, columns = shape if layout == "nchw" else (shape[2], shape[0], shape[1])
    else:
        return None
    for stride in strides:
        if (rows * stride, columns * stride) == input_size:
            return Grid(index, channels, stride, (rows, columns))
    return None
