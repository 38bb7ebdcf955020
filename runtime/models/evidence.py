"""Logits or probabilities?  What a model file shows of it: the graph, the quantization grid.

A class output with an int8 grid that spans [0, 1] (scale about 1/255, zero point -128) can only
hold probabilities; one that reaches far outside can only hold logits.  Between the two, and for
floats without a calibrated range, nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from postprocess.plan import Activation, HeadPlan
from postprocess.tensor import TensorSpec
from postprocess.views import cells_first, dequantize
from runtime.models.info import Grid, ModelInfo, OutputOrigin

# The graph's last operation before a class output.
LAST_OPS: dict[str, Activation] = {
    "Sigmoid": "probabilities",
    "Conv": "logits",
    "Gemm": "logits",
    "MatMul": "logits",
    "Add": "logits",
    "BatchNormalization": "logits",
}
INSIDE = (-0.02, 1.02)  # a calibrated or representable range of probabilities, with rounding
OUTSIDE = (-1.0, 2.0)  # a range that reaches beyond is none
Verdict = tuple[Activation | None, str]


def from_grid(spec: TensorSpec, calibrated: tuple[float, float] | None = None) -> Verdict:
    """Judge one class output by its calibrated (min, max), else by what its grid can hold.

    `spec` is a class output as the NPU stores it.  Returns (activation or None, evidence in words).
    """
    if calibrated is not None and calibrated[0] < calibrated[1]:
        return _by_range(calibrated, f"{spec.name} was calibrated on")
    span = representable(spec)
    if span is None:
        return None, f"{spec.name} is {spec.dtype.name}: its grid says nothing"
    return _by_range(span, f"{spec.dtype.name} {spec.name} can only hold")


def representable(spec: TensorSpec) -> tuple[float, float] | None:
    """The real values that an 8- or 16-bit tensor can hold, (lowest, highest); else None.

    A symmetric grid (zero point 0 in a signed type) counts from 0 where it ends at 1: the negative
    half is there because the type has it.
    """
    if spec.quantization is None or spec.dtype.kind not in "iu" or spec.dtype.itemsize > 2:
        return None
    limits = np.iinfo(spec.dtype)  # type: ignore[type-var]
    scale = spec.quantization.scale.astype(np.float64)
    zero = spec.quantization.zero_point.astype(np.float64)
    low = float(np.min((limits.min - zero) * scale))
    high = float(np.max((limits.max - zero) * scale))
    symmetric = spec.dtype.kind == "i" and not zero.any() and 0.9 <= high <= INSIDE[1]
    return (0.0 if symmetric else low), high


def from_origin(origin: OutputOrigin | None) -> Verdict:
    """Judge one class output by the operation it comes from."""
    if origin is None:
        return None, ""
    return LAST_OPS.get(origin.op), origin.evidence


def from_values(
    plan: HeadPlan, outputs: Sequence[TensorSpec], tensors: Sequence[NDArray[Any]]
) -> Verdict:
    """Judge the class outputs by what they hold after one canary inference.

    `plan` says where the classes are; its own activation is not looked at.
    """
    values = []
    for level in plan.levels:
        spec = outputs[level.cls]
        stored = cells_first(tensors[level.cls], level, spec, level.cls_channel, plan.num_classes)
        values.append(dequantize(stored, spec, level.cls_channel).ravel())
    joined = np.concatenate(values)
    finite = joined[np.isfinite(joined)]
    if not len(finite) or finite.min() == finite.max():
        return None, "a canary picture gave nothing but one value, or none that is finite"
    low, high = float(finite.min()), float(finite.max())
    kind: Activation = "probabilities" if low >= -0.01 and high <= 1.01 else "logits"
    return kind, f"on a canary picture the class outputs hold {low:.3g} to {high:.3g}"


def of_outputs(info: ModelInfo, names: Iterable[str], grids: bool = True) -> Verdict:
    """Judge the class outputs of a model together; graph and grids must not contradict each other.

    `grids` is False where a tensor holds more than scores, so that its range says nothing of them.
    The first evidence found is named; (None, why) where there is none or it is contradictory.
    """
    found: dict[Activation, str] = {}
    silent = ""
    for name in names:
        judged = [from_origin(info.origins.get(name))] + ([_grid(info, name)] if grids else [])
        for activation, evidence in judged:
            if activation is None:
                silent = silent or evidence
            else:
                found.setdefault(activation, evidence)
    if len(found) == 1:
        return next(iter(found.items()))
    if found:
        return None, "the evidence is contradictory: " + "; but ".join(found.values())
    return None, silent or "the file does not say"


def _grid(info: ModelInfo, name: str) -> Verdict:
    grid: Grid | None = info.grids.get(name)
    if grid is None:
        return None, ""
    stored = TensorSpec(name, (), grid.dtype, "", grid.quantization)
    return from_grid(stored, grid.range)


def _by_range(span: tuple[float, float], what: str) -> Verdict:
    low, high = span
    evidence = f"{what} {low:.3g} to {high:.3g}"
    if low >= INSIDE[0] and high <= INSIDE[1]:
        return "probabilities", evidence
    if low < OUTSIDE[0] or high > OUTSIDE[1]:
        return "logits", evidence
    return None, f"{evidence}, which is neither"
