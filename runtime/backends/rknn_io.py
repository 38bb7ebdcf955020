"""How tensors get into and out of a librknnrt context: shared memory, or copies.

Shared memory (rknn_create_mem, rknn_set_io_mem) saves the copy of every output; where a library
lacks it or refuses it, rknn_inputs_set and rknn_outputs_get fill buffers made once.  Either way
outputs stay in the type the NPU writes (want_float = 0): int8 is a quarter of float32.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from ctypes import byref
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from npud.errors import InferenceError
from postprocess.tensor import TensorSpec
from runtime.backends import rknn_api as api
from runtime.backends.rknn_specs import RefusedError

log = logging.getLogger("npud")
Tensor = NDArray[Any]
Port = tuple[api.Attr, TensorSpec]


class InOut(Protocol):
    """The tensors of one context.  All raise InferenceError."""

    def write(self, tensors: Sequence[Tensor]) -> None:
        """Hand over the inputs."""
        ...

    def read(self) -> list[Tensor]:
        """The outputs of the last run, as views that the next run overwrites."""
        ...

    def close(self) -> None:
        """Give the memory back, before the context is destroyed."""
        ...


class Shared:
    """Inputs and outputs in memory that the NPU reads and writes itself.  Raises RefusedError."""

    def __init__(
        self,
        library: api.Library,
        context: int,
        where: str,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
    ) -> None:
        self._library, self._context, self._where = library, context, where
        self._memories: list[ctypes._Pointer[api.Memory]] = []
        if not library.zero_copy:
            raise RefusedError("this librknnrt has no rknn_create_mem")
        try:
            self._inputs = [self._bind(*_as_fed(*port)) for port in inputs]
            self._outputs = [self._bind(*port) for port in outputs]
        except RefusedError:
            self.close()
            raise

    def write(self, tensors: Sequence[Tensor]) -> None:
        """Copy the inputs into the memory, row by row where it has a stride."""
        for (memory, view), tensor in zip(self._inputs, tensors):
            np.copyto(view, tensor)
            self._sync(memory, api.TO_DEVICE)

    def read(self) -> list[Tensor]:
        """Views of the memory the NPU wrote."""
        for memory, _ in self._outputs:
            self._sync(memory, api.FROM_DEVICE)
        return [view for _, view in self._outputs]

    def close(self) -> None:
        """Give the memory back."""
        for memory in self._memories:
            code = self._library.code("rknn_destroy_mem", self._context, memory)
            if code:
                log.warning("%s: rknn_destroy_mem returned %s", self._where, api.meaning(code))
        self._memories, self._inputs, self._outputs = [], [], []

    def _sync(self, memory: ctypes._Pointer[api.Memory], direction: int) -> None:
        self._library.call("rknn_mem_sync", self._where, self._context, memory, direction)

    def _bind(self, attr: api.Attr, spec: TensorSpec) -> tuple[ctypes._Pointer[api.Memory], Tensor]:
        row = attr.w_stride if spec.layout == "nhwc" and attr.w_stride else 0
        shape = (*spec.shape[:2], max(row, spec.shape[2]), spec.shape[3]) if row else spec.shape
        size = max(attr.size_with_stride, int(np.prod(shape)) * spec.dtype.itemsize)
        memory = self._library.create_mem(self._context, size)
        if memory is None:
            raise RefusedError(f"rknn_create_mem gave none of {size} bytes for {spec}")
        self._memories.append(memory)
        code = self._library.code("rknn_set_io_mem", self._context, memory, byref(attr))
        if code:
            raise RefusedError(f"rknn_set_io_mem returned {api.meaning(code)} for {spec}")
        data = (ctypes.c_uint8 * size).from_address(memory.contents.virt)
        view: Tensor = np.ndarray(shape, spec.dtype, data)
        return memory, view[:, :, : spec.shape[2]] if row else view


class Copied:
    """Inputs read by rknn_inputs_set, outputs copied into buffers of our own."""

    def __init__(
        self,
        library: api.Library,
        context: int,
        where: str,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
    ) -> None:
        self._library, self._context, self._where = library, context, where
        self._inputs = (api.Input * len(inputs))()
        for number, (attr, spec) in enumerate(inputs):
            fed, _ = _as_fed(attr, spec)
            self._inputs[number] = api.Input(number, None, 0, 0, fed.type, fed.fmt)
        self._buffers = [np.zeros(spec.shape, spec.dtype) for _, spec in outputs]
        self._specs = [spec for _, spec in outputs]
        self._outputs = (api.Output * len(outputs))()

    def write(self, tensors: Sequence[Tensor]) -> None:
        """Have the inputs copied by the library."""
        for entry, tensor in zip(self._inputs, tensors):
            entry.buf, entry.size = tensor.ctypes.data, tensor.nbytes
        arguments = (self._context, len(self._inputs), self._inputs)
        self._library.call("rknn_inputs_set", self._where, *arguments)

    def read(self) -> list[Tensor]:
        """Have the outputs copied into our buffers."""
        for number, buffer in enumerate(self._buffers):
            self._outputs[number] = api.Output(0, 1, number, buffer.ctypes.data, buffer.nbytes)
        arguments = (self._context, len(self._outputs), self._outputs)
        self._library.call("rknn_outputs_get", self._where, *arguments, None)
        sizes = [entry.size for entry in self._outputs]
        self._library.call("rknn_outputs_release", self._where, *arguments)
        for spec, buffer, size in zip(self._specs, self._buffers, sizes):
            if size != buffer.nbytes:
                raise InferenceError(
                    f"{self._where}: rknn_outputs_get: expected {buffer.nbytes} bytes of "
                    f"{spec}, got {size}"
                )
        return list(self._buffers)

    def close(self) -> None:
        """Let go of the buffers."""
        self._buffers = []


def _as_fed(attr: api.Attr, spec: TensorSpec) -> Port:
    """A copy of `attr` that says how the caller feeds the tensor."""
    fed = api.Attr.from_buffer_copy(attr)
    if spec.layout == "nhwc":  # the library scales and quantizes the bytes itself
        fed.type, fed.fmt, fed.pass_through = api.UINT8, api.NHWC, 0
    return fed, spec
