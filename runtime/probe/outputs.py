"""Statistics of a model's outputs for one picture: a row for each role and stride."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from postprocess.plan import Level
from postprocess.tensor import TensorSpec
from postprocess.views import cells_first, dequantize
from runtime.golden.tensors import Statistics, probabilities, statistics
from runtime.golden.tensors import places as by_role
from runtime.probe.bench import Outputs

BINS = 16


@dataclass(frozen=True)
class Row:
    """One role of one stride, of real values, as the plan reads them.

    role is "?" and stride a guess by shape where the head is not known.  above is the share of the
    cells whose best score passes the threshold, top the best score; both None for boxes.
    histogram counts the finite values in BINS equal steps from min to max; stuck is the share of
    the values that lie at the upper end of an integer type.
    """

    name: str
    role: str
    stride: int
    shape: tuple[int, ...]
    dtype: str
    layout: str
    values: Statistics
    above: float | None
    top: float | None
    stuck: float
    histogram: tuple[int, ...]


def rows_of(seen: Outputs, threshold: float) -> list[Row]:
    """The rows of a known head, strides ascending."""
    rows, done = [], set()
    for level in seen.plan.levels:
        places = by_role(seen.plan, level)
        if level.score_sum is not None:
            places["score_sum"] = (level.score_sum, 0, 1)
        for role in places:
            if (role, level.stride) not in done:
                done.add((role, level.stride))
                rows.append(_row(seen, level, role, threshold))
    return rows


def _row(seen: Outputs, first: Level, role: str, threshold: float) -> Row:
    plan, parts, stuck = seen.plan, [], []
    for level in (v for v in plan.levels if v.stride == first.stride):
        index, channel, count = by_role(plan, level).get(role) or (level.score_sum or 0, 0, 1)
        spec = seen.specs[index]
        stored = cells_first(seen.tensors[index], level, spec, channel, count)
        stuck.append(_stuck(stored))
        parts.append(dequantize(stored, spec, channel))
        if role == "score_sum":
            break
    values = np.concatenate(parts)
    above = top = None
    if role != "box":
        activation = "probabilities" if role == "score_sum" else plan.activation
        best = probabilities(np.nan_to_num(values).max(axis=1), activation)
        above, top = float((best >= threshold).mean()), float(best.max())
    return Row(
        spec.name, role, first.stride, spec.shape, _kind(spec), _layout(first),
        statistics(values), above, top, max(stuck), histogram(values),
    )  # fmt: skip


def rows_by_shape(
    specs: Sequence[TensorSpec], tensors: Sequence[NDArray[Any]], size: tuple[int, int]
) -> list[Row]:
    """The rows of outputs whose head is not known: whole tensors, and a guess at the stride."""
    rows = []
    for spec, tensor in zip(specs, tensors):
        values = _whole(spec, tensor)
        rows.append(
            Row(
                spec.name,
                "?",
                _guess(spec.shape, size),
                spec.shape,
                _kind(spec),
                spec.layout or "?",
                statistics(values),
                None,
                None,
                _stuck(tensor),
                histogram(values),
            )
        )
    return rows


def histogram(values: NDArray[Any]) -> tuple[int, ...]:
    """Counts of the finite values in BINS equal steps."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return (0,) * BINS
    counts, _ = np.histogram(finite.astype(np.float64), BINS)
    return tuple(int(count) for count in counts)


def _whole(spec: TensorSpec, tensor: NDArray[Any]) -> NDArray[Any]:
    quantization = spec.quantization
    if quantization is None or quantization.scale.ndim:
        return tensor.astype(np.float32)
    return dequantize(tensor.reshape(1, -1), spec, 0)


def _stuck(stored: NDArray[Any]) -> float:
    if stored.dtype.kind not in "iu" or not stored.size:
        return 0.0
    return float((stored == np.iinfo(stored.dtype).max).mean())


def _guess(shape: tuple[int, ...], size: tuple[int, int]) -> int:
    """The stride, where two neighbouring dimensions are the input's divided by it."""
    for rows, columns in itertools.pairwise(shape):
        stride = size[0] // rows if rows else 0
        if stride >= 4 and (rows * stride, columns * stride) == size and math.log2(stride) % 1 == 0:
            return stride
    return 0


def _kind(spec: TensorSpec) -> str:
    quantization = spec.quantization
    if spec.dtype.kind == "f" or quantization is None:
        return str(spec.dtype.name)
    if quantization.scale.ndim:
        return f"{spec.dtype.name} per channel"
    return f"{spec.dtype.name} ×{float(quantization.scale):.3g}"


def _layout(level: Level) -> str:
    if level.stride:
        return level.layout
    return "rows" if level.layout == "nhwc" else "columns"
