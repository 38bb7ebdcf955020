"""The int8 grids of outputs: from a real model file, a .toml, or measured on pictures.

python -m runtime.simulate.grids MODEL.onnx IMAGES > grids.toml
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from npud.errors import ModelError
from postprocess.tensor import Quantization, TensorSpec
from runtime import models
from runtime.models import evidence
from runtime.models.info import Grid, ModelInfo
from runtime.validate import convert, load_toml

INT8 = np.dtype(np.int8)
LOW, HIGH = -128, 127


class Stated(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One [NAME] of a .toml: real = (stored - zero_point) * scale."""

    scale: Annotated[float, Meta(gt=0)]
    zero_point: Annotated[int, Meta(ge=LOW, le=HIGH)] = 0


def grids_for(source: Path, model: ModelInfo, outputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """The outputs as int8 tensors on the grids that `source` has for them; raises ModelError."""
    found = _stated(source, outputs) if source.suffix == ".toml" else _of_file(source, outputs)
    specs = []
    for spec, grid in zip(outputs, found):
        made = TensorSpec(spec.name, spec.shape, INT8, spec.layout, grid)
        _check_meaning(model, made, source)
        specs.append(made)
    return specs


def quantize(tensor: NDArray[Any], spec: TensorSpec) -> NDArray[np.int8]:
    """round(x / scale) + zero point, cut off at the ends, ties to even as NPUs' toolchains do."""
    assert spec.quantization is not None  # noqa: S101
    scale = np.float32(spec.quantization.scale)
    with np.errstate(over="ignore"):
        stored = np.rint(tensor / scale) + np.float32(spec.quantization.zero_point)
    result: NDArray[np.int8] = np.nan_to_num(stored, nan=0.0).clip(LOW, HIGH).astype(np.int8)
    return result


def _stated(source: Path, outputs: Sequence[TensorSpec]) -> list[Quantization]:
    table = {
        name: convert(value, Stated, f"{source}: {name}")
        for name, value in load_toml(source).items()
    }
    missing = [spec.name for spec in outputs if spec.name not in table]
    if missing:
        names = ", ".join(table) or "none"
        raise ModelError(f"{source}: expected a grid for output {missing[0]}, got {names}")
    stated = [table[spec.name] for spec in outputs]
    return [Quantization.per_tensor(one.scale, one.zero_point) for one in stated]


def _of_file(source: Path, outputs: Sequence[TensorSpec]) -> list[Quantization]:
    """Matched by shape, whatever the layout; of equal shapes in their order."""
    info = models.describe(source)
    left = [spec for spec in info.outputs if _int8(info, spec)]
    found = []
    for spec in outputs:
        same = [other for other in left if _alike(other) == _alike(spec)]
        if not same:
            have = ", ".join(map(str, left)) or "no int8 outputs with one scale"
            raise ModelError(f"{source}: expected a grid for output {spec}, got {have}")
        left.remove(same[0])
        found.append(info.grids[same[0].name].quantization)
    return found


def _int8(info: ModelInfo, spec: TensorSpec) -> bool:
    grid: Grid | None = info.grids.get(spec.name)
    return grid is not None and grid.dtype == INT8 and not grid.quantization.scale.ndim


def _alike(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(sorted(spec.shape))


def _check_meaning(model: ModelInfo, spec: TensorSpec, source: Path) -> None:
    """Refuse the grid of probabilities for logits, and the other way round."""
    origin = model.origins.get(spec.name)
    ours, why = evidence.from_origin(origin)
    theirs, grid = evidence.from_grid(spec)
    joined = origin is not None and origin.parts > 1  # boxes and scores: no grid suits both
    if ours and theirs and ours != theirs and not joined:
        raise ModelError(
            f"{source}: expected a grid for {ours} ({why}), got one of {theirs}: {grid}"
        )
