"""Backend `librknnrt`: Rockchip's NPU through its C library, raw tensors, codes checked.

Outputs are what the NPU wrote (int8 with scale and zero point, or fp16), as views of memory that
the next infer() overwrites.  Contexts made by duplicate() share the weights.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npud.errors import InferenceError, ModelError
from postprocess.tensor import TensorSpec
from runtime.backends import rknn_api as api
from runtime.backends.base import BackendOptions, check_inputs
from runtime.backends.guard import OneAtATime, OutputGuard
from runtime.backends.rknn_io import Copied, InOut, Shared
from runtime.backends.rknn_specs import (
    RefusedError,
    compare,
    input_spec,
    native_output,
    output_spec,
    query_attr,
    query_attrs,
)
from runtime.backends.rknn_weights import Weights

log = logging.getLogger("npud")


class LibrknnrtBackend:
    """One context of a model; its duplicates hold the weights with it."""

    _io: InOut | None
    _context: int  # 0 once it is released

    def __init__(self, path: Path, options: BackendOptions) -> None:
        self._weights = Weights(path, options)
        try:
            self._open(self._weights.first, options.core)
        except InferenceError as error:
            raise ModelError(str(error)) from None

    @classmethod
    def probe(cls) -> str:
        """Say which library would be used."""
        return f"librknnrt ({api.Library().path})"

    def infer(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the model; the results are overwritten by the next call."""
        with self._turn:
            if self._io is None:
                raise InferenceError(f"{self._where}: the backend is closed")
            check_inputs(self._weights.path, self.inputs, tensors)
            self._io.write(tensors)
            self._weights.library.call("rknn_run", self._where, self._context, None)
            results = self._io.read()
            self._guard.check(tensors, results)
            return results

    def duplicate(self, core: int | None = None) -> LibrknnrtBackend:
        """Make another context on the same weights."""
        if self._io is None:
            raise InferenceError(f"{self._where}: the backend is closed")
        twin = object.__new__(LibrknnrtBackend)
        twin._weights = self._weights
        twin._open(self._weights.another(), core)
        return twin

    def close(self) -> None:
        """Free the context; the weights go with the last one."""
        if not self._turn.try_enter():
            log.warning("%s: closed while a call hangs in it; left to the process", self._where)
            return
        try:
            if self._io is not None:
                self._io.close()
            if self._context:
                self._weights.release(self._context)
            self._io, self._context = None, 0
        finally:
            self._turn.leave()

    def _open(self, context: int, core: int | None) -> None:
        weights = self._weights
        self._where = f"model {weights.path}"
        self._turn = OneAtATime(weights.path)
        self._context, self._io = context, None
        try:
            attrs = query_attrs(weights.library, context, self._where)
            self.inputs = tuple(input_spec(attr) for attr in attrs[0])
            self.outputs = tuple(output_spec(attr, self._where) for attr in attrs[1])
            compare(self._where, weights.info.outputs, self.outputs)
            self._io = self._make_io(*attrs)
            self._guard = OutputGuard(weights.path, self.inputs, self.outputs)
            self._pin(core)
        except Exception:
            self.close()
            raise

    def _make_io(self, inputs: Sequence[api.Attr], outputs: Sequence[api.Attr]) -> InOut:
        """Shared memory in the NPU's own layout if that is wanted, in the usual one, or copies."""
        fed, usual = list(zip(inputs, self.inputs)), list(zip(outputs, self.outputs))
        library, where = self._weights.library, self._where
        if self._weights.native:
            try:
                native = self._native_ports()
                io = Shared(library, self._context, where, fed, native)
            except RefusedError as why:
                self._renew(f"outputs come as NCHW: {why}")
            else:
                self.outputs = tuple(spec for _, spec in native)
                return io
        try:
            return Shared(library, self._context, where, fed, usual)
        except RefusedError as why:
            self._renew(f"tensors are copied: {why}")
        return Copied(library, self._context, where, fed, usual)

    def _native_ports(self) -> list[tuple[api.Attr, TensorSpec]]:
        asked = (self._weights.library, self._context, self._where, api.NATIVE_OUTPUT_ATTR)
        attrs = [query_attr(*asked, index) for index in range(len(self.outputs))]
        return [(attr, native_output(attr, spec)) for attr, spec in zip(attrs, self.outputs)]

    def _renew(self, why: str) -> None:
        """Go on in another context: this one may hold memory that is gone."""
        log.info("%s: %s", self._where, why)
        fresh = self._weights.another()
        self._weights.release(self._context)
        self._context = fresh

    def _pin(self, core: int | None) -> None:
        cores = api.CORES.get(self._weights.info.target, 1)
        if core is not None and cores > 1:
            mask = 1 << core % cores
            self._weights.library.call("rknn_set_core_mask", self._where, self._context, mask)
