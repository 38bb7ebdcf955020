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

    `strides` (in elements, one per dimension) tells where rows or channels are padded: arrays of
    `shape` with these strides are expected then; None: C-contiguous.  `channels` is the number of
    channels of an NC1HWC2 tensor [1, C1, H, W, C2], where the last block is not full; 0: C1 * C2.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    layout: Layout = ""
    quantization: Quantization | None = None
    strides: tuple[int, ...] | None = None
    channels: int = 0

    @property
    def element_strides(self) -> tuple[int, ...]:
        """Elements from one index to the next, per dimension."""
        if self.strides is not None:
            return self.strides
        return tuple(int(np.prod(self.shape[k + 1 :])) for k in range(len(self.shape)))

    def __str__(self) -> str:
        return f"{self.name} {list(self.shape)} {self.dtype.name}"


def fits(tensor: object, spec: TensorSpec) -> bool:
    """Whether `tensor` is an aligned array of the spec's shape, type and strides."""
    return (
        isinstance(tensor, np.ndarray)
        and tensor.shape == spec.shape
        and tensor.dtype == spec.dtype
        and has_strides(tensor, spec)
        and tensor.flags.aligned
    )


def has_strides(tensor: NDArray[np.generic], spec: TensorSpec) -> bool:
    """Whether the strides are the spec's; those of dimensions of 1 do not matter."""
    return all(
        size == 1 or have == want * tensor.itemsize
        for size, have, want in zip(spec.shape, tensor.strides, spec.element_strides)
    )
