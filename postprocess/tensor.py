"""TensorSpec: what a model says about one of its inputs or outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Layout = Literal["nchw", "nhwc", "nc1hwc2", "nv12", ""]


@dataclass(frozen=True, eq=False)
class Quantization:
    """real = (stored - zero_point) * scale, per tensor (scalars) or per channel ((C,) arrays)."""

    scale: NDArray[np.float32]  # () or (C,)
    zero_point: NDArray[np.int32]  # () or (C,)

    @classmethod
    def per_tensor(cls, scale: float, zero_point: int = 0) -> Quantization:
        """One scale and zero point for the whole tensor."""
        return cls(np.float32(scale).reshape(()), np.int32(zero_point).reshape(()))


@dataclass(frozen=True, eq=False)
class TensorSpec:
    """Name, shape, element type, memory layout ("" where unknown) and quantization of a tensor.

    "nv12" is a picture as uint8 [1, H·3/2, W]: luma, then U and V side by side.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    layout: Layout = ""
    quantization: Quantization | None = None

    def __str__(self) -> str:
        return f"{self.name} {list(self.shape)} {self.dtype.name}"
