"""Public fakes: what goes wrong on boards, on demand.

`backend.name = "runtime.testing:FaultyBackend"` runs a model like backend `onnx`, and does what the
file named by NPUD_FAULT_FILE says, once, at its next inference (or load): one word of FAULTS, or
several, one after another.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.errors import InferenceError, ModelError
from runtime.backends.base import BackendOptions
from runtime.backends.onnx import OnnxBackend

FILE = "NPUD_FAULT_FILE"
LEAK_BYTES = 100 << 20
FAULTS = {
    "crash": "die of a segmentation fault",
    "hang": "do not answer",
    "error": "raise InferenceError",
    "bug": "raise an exception that nobody expects",
    "leak": "keep 100 MiB more",
    "shape": "return tensors of another shape",
    "nan": "return nothing but NaN",
    "load-crash": "die while the model is loaded",
    "load-error": "refuse the model",
    "load-hang": "never finish loading",
}


def inject(path: Path, *faults: str) -> None:
    """Order faults; the backend removes the file when it has obeyed all of them."""
    if unknown := set(faults) - set(FAULTS):
        raise ValueError(f"expected some of {', '.join(FAULTS)}, got {', '.join(unknown)}")
    part = path.with_suffix(".part")
    part.write_text(" ".join(faults))
    part.rename(path)


class FaultyBackend(OnnxBackend):
    """Backend `onnx` with the faults of vendor libraries."""

    def __init__(self, path: Path, options: BackendOptions) -> None:
        self._kept: list[NDArray[Any]] = []
        _obey({"load-crash": _crash, "load-error": _refuse, "load-hang": _hang})
        super().__init__(path, options)

    def infer(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the model, or do what was ordered."""
        done = _obey({"crash": _crash, "hang": _hang, "error": _fail, "bug": _bug})
        results = super().infer(tensors)
        if done or not (order := _obey({"leak": _nothing, "shape": _nothing, "nan": _nothing})):
            return results
        if order == "leak":
            self._kept.append(np.ones(LEAK_BYTES, np.uint8))
        elif order == "shape":
            results = [result[..., :-1] for result in results]
        else:
            results = [np.full_like(result, np.nan) for result in results]
        return results


def _obey(actions: dict[str, Callable[[], None]]) -> str:
    """Carry out the ordered fault if it is one of these; returns its name or ""."""
    name = os.environ.get(FILE)
    if not name:
        return ""
    path = Path(name)
    try:
        order, *others = path.read_text().split()
        if order not in actions:
            return ""
        path.unlink()  # whoever removes it does it
        if others:
            inject(path, *others)
    except FileNotFoundError:
        return ""
    actions[order]()
    return order


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(1)


def _hang() -> None:
    time.sleep(3600)


def _fail() -> None:
    raise InferenceError("rknn_run: -1 (failed), as ordered")


def _bug() -> None:
    raise ZeroDivisionError("as ordered")


def _refuse() -> None:
    raise ModelError("the model is refused, as ordered")


def _nothing() -> None:
    pass
