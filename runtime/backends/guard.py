"""What a runtime can get wrong without a code: NaN, old results, two threads on one context."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npud.errors import InferenceError
from postprocess.tensor import TensorSpec

SAMPLES = 256  # elements looked at per tensor: some ten microseconds a frame
CHANGED = 8.0  # mean difference of two pictures, in grey levels of 255, that must show in outputs


class OneAtATime:
    """Lets one thread in; raises InferenceError in a second one rather than mixing up results."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def try_enter(self) -> bool:
        """Enter if nobody is inside; whether it did."""
        return self._lock.acquire(blocking=False)

    def __enter__(self) -> None:
        if not self.try_enter():
            raise InferenceError(
                f"model {self._path}: expected one thread per context, got two at once; "
                "duplicate() makes another context"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Let the next one in."""
        self._lock.release()


class OutputGuard:
    """Looks at a sample of each frame's tensors; for the first, 8-bit, input."""

    def __init__(self, path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]):
        self._where = f"model {path}"
        self._outputs = tuple(outputs)
        self._steps = [_step(spec) for spec in outputs]
        self._input_step = _step(inputs[0])
        self._picture: NDArray[Any] | None = None
        self._results: list[NDArray[Any]] = []

    def check(self, tensors: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]]) -> None:
        """Raise InferenceError for NaN or Inf, and for another picture with the old results."""
        results = [out.reshape(-1)[::step].copy() for out, step in zip(outputs, self._steps)]
        for spec, result in zip(self._outputs, results):
            if result.dtype.kind == "f" and not np.isfinite(result).all():
                odd = result[~np.isfinite(result)][0]
                raise InferenceError(f"{self._where}: expected finite numbers in {spec}, got {odd}")
        picture = tensors[0].reshape(-1)[:: self._input_step].astype(np.float32)
        if self._picture is None or not all(map(np.array_equal, results, self._results)):
            self._picture, self._results = picture, results
        elif float(np.abs(picture - self._picture).mean()) > CHANGED:
            raise InferenceError(
                f"{self._where}: expected other results for another picture, got those of an "
                "earlier frame again; the NPU reports success without running"
            )


def _step(spec: TensorSpec) -> int:
    """A step that visits about SAMPLES elements and, being odd, all of the channels in time."""
    return max(1, int(np.prod(spec.shape)) // SAMPLES) | 1
