"""A model loaded into librknnrt, which all its contexts share."""

from __future__ import annotations

import ctypes
import logging
import threading
from ctypes import addressof, byref
from pathlib import Path

from npud.errors import BackendUnavailable, ModelError
from runtime import compat
from runtime.backends import rknn_api as api
from runtime.backends.base import BackendOptions
from runtime.models import rknn
from runtime.models.info import ModelInfo

log = logging.getLogger("npud")


class Weights:
    """The weights: a context that lives until the last of its users is gone.  Thread-safe."""

    def __init__(self, path: Path, options: BackendOptions) -> None:
        self.path, self.info, self.library = path, rknn.read(path), api.Library()
        self.native = options.native_layout
        compat.enforce(path, self.info, options.version_check)
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
