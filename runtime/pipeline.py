"""The pipeline in one process: capture threads -> mailboxes -> inference threads -> publisher."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import cv2
import numpy as np

from npud.detections import Detections
from npud.errors import InferenceError, SourceError
from npud.messages import DetectionsMessage, FrameMessage, Message, StatusMessage
from npud.wire import new_session
from runtime.capture import Capture
from runtime.config import Camera, Publish
from runtime.detector import ModelFiles, Observation, Timing
from runtime.frame import Frame
from runtime.mailbox import Mailboxes
from runtime.recording.recorder import Recorder
from runtime.recording.setup import Setup
from runtime.stats import CameraStats
from runtime.thermal import temperatures_c
from runtime.workers.state import WorkerState

log = logging.getLogger("npud")
SPARE_SLOTS = 3  # per camera: one is written, one waits in the mailbox, one for a second reader
OPENED_S = 0.02  # how often it is looked whether all cameras are open
TAKE_S = 0.2  # how often an idle inference thread looks whether it should end


@dataclass
class _Camera:
    name: str
    settings: Camera
    capture: Capture
    order: threading.Lock = field(default_factory=threading.Lock)
    seq: int = 0
    status_seq: int = 0
    last_frame: int = -1

    @property
    def stats(self) -> CameraStats:
        """What is counted and measured of it."""
        return self.capture.stats


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


class Sender(Protocol):
    """A Publisher, or something in its place."""

    def send(self, message: Message) -> None:
        """Send to whoever wants it; never waits."""
        ...


class Pipeline:
    """Cameras and detectors at work: open(), start(), then stop()."""

    def __init__(
        self,
        cameras: Mapping[str, Camera],
        detectors: Sequence[AnyDetector],
        publisher: Sender,
        publish: Publish,
        *,
        every_frame: bool = False,
        shared_frames: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        self._recorder = recorder
        self._publisher, self._publish = publisher, publish
        self._detectors = detectors
        self._stop = threading.Event()
        priorities = {name: camera.priority for name, camera in cameras.items()}
        self._mailboxes = Mailboxes(priorities, lossless=every_frame)
        self._session = new_session()
        self.failure: BaseException | None = None
        slots = len(detectors) + SPARE_SLOTS if shared_frames else None
        self._cameras = {
            name: _Camera(
                name,
                camera,
                Capture(
                    name, camera, self._mailboxes, self._stop, every_frame=every_frame, slots=slots
                ),
            )
            for name, camera in cameras.items()
        }
        self._capturing = [self._thread(c.capture.run) for c in self._cameras.values()]
        self._inferring = [self._thread(partial(self._infer, d)) for d in detectors]

    def open(self, stop: threading.Event) -> None:
        """Open the cameras that must be there, all at the same time, unless told to stop.

        Raises SourceError for the first that cannot be opened; they are then all given up.
        """
        problems: dict[str, SourceError] = {}

        def attempt(camera: _Camera) -> None:
            try:
                camera.capture.open()
            except SourceError as error:
                problems[camera.name] = error

        needed = [c for c in self._cameras.values() if c.settings.required]
        threads = [self._thread(partial(attempt, c)) for c in needed]
        for thread in threads:
            thread.start()
        while any(t.is_alive() for t in threads) and not stop.is_set() and not self.failure:
            stop.wait(OPENED_S)
        for camera in needed:
            if camera.name in problems:
                raise problems[camera.name]
        if self.failure:
            raise self.failure

    def start(self) -> None:
        """Publish a first status and start the threads."""
        self.publish_status()
        for thread in (*self._inferring, *self._capturing):
            thread.start()

    def running(self) -> bool:
        """False once every camera has ended and its frames are dealt with, or a thread failed."""
        if self.failure:
            return False
        return any(t.is_alive() for t in self._capturing) or not self._mailboxes.idle()

    def ended(self) -> dict[str, str]:
        """Why cameras stopped, by name."""
        return {c.name: c.stats.ended for c in self._cameras.values() if c.stats.ended}

    def published(self) -> int:
        """Detections messages published so far, over all cameras."""
        return sum(c.stats.published for c in self._cameras.values())

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the threads and say so to subscribers; a camera that hangs is left behind."""
        self._stop.set()
        self._mailboxes.close()
        deadline = time.monotonic() + timeout_s
        for thread in (*self._capturing, *self._inferring):
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        for camera in self._cameras.values():
            camera.stats.ended = camera.stats.ended or "npud was stopped"
            camera.capture.close()
        self.publish_status()

    def publish_status(self) -> list[StatusMessage]:
        """Publish `status/<camera>` for every camera; returns what was published."""
        statuses = self.statuses()
        for status in statuses:
            self._publisher.send(status)
            self._cameras[status.camera].status_seq += 1
        return statuses

    def statuses(self) -> list[StatusMessage]:
        """How every camera is doing."""
        temperatures = temperatures_c()
        problems = [detector.problem() for detector in self._detectors]
        doubts = [doubt for detector in self._detectors if (doubt := detector.doubt())]
        trouble = problems[0] if all(problems) else doubts[0] if doubts else ""
        return [self._status(camera, trouble, temperatures) for camera in self._cameras.values()]

    def _status(
        self, camera: _Camera, trouble: str, temperatures: Mapping[str, float]
    ) -> StatusMessage:
        files, stats = self._detectors[0].files, camera.stats
        state, reason = stats.state(trouble)
        return StatusMessage(
            camera=camera.name,
            session=self._session,
            seq=camera.status_seq,
            published_ns=time.time_ns(),
            state=state,
            reason=reason,
            labels=files.labels,
            model=files.name,
            manifest=files.manifest_digest,
            width=stats.width,
            height=stats.height,
            fps=stats.fps(),
            captured=stats.captured,
            published=stats.published,
            dropped=stats.dropped,
            latency_us=stats.latency_us(),
            timing_us=stats.timing_us(),
            temperatures_c=temperatures,
        )

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                self.failure = error

        return threading.Thread(target=run, daemon=True)

    def _infer(self, detector: AnyDetector) -> None:
        while not self._stop.is_set():
            if not detector.ready(TAKE_S):
                continue
            frame = self._mailboxes.take(TAKE_S)
            if frame is None:
                continue
            camera = self._cameras[frame.camera]
            wait_us = max(0, (time.time_ns() - frame.captured_ns) // 1000)
            seen: Observation | None = None
            try:
                if self._recorder and self._recorder.wants():
                    seen = detector.observe(frame)
                    found, timing = seen.found, seen.timing
                else:
                    found, timing = detector.detect(frame)
            except InferenceError as error:
                if camera.stats.inference_failed(str(error)) == 1:
                    log.warning("camera %s, frame %d: %s", camera.name, frame.index, error)
            else:
                self._send(camera, detector, frame, found, wait_us, timing, seen)
            finally:
                frame.release()
                self._mailboxes.done(frame.camera)

    def _send(
        self,
        camera: _Camera,
        detector: AnyDetector,
        frame: Frame,
        found: Detections,
        wait_us: int,
        timing: Timing,
        seen: Observation | None,
    ) -> None:
        timing_us = {
            "wait": wait_us + timing.wait,
            "preprocess": timing.preprocess,
            "inference": timing.inference,
            "postprocess": timing.postprocess,
        }
        with camera.order:
            if frame.index < camera.last_frame:  # another context was quicker with a later frame
                camera.stats.drop()
                return
            camera.last_frame = frame.index
            now = time.time_ns()
            message = DetectionsMessage(
                camera=camera.name,
                session=self._session,
                seq=camera.seq,
                frame=frame.index,
                captured_ns=frame.captured_ns,
                published_ns=now,
                width=frame.width_px,
                height=frame.height_px,
                model=detector.files.name,
                timing_us=timing_us,
                dropped=camera.stats.dropped,
                detections=found,
            )
            self._publisher.send(message)
            camera.stats.publish(max(0, (now - frame.captured_ns) // 1000), timing_us)
            camera.seq += 1
            if self._publish.frames:
                self._send_picture(frame, message)
            if self._recorder and seen:
                self._recorder.record(frame, seen, detector.setup, message)

    def _send_picture(self, frame: Frame, message: DetectionsMessage) -> None:
        ok, jpeg = cv2.imencode(
            ".jpg", frame.bgr(), [cv2.IMWRITE_JPEG_QUALITY, self._publish.jpeg_quality]
        )
        if not ok:
            raise InferenceError(f"camera {frame.camera}: OpenCV cannot encode a JPEG")
        self._publisher.send(
            FrameMessage(
                camera=message.camera,
                session=message.session,
                seq=message.seq,
                frame=message.frame,
                captured_ns=message.captured_ns,
                width=message.width,
                height=message.height,
                jpeg=np.asarray(jpeg).tobytes(),
            )
        )
