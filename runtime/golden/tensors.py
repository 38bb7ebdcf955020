"""Outputs by what they mean, not by how a model lays them out: so that any two can be compared."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from postprocess.plan import Activation, HeadPlan, Level
from postprocess.reference_nms import sigmoid
from postprocess.tensor import TensorSpec
from postprocess.views import cells_first, dequantize

Values = NDArray[np.float32]
MOST = 40.0  # beyond it float64 cannot tell a probability from 0 or 1


class Key(NamedTuple):
    """What an output holds: "box", "cls" or "obj", at a stride (0 in heads without)."""

    role: str
    stride: int

    def __str__(self) -> str:
        return f"{self.role}_{self.stride}" if self.stride else self.role


class Statistics(NamedTuple):
    """Of the finite values of one output; `odd` counts those that are not."""

    min: float
    max: float
    mean: float
    std: float
    odd: int


def by_meaning(
    plan: HeadPlan, outputs: Sequence[TensorSpec], tensors: Sequence[NDArray[Any]]
) -> dict[Key, Values]:
    """Real values (cells, channels) float32 per role and stride; anchors one after another.

    The rows of an end2end head are cells of stride 0; they have no order to rely on.
    """
    parts: dict[Key, list[Values]] = defaultdict(list)
    for level in plan.levels:
        for role, (index, channel, count) in places(plan, level).items():
            spec = outputs[index]
            stored = cells_first(tensors[index], level, spec, channel, count)
            parts[Key(role, level.stride)].append(dequantize(stored, spec, channel))
    return {key: np.concatenate(arrays) for key, arrays in parts.items()}


def places(plan: HeadPlan, level: Level) -> dict[str, tuple[int, int, int]]:
    """(output, first channel, channels) of each role."""
    found = {"box": (level.box, level.box_channel, 4 * max(1, level.bins))}
    if plan.head != "end2end":  # there `cls` is the number of a class
        found["cls"] = (level.cls, level.cls_channel, plan.num_classes)
    if level.obj is not None:
        found["obj"] = (level.obj, level.obj_channel, 1)
    return found


def statistics(values: NDArray[Any]) -> Statistics:
    """Statistics of one output."""
    finite = values[np.isfinite(values)].astype(np.float64)
    odd = values.size - finite.size
    if not finite.size:
        return Statistics(math.nan, math.nan, math.nan, math.nan, odd)
    return Statistics(
        float(finite.min()), float(finite.max()), float(finite.mean()), float(finite.std()), odd
    )


def peak(values: Mapping[Key, Values], activation: Activation) -> float:
    """The highest class logit of all cells, objectness included; of probabilities ±40 at most."""
    best = -MOST
    for stride in {key.stride for key in values}:
        cls, obj = values.get(Key("cls", stride)), values.get(Key("obj", stride))
        if cls is not None and obj is None and activation == "logits":
            best = max(best, _highest(cls))
            continue
        score: Any = 1.0
        for array in (cls, obj):
            if array is not None:
                likely = sigmoid(array) if activation == "logits" else array
                score = score * likely.max(axis=1)
        best = max(best, _logit(_highest(np.asarray(score))))
    return best


def cosine(a: Values, b: Values) -> float | None:
    """Cosine similarity in float64; None where shapes differ or one of them is all zero."""
    if a.shape != b.shape:
        return None
    x, y = np.nan_to_num(a.astype(np.float64).ravel()), np.nan_to_num(b.astype(np.float64).ravel())
    length = math.sqrt(float(x @ x)) * math.sqrt(float(y @ y))
    return float(x @ y) / length if length else None


def probabilities(values: Values, activation: Activation) -> Values:
    """Class values as probabilities."""
    return sigmoid(values).astype(np.float32) if activation == "logits" else values


def _highest(values: NDArray[Any]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else -MOST


def _logit(score: float) -> float:
    if not 0 < score < 1:
        return -MOST if score <= 0 else MOST
    return math.log(score) - math.log1p(-score)
