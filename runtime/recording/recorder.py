"""Recorder: takes frames from the pipeline, and has a thread of its own write them somewhere.

Nothing of it waits in an inference thread but the copy of the outputs; what the thread cannot keep
up with is dropped and counted, unless every frame is wanted.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from npud.errors import NpudError
from npud.messages import DetectionsMessage
from npud.wire import encode
from runtime.detector import Observation
from runtime.frame import Frame
from runtime.recording import pictures
from runtime.recording.mcap_file import Part
from runtime.recording.messages import Fit, TensorsMessage
from runtime.recording.pictures import Frames
from runtime.recording.setup import Setup

log = logging.getLogger("npud")
QUEUE_BYTES = 64 << 20


class Sink(Protocol):
    """Where recorded frames go; called in the recorder's thread alone."""

    def take(self, setup: Setup, parts: list[Part]) -> bool:
        """Keep a frame; False where it wants no more.  Raises RecordError."""
        ...

    def close(self) -> None:
        """No more frames come.  Raises RecordError."""
        ...


@dataclass(frozen=True, slots=True)
class _Job:
    frame: Frame
    setup: Setup
    tensors: TensorsMessage
    message: DetectionsMessage

    @property
    def bytes(self) -> int:
        return self.frame.pixels.nbytes + sum(map(len, self.tensors.tensors))


class Recorder:
    """Hands observed frames to a sink.

    `finished` says why nothing more is recorded, `failure` holds the error where it is one.
    `dropped` counts frames that came faster than they could be written; there are none of them
    where `lossless`: the inference thread waits instead.
    """

    def __init__(
        self,
        sink: Sink,
        frames: Frames = "jpeg",
        *,
        quality: int = 80,
        lossless: bool = False,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self._sink, self._frames, self._quality = sink, frames, quality
        self._lossless, self._limit = lossless, queue_bytes
        self._changed = threading.Condition()
        self._jobs: deque[_Job | Callable[[], None]] = deque()
        self._queued = 0
        self._closing = False
        self.finished = ""
        self.failure: NpudError | None = None
        self.recorded = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def wants(self) -> bool:
        """Tell whether frames are still recorded."""
        return not (self.finished or self._closing)

    def record(
        self, frame: Frame, seen: Observation, setup: Setup, message: DetectionsMessage
    ) -> None:
        """Record a frame; copies what the next frame overwrites."""
        size = sum(output.nbytes for output in seen.outputs)
        size += frame.pixels.nbytes if self._frames != "none" else 0
        with self._changed:
            if self._lossless:
                self._changed.wait_for(lambda: self._fits(size) or not self.wants())
            if not self._fits(size):
                self.dropped += 1
                return
            self._queued += size
        job = self._job(frame, seen, setup, message)
        with self._changed:
            self._queued += job.bytes - size
            self._jobs.append(job)
            self._changed.notify_all()

    def call(self, function: Callable[[], None]) -> None:
        """Have the thread call a function after the frames that came before."""
        with self._changed:
            self._jobs.append(function)
            self._changed.notify_all()

    def close(self) -> None:
        """Write what is still queued, and end; calling it twice is harmless."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _fits(self, size: int) -> bool:
        room = self._queued + size <= self._limit
        return room or (self._lossless and not self._queued)

    def _job(
        self, frame: Frame, seen: Observation, setup: Setup, message: DetectionsMessage
    ) -> _Job:
        pixels = frame.pixels[:0]
        if self._frames != "none":  # the slot's memory is the next frame's soon
            pixels = frame.pixels.copy() if frame.slot else frame.pixels
        tensors = TensorsMessage(
            camera=message.camera,
            session=message.session,
            seq=message.seq,
            frame=message.frame,
            captured_ns=message.captured_ns,
            setup=setup.id,
            fit=Fit.of(seen.letterbox),
            tensors=tuple(output.tobytes() for output in seen.outputs),
        )
        return _Job(replace(frame, pixels=pixels, slot=None), setup, tensors, message)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closing)
                if not self._jobs:
                    break
                job = self._jobs.popleft()
            if isinstance(job, _Job):
                self._guarded(lambda job=job: self._write(job))  # type: ignore[misc]
                with self._changed:
                    self._queued -= job.bytes
                    self._changed.notify_all()
            else:
                job()
        self._guarded(self._sink.close)

    def _write(self, job: _Job) -> None:
        if self.finished:
            return
        if self._sink.take(job.setup, self._parts(job)):
            self.recorded += 1
        else:
            self.finished = "the end of the recording is reached"

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except NpudError as error:
            if self.failure is None:
                self.failure, self.finished = error, str(error)
                log.error("recording: %s", error)

    def _parts(self, job: _Job) -> list[Part]:
        message, camera = job.message, job.message.camera
        stamps = message.seq, message.captured_ns, message.published_ns
        parts = []
        if self._frames != "none":
            picture = pictures.encode(job.frame, self._frames, self._quality)
            parts.append(Part(f"frames/{camera}", self._frames, *stamps, picture))
        parts.append(Part(f"tensors/{camera}", "tensors", *stamps, job.tensors.encode()))
        topic, payload = encode(message)
        return [*parts, Part(topic.decode(), "detections", *stamps, payload)]
