"""Where a role's elements lie in an output, as NumPy sees it and as the C kernels are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from postprocess.plan import Level
from postprocess.tensor import TensorSpec


@dataclass(frozen=True)
class Axes:
    """Which dimension of an output is what; None where there is none of its own.

    `block` is the dimension of channel blocks (NC1HWC2: channel = block index * C2 + channel).
    """

    row: int | None
    cell: int
    channel: int
    block: int | None = None


def two_axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Find the two dimensions of a flat output among those of 1 that exporters add."""
    if len(shape) == 3 and shape[0] == 1:
        return 1, 2
    if len(shape) == 2:
        return 0, 1
    kept = tuple(k for k, size in enumerate(shape) if size != 1)
    return (kept[0], kept[1]) if len(kept) == 2 else None


def axes_of(level: Level, spec: TensorSpec) -> Axes:
    """Read the dimensions of an output of this level."""
    dimensions = len(spec.shape)
    if not level.stride:
        pair = two_axes(spec.shape)
        assert pair is not None, f"{spec} is no flat output"  # noqa: S101
        channel, cell = pair if level.layout == "nchw" else pair[::-1]
        return Axes(None, cell, channel)
    if dimensions == 5:
        return Axes(2, 3, 4, 1)
    first = dimensions - 3
    if level.layout == "nhwc":
        return Axes(first, first + 1, first + 2)
    return Axes(first + 1, first + 2, first)


def channels_of(level: Level, spec: TensorSpec) -> int:
    """Count the channels of an output, blocks included."""
    axes = axes_of(level, spec)
    blocks = 1 if axes.block is None else spec.shape[axes.block]
    return spec.channels or blocks * spec.shape[axes.channel]


def cells_first(
    tensor: NDArray[Any], level: Level, spec: TensorSpec, channel: int, count: int
) -> NDArray[Any]:
    """View `count` channels from `channel` on as (cells, count), as stored."""
    axes = axes_of(level, spec)
    order = [k for k in (axes.row, axes.cell, axes.block, axes.channel) if k is not None]
    rest = [k for k in range(tensor.ndim) if k not in order]
    moved = tensor.transpose(*rest, *order).reshape(level.cells, -1)
    result: NDArray[Any] = moved[:, channel : channel + count]
    return result


def native_view(level: Level, spec: TensorSpec, index: int, channel: int) -> tuple[int, ...]:
    """(output, offset, row, cell, channel stride, first channel, block, block stride)."""
    axes, strides = axes_of(level, spec), spec.element_strides
    row = 0 if axes.row is None else strides[axes.row]
    block, block_stride = 0, 0
    if axes.block is not None:
        block, block_stride = spec.shape[axes.channel], strides[axes.block]
    return (
        index,
        0,
        row,
        strides[axes.cell],
        strides[axes.channel],
        channel,
        block,
        block_stride,
    )


def is_scannable(level: Level, spec: TensorSpec, channels: int) -> bool:
    """Whether cells or channels lie side by side, as the scans need it."""
    axes, strides = axes_of(level, spec), spec.element_strides
    return channels == 1 or 1 in (strides[axes.cell], strides[axes.channel])


def dequantize(stored: NDArray[Any], spec: TensorSpec, channel: int) -> NDArray[np.float32]:
    """Real values of (…, count) stored channels from `channel` on, in float32."""
    quantization = spec.quantization
    if spec.dtype.kind == "f" or quantization is None:
        return stored.astype(np.float32)
    scale, zero_point = np.ravel(quantization.scale), np.ravel(quantization.zero_point)
    if len(scale) > 1:
        scale = scale[channel : channel + stored.shape[-1]]
        zero_point = zero_point[channel : channel + stored.shape[-1]]
    difference = stored.astype(np.int64) - zero_point.astype(np.int64)
    result: NDArray[np.float32] = difference.astype(np.float32) * scale.astype(np.float32)
    return result
