"""Boxes of all cells by head, in NumPy: xyxy in model-input pixels, float32 as native/boxes.c.

Only the softmax of DFL is done in float64 (the kernels: float32, 1e-4 cells apart at most).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from postprocess.plan import HeadPlan, Level
from postprocess.sigmoid import exp_double

Float32 = NDArray[np.float32]
HALF, TWO = np.float32(0.5), np.float32(2)


def boxes_of(plan: HeadPlan, level: Level, values: Float32) -> Float32:
    """Boxes (cells, 4) from the box channels (cells, 4 or 4 * bins): real values, of `anchor` σ."""
    if plan.head == "dfl":
        return from_distances(level, dfl(values.reshape(level.cells, 4, level.bins)))
    if plan.head == "ltrb":
        return from_distances(level, values)
    if plan.head == "anchor":
        return from_anchor(level, values)
    if plan.head == "yolox":
        return from_grid(level, values)
    if plan.head == "flat":
        return from_centre(values[:, :2], values[:, 2:])
    return values


def dfl(bins: Float32) -> Float32:
    """Compute the expected bin Σ b · softmax(x)_b over the last axis, in float64; float32 out."""
    x = bins.astype(np.float64)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    distances = e @ np.arange(bins.shape[-1]) / e.sum(axis=-1)
    result: Float32 = distances.astype(np.float32)
    return result


def _corner(level: Level) -> Float32:
    """(column, row) of each cell."""
    rows, columns = np.divmod(np.arange(level.cells), level.grid[1])
    return np.stack([columns, rows], axis=1).astype(np.float32)


def from_distances(level: Level, ltrb: Float32) -> Float32:
    """Xyxy = ((column, row) + 0.5 ∓ ltrb) · stride."""
    centres = _corner(level) + HALF
    corners = np.hstack([centres - ltrb[:, :2], centres + ltrb[:, 2:]])
    result: Float32 = corners * np.float32(level.stride)
    return result


def from_centre(centres: Float32, sizes: Float32) -> Float32:
    """Xyxy from centre and size."""
    half = sizes * HALF
    return np.hstack([centres - half, centres + half])


def from_anchor(level: Level, box: Float32) -> Float32:
    """Centre = (2σ(t) - 0.5 + (column, row)) · stride, size = (2σ(t))² · anchor [YOLOv5, v7]."""
    centres = (TWO * box[:, :2] - HALF + _corner(level)) * np.float32(level.stride)
    sides = TWO * box[:, 2:]
    return from_centre(centres, sides * sides * np.array(level.anchor, np.float32))


def from_grid(level: Level, t: Float32) -> Float32:
    """Centre = (t + (column, row)) · stride, size = e^t · stride [YOLOX]."""
    stride = np.float32(level.stride)
    sizes = exponential(t[:, 2:]) * stride
    return from_centre((t[:, :2] + _corner(level)) * stride, sizes)


def exponential(t: NDArray[Any]) -> Float32:
    """e^t, rounded once; infinite from 89 on."""
    clipped = np.clip(np.where(np.isnan(t), 0, t).astype(np.float64), -100.0, 100.0)
    result: Float32 = np.where(np.isnan(t), t, exp_double(clipped)).astype(np.float32)
    return result
