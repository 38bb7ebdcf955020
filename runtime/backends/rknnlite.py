"""Backend `rknnlite`: Rockchip's NPU through rknn-toolkit-lite2, the board's Python binding.

What the binding does (measured with 2.3.2 and 2.5.0, docs/faults.md): it never raises; a failing
rknn_run is neither reported nor logged, and the frame before comes back; a failed core mask makes
init_runtime return -1 and inference work all the same; outputs are always float32; wrong shapes
pass.  It loads librknnrt with ctypes, so npud hangs an `errcheck` on that object's functions and
sees the code of every call, whatever the binding makes of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.errors import BackendUnavailable, InferenceError, ModelError
from postprocess.tensor import TensorSpec
from runtime import compat
from runtime.backends import rknn_api as api
from runtime.backends.base import BackendOptions, check_inputs
from runtime.backends.guard import OneAtATime, OutputGuard
from runtime.backends.rknnlite_log import heard
from runtime.models import rknn

try:
    from rknnlite.api import RKNNLite
except ImportError as error:
    raise BackendUnavailable(
        f"backend rknnlite: expected rknn-toolkit-lite2, got: {error}; remedy: on the board, "
        "pip install 'npud[rockchip]' (aarch64, CPython 3.7 to 3.12), or use backend librknnrt"
    ) from None

WATCHED = ("rknn_inputs_set", "rknn_run", "rknn_outputs_get", "rknn_outputs_release")
# a line of what init_runtime logs -> what it means
REFUSALS = {
    "_check_container": "expected /dev/dri/renderD129 and /proc/device-tree/compatible in this "
    "container (/.dockerenv), got none; remedy: docker run -v for both, or use backend librknnrt",
    "Please specify the target": "expected an RK356x, RK3576 or RK3588, got an unknown chip in "
    "/proc/device-tree/compatible",
    "Can not find dynamic library": f"expected /usr/lib/{api.NAME}, got none; remedy: {api.REMEDY}",
}
log = logging.getLogger("npud")


class RknnliteBackend:
    """One RKNNLite object; every duplicate loads the model again."""

    def __init__(self, path: Path, options: BackendOptions) -> None:
        self._path, self._options, self._where = path, options, f"model {path}"
        info = rknn.read(path)  # load_rknn takes any file
        compat.enforce(path, info, options.version_check)
        self.inputs = tuple(replace(spec, dtype=np.dtype(np.uint8), quantization=None)
                            for spec in info.inputs)  # fmt: skip
        self.outputs = tuple(TensorSpec(spec.name, spec.shape, np.dtype(np.float32), spec.layout)
                             for spec in info.outputs)  # fmt: skip
        if len(self.inputs) != 1 or self.inputs[0].layout != "nhwc":
            got = ", ".join(f"{spec} {spec.layout}" for spec in self.inputs)
            raise ModelError(f"{self._where}: expected one input, a picture, NHWC, got {got}")
        self._turn = OneAtATime(path)
        self._guard = OutputGuard(path, self.inputs, self.outputs)
        self._codes: list[tuple[str, int]] = []
        cores = api.CORES.get(info.target, 1)
        core = options.core if cores > 1 else None
        self._lite: Any = RKNNLite(verbose=False)
        heard.attach(self._lite)
        try:
            self._start(RKNNLite.NPU_CORE_AUTO if core is None else 1 << core % cores)
        except Exception:
            self.close()
            raise

    @classmethod
    def probe(cls) -> str:
        """Say what is used; that the binding imports is all that can be told without a model."""
        return "rknn-toolkit-lite2"

    def infer(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the model; results are float32 arrays of their own."""
        with self._turn:
            if self._lite is None:
                raise InferenceError(f"{self._where}: the backend is closed")
            check_inputs(self._path, self.inputs, tensors)
            self._codes.clear()
            heard.clear()
            results = self._lite.inference(inputs=list(tensors))
            for call, code in self._codes:
                api.check(code, call, self._where)
            self._check(results)
            self._guard.check(tensors, results)
            return list(results)

    def duplicate(self, core: int | None = None) -> RknnliteBackend:
        """Load the model once more: an object is for one thread, and weights cannot be shared."""
        if self._lite is None:
            raise InferenceError(f"{self._where}: the backend is closed")
        return RknnliteBackend(self._path, replace(self._options, core=core))

    def close(self) -> None:
        """Free the model."""
        if not self._turn.try_enter():
            log.warning("%s: closed while a call hangs in it; left to the process", self._where)
            return
        try:
            if self._lite is not None:
                self._lite.release()
            self._lite = None
        finally:
            self._turn.leave()

    def _start(self, mask: int) -> None:
        heard.clear()
        if self._lite.load_rknn(str(self._path)) != 0:
            raise ModelError(f"{self._where}: load_rknn failed: {heard.reason()}")
        code = self._lite.init_runtime(core_mask=mask)
        if code != 0:  # inference may work nevertheless, on another core or a wrong version
            for line, meaning in REFUSALS.items():
                if line in heard.text():
                    raise BackendUnavailable(f"backend rknnlite: {meaning}")
            why = heard.reason()
            raise ModelError(f"{self._where}: init_runtime(core_mask={mask}) gave {code}: {why}")
        self._watch()

    def _watch(self) -> None:
        """See the code of every call into librknnrt."""
        library = getattr(getattr(self._lite, "rknn_runtime", None), "lib", None)
        if not all(hasattr(library, call) for call in WATCHED):
            raise BackendUnavailable(
                "backend rknnlite: expected rknn-toolkit-lite2 2.3.2 or 2.5.0, got a version that "
                "hides the codes of its calls; remedy: use backend librknnrt"
            )
        for call in WATCHED:
            getattr(library, call).errcheck = self._note(call)

    def _note(self, call: str) -> Any:
        def note(code: int, _function: object, _arguments: object) -> int:
            if code != 0:
                self._codes.append((call, code))
            return code

        return note

    def _check(self, results: Any) -> None:
        if results is None:
            raise InferenceError(f"{self._where}: inference gave no outputs: {heard.reason()}")
        if len(results) != len(self.outputs):
            raise InferenceError(
                f"{self._where}: expected {len(self.outputs)} outputs, got {len(results)}"
            )
        for spec, result in zip(self.outputs, results):
            if result.shape != spec.shape or result.dtype != spec.dtype:
                got = f"{list(result.shape)} {result.dtype}"
                raise InferenceError(f"{self._where}: expected output {spec}, got {got}")
