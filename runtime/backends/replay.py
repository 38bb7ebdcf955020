"""Backend `replay`: recorded outputs, frame after frame and over again, whatever comes in."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npud.errors import InferenceError
from runtime.backends.base import BackendOptions, check_inputs
from runtime.models import recording


class ReplayBackend:
    """A recording (runtime/models/recording.py) in place of a model."""

    def __init__(self, path: Path, options: BackendOptions) -> None:
        self._path = path
        recorded = recording.load(path)
        self.inputs, self.outputs = recorded.inputs, recorded.outputs
        self._frames: tuple[NDArray[Any], ...] | None = recorded.frames
        self._next = itertools.count()  # shared by duplicates: together they play one recording

    @property
    def frames(self) -> int:
        """How many frames the recording has."""
        return len(self._frames[0]) if self._frames else 0

    @classmethod
    def probe(cls) -> str:
        """Say what it is: a recording needs nothing."""
        return "recordings"

    def infer(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the outputs of the next frame, which must not be written to."""
        if self._frames is None:
            raise InferenceError(f"model {self._path}: the backend is closed")
        check_inputs(self._path, self.inputs, tensors)
        frame = next(self._next) % len(self._frames[0])
        return [array[frame] for array in self._frames]

    def seek(self, frame: int) -> None:
        """Play from this frame on, counted from 0; loading a model may have shown it some."""
        self._next = itertools.count(frame)

    def duplicate(self, core: int | None = None) -> ReplayBackend:
        """Share the recording and the place in it."""
        if self._frames is None:
            raise InferenceError(f"model {self._path}: the backend is closed")
        return copy.copy(self)

    def close(self) -> None:
        """Let go of the recording."""
        self._frames = None
