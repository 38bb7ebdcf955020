"""The sigmoids that a decoder can use, in NumPy: the definition of what native/sigmoid.c returns.

Every operation here is single and in this order, so both give the same bytes.  Bounds of their
errors: docs/postprocess.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from postprocess.options import Options

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def exp_double(x: NDArray[Any]) -> Float64:
    """e^x for |x| ≤ 104 in float64, within 1e-11: Taylor at x / 1024, squared ten times."""
    y = np.asarray(x, np.float64) / 1024.0
    total = np.ones_like(y)
    for i in range(8, 0, -1):
        total = 1.0 + total * y / i
    for _ in range(10):
        total = total * total
    return total


def exp_float(x: Float32) -> Float32:
    """e^x for x ≤ 0 in float32 (native/exp.h); stays at e^-87 below, NaN stays NaN."""
    one = np.float32
    x = np.where(x < one(-87), one(-87), x)
    shifted = x * one(1.44269504) + one(12582912.0)
    n = shifted - one(12582912.0)
    r = x - n * one(0.693359375)
    r = r - n * one(-2.12194440e-4)
    p = np.full_like(r, one(1.9875691500e-4))
    for factor in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1):
        p = p * r + one(factor)
    p = p * r + one(5.0000001201e-1)
    p = p * (r * r) + r + one(1)
    bits = (shifted.view(np.uint32) - np.uint32(0x4B400000) + np.uint32(127)) << np.uint32(23)
    result: Float32 = p * bits.view(np.float32)
    return result


def rounded(x: NDArray[Any]) -> Float32:
    """σ in float64, rounded once to float32: what tables hold."""
    x = np.asarray(x, np.float64)
    magnitude = np.abs(x)
    e = np.where(magnitude < 104, exp_double(-np.minimum(magnitude, 104.0)), 0.0)
    result = np.where(x < 0, e, 1.0) / (1.0 + e)
    return np.where(np.isnan(x), x, result).astype(np.float32)


def exact(x: Float32) -> Float32:
    """σ by the float32 polynomial."""
    e = exp_float(np.where(x < 0, x, -x).astype(np.float32))
    result: Float32 = np.where(x < 0, e, np.float32(1)) / (np.float32(1) + e)
    return result


def table(x: Float32, size: int, interpolation: str, table_range: float) -> Float32:
    """σ from `size` steps on [-table_range, table_range], saturating outside."""
    limit = float(np.float32(table_range))
    entries = rounded(-limit + 2.0 * limit * np.arange(size + 1) / size)
    inside = np.clip(np.where(np.isnan(x), 0, x).astype(np.float64), -limit, limit)
    position = (inside + limit) * (size / (2.0 * limit))
    if interpolation == "nearest":
        values = entries[(position + 0.5).astype(np.int64)]
    else:
        index = np.minimum(position.astype(np.int64), size - 1)
        low, high = entries[index], entries[index + 1]
        values = np.minimum(low + (position - index).astype(np.float32) * (high - low), high)
    values = np.where(x > -np.float32(limit), values, entries[0])
    values = np.where(x >= np.float32(limit), entries[size], values)
    result: Float32 = np.where(np.isnan(x), x, values).astype(np.float32)
    return result


def probability(
    real: Float32, dtype: np.dtype[Any], per_channel: bool, options: Options
) -> Float32:
    """σ of real values as the decoder's options want it, for a tensor of `dtype`."""
    if options.sigmoid == "exact":
        return exact(real)
    if dtype.itemsize <= 2 and not per_channel:
        return rounded(real)
    return table(real, options.table_size, options.table_interpolation, options.table_range)
