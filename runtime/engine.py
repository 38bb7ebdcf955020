"""Engine: a loaded model with all its contexts; in a running pipeline one replaces another."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from npud.detections import Detections
from runtime.detector import ModelFiles, Observation, Timing
from runtime.frame import Frame
from runtime.recording.setup import Setup
from runtime.workers.state import WorkerState


class AnyDetector(Protocol):
    """A Detector in this process, or a RemoteDetector."""

    files: ModelFiles

    def ready(self, timeout_s: float) -> bool:
        """Wait until it can take a frame."""
        ...

    def problem(self) -> str:
        """Why it has given no detections for some time, or ""."""
        ...

    def doubt(self) -> str:
        """Why its detections are not to be trusted, or ""."""
        ...

    def runs_on(self) -> str:
        """The name of the backend that runs the model."""
        ...

    def worker(self) -> WorkerState | None:
        """The process that does the work, where that is another one."""
        ...

    @property
    def setup(self) -> Setup:
        """What it takes to decode its outputs, once it has observed a frame."""
        ...

    def detect(self, frame: Frame) -> tuple[Detections, Timing]:
        """Find objects; raises InferenceError."""
        ...

    def observe(self, frame: Frame) -> Observation:
        """As detect(), and show the raw outputs, at some cost."""
        ...


@dataclass(frozen=True, eq=False)
class Engine:
    """Detectors of one model, one for each thread; shared: they read frames in shared memory."""

    files: ModelFiles
    detectors: Sequence[AnyDetector]
    contexts: int = 1
    shared: bool = False
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def trouble(self) -> str:
        """Why there are no detections, or none to be trusted; or ""."""
        problems = [detector.problem() for detector in self.detectors]
        return problems[0] if all(problems) else self.doubt()

    def doubt(self) -> str:
        """What the golden sample has shown, where it was not well; or ""."""
        return next((doubt for d in self.detectors if (doubt := d.doubt())), "")

    def backend(self) -> str:
        """The name of what runs the model."""
        return self.detectors[0].runs_on()

    def workers(self) -> list[WorkerState]:
        """The processes that do the work, where there are some."""
        states = (detector.worker() for detector in self.detectors)
        return list(dict.fromkeys(state for state in states if state))

    def close(self) -> None:
        """Free the model."""
        self.stack.close()
