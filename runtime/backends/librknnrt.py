"""Backend `librknnrt`: Rockchip's NPU through its C library, raw tensors, codes checked.

Outputs are what the NPU wrote (int8 with scale and zero point, or fp16), as views of memory that
the next infer() overwrites.  Contexts made by duplicate() share the weights.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Sequence
from ctypes import addressof, byref
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npud.errors import BackendUnavailable, InferenceError, ModelError
from runtime import compat
from runtime.backends import rknn_api as api
from runtime.backends.base import BackendOptions, VersionCheck, check_inputs
from runtime.backends.guard import OneAtATime, OutputGuard
from runtime.backends.rknn_io import Copied, InOut, RefusedError, Shared
from runtime.backends.rknn_specs import compare, input_spec, output_spec, query_attrs
from runtime.models import rknn
from runtime.models.info import ModelInfo

log = logging.getLogger("npud")


class LibrknnrtBackend:
    """One context of a model; its duplicates hold the weights with it."""

    _io: InOut | None
    _context: int  # 0 once it is released

    def __init__(self, path: Path, options: BackendOptions) -> None:
        self._model = _Model(path, options.version_check)
        try:
            self._open(self._model.first, options.core)
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
            check_inputs(self._model.path, self.inputs, tensors)
            self._io.write(tensors)
            self._model.library.call("rknn_run", self._where, self._context, None)
            results = self._io.read()
            self._guard.check(tensors, results)
            return results

    def duplicate(self, core: int | None = None) -> LibrknnrtBackend:
        """Make another context on the same weights."""
        if self._io is None:
            raise InferenceError(f"{self._where}: the backend is closed")
        twin = object.__new__(LibrknnrtBackend)
        twin._model = self._model
        twin._open(self._model.another(), core)
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
                self._model.release(self._context)
            self._io, self._context = None, 0
        finally:
            self._turn.leave()

    def _open(self, context: int, core: int | None) -> None:
        model = self._model
        self._where = f"model {model.path}"
        self._turn = OneAtATime(model.path)
        self._context, self._io = context, None
        try:
            attrs = query_attrs(model.library, context, self._where)
            self.inputs = tuple(input_spec(attr) for attr in attrs[0])
            self.outputs = tuple(output_spec(attr, self._where) for attr in attrs[1])
            compare(self._where, model.info.outputs, self.outputs)
            self._guard = OutputGuard(model.path, self.inputs, self.outputs)
            self._io = self._make_io(*attrs)
            self._pin(core)
        except Exception:
            self.close()
            raise

    def _make_io(self, inputs: Sequence[api.Attr], outputs: Sequence[api.Attr]) -> InOut:
        library = self._model.library
        ports = (list(zip(inputs, self.inputs)), list(zip(outputs, self.outputs)))
        try:
            return Shared(library, self._context, self._where, *ports)
        except RefusedError as why:
            log.info("%s: tensors are copied: %s", self._where, why)
        fresh = self._model.another()  # the old one may hold memory that is gone
        self._model.release(self._context)
        self._context = fresh
        return Copied(library, self._context, self._where, *ports)

    def _pin(self, core: int | None) -> None:
        cores = api.CORES.get(self._model.info.target, 1)
        if core is not None and cores > 1:
            mask = 1 << core % cores
            self._model.library.call("rknn_set_core_mask", self._where, self._context, mask)


class _Model:
    """The weights: a context that lives until the last of its users is gone.  Thread-safe."""

    def __init__(self, path: Path, version_check: VersionCheck) -> None:
        self.path, self.info, self.library = path, rknn.read(path), api.Library()
        compat.enforce(path, self.info, version_check)
        self._lock = threading.Lock()
        self._users = 1
        handle = ctypes.c_uint64()
        data = path.read_bytes()
        code = self.library.code("rknn_init", byref(handle), data, len(data), 0, None)
        if code == api.DEVICE_UNAVAILABLE:
            raise BackendUnavailable(
                f"backend librknnrt: expected an NPU, rknn_init returned {api.meaning(code)}; "
                "remedy: `npud doctor` shows the driver and the rights on its device"
            )
        if code:
            raise ModelError(
                f"model {path}: rknn_init returned {api.meaning(code)}; {_made_for(self.info)}"
            )
        self.first = handle.value

    def another(self) -> int:
        """Duplicate the context."""
        twin = ctypes.c_uint64()
        first = byref(ctypes.c_uint64(self.first))
        self.library.call("rknn_dup_context", f"model {self.path}", first, byref(twin))
        with self._lock:
            self._users += 1
        return twin.value

    def release(self, context: int) -> None:
        """Destroy a duplicate at once, the first context once nobody is left."""
        with self._lock:
            self._users -= 1
            doomed = [context] if context != self.first else []
            doomed += [] if self._users else [self.first]
        for one in doomed:
            code = self.library.code("rknn_destroy", one)
            if code:
                log.warning("model %s: rknn_destroy returned %s", self.path, api.meaning(code))

    def versions(self) -> tuple[str, str]:
        """Versions of the library and of the kernel's driver, in their own words."""
        got = api.Version()
        arguments = (self.first, api.SDK_VERSION, addressof(got), ctypes.sizeof(got))
        self.library.call("rknn_query", f"model {self.path}", *arguments)
        return got.api.decode(errors="replace"), got.driver.decode(errors="replace")


def _made_for(info: ModelInfo) -> str:
    return (
        f"it was made for {info.target or 'an unknown chip'} with rknn-toolkit2 "
        f"{info.versions.toolkit or 'of an unknown version'}: chip and version of librknnrt.so "
        "must fit"
    )
