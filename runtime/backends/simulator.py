"""What the backends that simulate a converted model have in common."""

from __future__ import annotations

import copy
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from npud.errors import InferenceError
from postprocess.tensor import TensorSpec
from runtime.backends.base import check_inputs
from runtime.backends.requantize import as_stored

B = TypeVar("B", bound="Simulator")


class Running(Protocol):
    """A model in a toolkit's process."""

    def infer(self, picture: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Run it on one picture; outputs in the order of the file."""
        ...

    def close(self) -> None:
        """End the process."""
        ...


class Simulator:
    """A Backend but for its constructor: duplicates take turns in one process.

    The last one that is closed ends it.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def _start(self, path: Path, start: Callable[[Path], Running]) -> None:
        """Start the process; `start` gets a folder for its files."""
        self._path = path
        self._shared = _Shared(start)
        self._open = True

    def _feed(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """The model's input as the simulator wants it."""
        return tensor

    def infer(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Simulate one picture."""
        self._check_open()
        check_inputs(self._path, self.inputs, tensors)
        try:
            results = self._shared.infer(self._feed(tensors[0]))
        except InferenceError as error:
            raise InferenceError(f"model {self._path}: simulator: {error}") from None
        if len(results) != len(self.outputs):
            raise InferenceError(
                f"model {self._path}: expected {len(self.outputs)} outputs, as the file says, "
                f"the simulator gave {len(results)}"
            )
        return [as_stored(self._path, *pair) for pair in zip(results, self.outputs)]

    def duplicate(self: B, core: int | None = None) -> B:
        """Share the process."""
        self._check_open()
        self._shared.join()
        return copy.copy(self)

    def close(self) -> None:
        """Leave the process."""
        if self._open:
            self._open = False
            self._shared.leave()

    def _check_open(self) -> None:
        if not self._open:
            raise InferenceError(f"model {self._path}: the backend is closed")


class _Shared:
    """The process, how many use it, and the folder of its files."""

    def __init__(self, start: Callable[[Path], Running]) -> None:
        self._users = 1
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="npud-simulator-")
        try:
            self._model = start(Path(self._folder.name))
        except BaseException:
            self._folder.cleanup()
            raise

    def infer(self, picture: NDArray[Any]) -> Sequence[NDArray[Any]]:
        with self._lock:
            return self._model.infer(picture)

    def join(self) -> None:
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._model.close()
                self._folder.cleanup()
