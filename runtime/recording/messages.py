"""The messages of a recording besides detections, which are stored as they are published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from npud.errors import RecordError
from postprocess.tensor import TensorSpec
from runtime.input_spec import Letterbox

Size = Annotated[int, Meta(ge=1, le=1 << 16)]
Scale = Annotated[float, Meta(gt=0, le=1 << 16)]
Pad = Annotated[int, Meta(ge=0, le=1 << 16)]


class Fit(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A Letterbox in plain types."""

    scale_x: Scale
    scale_y: Scale
    pad_x: Pad
    pad_y: Pad
    width_px: Size
    height_px: Size

    @classmethod
    def of(cls, box: Letterbox) -> Fit:
        """A letterbox in plain types."""
        scales = float(box.scale_x), float(box.scale_y)
        return cls(*scales, box.pad_x, box.pad_y, box.width_px, box.height_px)

    def letterbox(self) -> Letterbox:
        """The letterbox."""
        return Letterbox(**msgspec.structs.asdict(self))


class TensorsMessage(msgspec.Struct, frozen=True):
    """A frame's raw outputs: `tensors` are the bytes of C-contiguous arrays, one per output.

    `setup` names the Setup that they are read with.
    """

    camera: str
    session: int
    seq: int
    frame: int
    captured_ns: int
    setup: str
    fit: Fit
    tensors: tuple[bytes, ...]
    v: Literal[1] = 1

    def encode(self) -> bytes:
        """As a msgpack map."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> TensorsMessage:
        """Read what encode() wrote; raises RecordError."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except (msgspec.MsgspecError, ValueError) as error:
            raise RecordError(f"expected raw outputs, got: {error}") from None

    def arrays(self, specs: Sequence[TensorSpec]) -> list[NDArray[Any]]:
        """The outputs; raises RecordError where they are not as long as the specs say."""
        sizes = [int(np.prod(s.shape, dtype=np.int64)) * s.dtype.itemsize for s in specs]
        if [len(tensor) for tensor in self.tensors] != sizes:
            got = [len(tensor) for tensor in self.tensors]
            raise RecordError(f"frame {self.frame}: expected outputs of {sizes} bytes, got {got}")
        arrays = [np.frombuffer(t, s.dtype).reshape(s.shape) for t, s in zip(self.tensors, specs)]
        return [np.require(array, requirements=["A"]) for array in arrays]
