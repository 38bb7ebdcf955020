"""TensorSpecs as JSON: what recordings say of a model's inputs and outputs."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from postprocess.tensor import Layout, Quantization, TensorSpec

Size = Annotated[int, Meta(ge=0, le=1 << 31)]


class TensorJson(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """A TensorSpec in plain types.

    Its `strides` are left out: recorded tensors are C-contiguous.  `scale` and `zero_point` are
    lists of one or C numbers.
    """

    name: str
    shape: tuple[Size, ...]
    dtype: Literal["float32", "float16", "int8", "uint8", "int16", "uint16", "int32", "int64"]
    layout: Layout = ""
    scale: tuple[float, ...] | None = None
    zero_point: tuple[int, ...] | None = None
    channels: Size = 0

    @classmethod
    def of(cls, spec: TensorSpec) -> TensorJson:
        """A spec in plain types."""
        q = spec.quantization
        return cls(
            spec.name,
            spec.shape,
            str(spec.dtype.name),  # type: ignore[arg-type]
            spec.layout,
            None if q is None else tuple(q.scale.reshape(-1).tolist()),
            None if q is None else tuple(q.zero_point.reshape(-1).tolist()),
            spec.channels,
        )

    def spec(self) -> TensorSpec:
        """The spec, of a C-contiguous tensor; raises ValueError for numbers out of range."""
        return TensorSpec(
            self.name,
            self.shape,
            np.dtype(self.dtype),
            self.layout,
            self._quantization(),
            channels=self.channels,
        )

    def _quantization(self) -> Quantization | None:
        if self.scale is None:
            return None
        channels = () if len(self.scale) == 1 else (len(self.scale),)
        scale = np.array(self.scale, np.float32).reshape(channels)
        try:
            zero = np.array(self.zero_point or [0] * len(self.scale), np.int32)
        except OverflowError as error:
            raise ValueError(f"zero_point: {error}") from None
        return Quantization(scale, zero.reshape(channels))
