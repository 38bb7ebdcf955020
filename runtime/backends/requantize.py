"""Real values of a simulator brought back to what the board's runtime hands over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.errors import InferenceError
from postprocess.tensor import TensorSpec

MOST_OFF = 1e-4  # of a step, beyond the rounding of float32, in which simulators give values
ROUNDING = 2.0**-23


def as_stored(path: Path, values: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """`values` as `spec` says: the same integers, float16, or as they are.

    Raises InferenceError for another shape, or values that do not lie on the output's grid: then
    the simulated model is not the one in the file.
    """
    where = f"model {path}: output {spec.name}"
    if values.shape != spec.shape:
        raise InferenceError(
            f"{where}: expected {list(spec.shape)}, as the file says, the simulator gave "
            f"{list(values.shape)}"
        )
    if values.dtype == spec.dtype or spec.dtype.kind == "f":
        return np.ascontiguousarray(values, spec.dtype.name)
    grid = spec.quantization
    if grid is None:
        raise InferenceError(f"{where}: expected a scale of {spec.dtype} in the file, got none")
    scale, zero = _aligned(grid.scale, spec), _aligned(grid.zero_point, spec)
    steps = values.astype(np.float64) / scale
    stored = np.rint(steps)
    off = float((np.abs(steps - stored) - ROUNDING * np.abs(steps)).max(initial=0))
    stored += zero
    limits = np.iinfo(spec.dtype.name)
    if not off <= MOST_OFF or stored.min() < limits.min or stored.max() > limits.max:
        raise InferenceError(
            f"{where}: expected values on the file's grid (scale {grid.scale.max():.6g}), the "
            f"simulator's are off by up to {off:.3g} steps: it runs another model"
        )
    return stored.astype(spec.dtype.name)


def _aligned(numbers: NDArray[Any], spec: TensorSpec) -> NDArray[np.float64]:
    """Per-channel numbers along the axis of the channels."""
    wide = numbers.astype(np.float64)
    if wide.ndim == 0 or spec.layout == "nhwc":
        return wide
    axis = 1 if spec.layout == "nchw" else spec.shape.index(len(wide))
    return wide.reshape([-1 if k == axis else 1 for k in range(len(spec.shape))])
