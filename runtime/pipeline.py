"""The pipeline in one process: capture threads -> mailboxes -> inference threads -> publisher."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import cv2
import numpy as np

from npud.detections import Detections
from npud.errors import EndOfStream, InferenceError, SourceError
from npud.messages import DetectionsMessage, FrameMessage, StatusMessage
from npud.wire import new_session
from runtime.config import Camera, Publish
from runtime.detector import ModelFiles, Timing
from runtime.frame import Frame
from runtime.mailbox import Mailboxes
from runtime.publish import Publisher
from runtime.sources import open_source
from runtime.sources.base import Source, SourceOptions
from runtime.stats import CameraStats
from runtime.thermal import temperatures_c
from runtime.workers.ring import Ring, Slot

log = logging.getLogger("npud")
SPARE_SLOTS = 3  # per camera: one is written, one waits in the mailbox, one for a second reader
RETRY_S = 1.0  # a live source that failed is opened again after this
TAKE_S = 0.2  # how often an idle inference thread looks whether it should end


@dataclass
class _Camera:
    name: str
    settings: Camera
    source: Source
    stats: CameraStats = field(default_factory=CameraStats)
    order: threading.Lock = field(default_factory=threading.Lock)
    seq: int = 0
    status_seq: int = 0
    last_frame: int = -1
    ring: Ring | None = None
    next_due: float = 0.0  # monotonic: frames before it are beyond the camera's max_fps

    def wanted(self) -> bool:
        """Tell whether the frame that comes now is within the camera's maximum rate."""
        if self.settings.max_fps is None:
            return True
        now = time.monotonic()
        if now < self.next_due:
            return False
        period = 1 / self.settings.max_fps
        self.next_due = max(self.next_due + period, now)  # no burst after a pause
        return True


class AnyDetector(Protocol):
    """A Detector in this process, or a RemoteDetector."""

    files: ModelFiles

    def ready(self, timeout_s: float) -> bool:
        """Wait until it can take a frame."""
        ...

    def problem(self) -> str:
        """Why it has given no detections for some time, or ""."""
        ...

    def detect(self, frame: Frame) -> tuple[Detections, Timing]:
        """Find objects; raises InferenceError."""
        ...


class Pipeline:
    """Cameras and detectors at work.  Opening a source that does not exist raises SourceError."""

    def __init__(
        self,
        cameras: Mapping[str, Camera],
        detectors: Sequence[AnyDetector],
        publisher: Publisher,
        publish: Publish,
        *,
        every_frame: bool = False,
        shared_frames: bool = False,
    ) -> None:
        self._shared_frames = shared_frames
        self._publisher, self._publish = publisher, publish
        self._detectors = detectors
        self._every_frame = every_frame
        self._stop = threading.Event()
        priorities = {name: camera.priority for name, camera in cameras.items()}
        self._mailboxes = Mailboxes(priorities, lossless=every_frame)
        self._session = new_session()
        self.failure: BaseException | None = None
        self._cameras = {name: _Camera(name, c, _open(name, c)) for name, c in cameras.items()}
        self._capturing = [self._thread(self._capture, c) for c in self._cameras.values()]
        self._inferring = [self._thread(self._infer, d) for d in detectors]

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
            if camera.ring:
                camera.ring.close()
        self.publish_status()

    def publish_status(self) -> None:
        """Publish `status/<camera>` for every camera."""
        temperatures = temperatures_c()
        files = self._detectors[0].files
        problems = [detector.problem() for detector in self._detectors]
        stuck = problems[0] if all(problems) else ""
        for camera in self._cameras.values():
            stats = camera.stats
            state, reason = stats.state(stuck)
            self._publisher.send(
                StatusMessage(
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
            )
            camera.status_seq += 1

    def _thread(self, work: object, argument: object) -> threading.Thread:
        def run() -> None:
            try:
                work(argument)  # type: ignore[operator]
            except BaseException as error:
                self.failure = error

        return threading.Thread(target=run, daemon=True)

    def _capture(self, camera: _Camera) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                taken = camera.source.read()
            except EndOfStream as error:
                camera.stats.ended = str(error)
                break
            except SourceError as error:
                camera.stats.source_failed(str(error))
                if camera.source.live:
                    self._reopen(camera)
                continue
            if camera.wanted() or self._every_frame:
                self._post(camera, taken)
            if not camera.source.live and not self._every_frame:
                due = max(due + 1 / camera.source.fps, time.monotonic() - 1)
                self._stop.wait(max(0.0, due - time.monotonic()))
        camera.source.close()

    def _post(self, camera: _Camera, taken: Frame) -> None:
        """Leave a frame in the camera's mailbox; count what is dropped for it."""
        captured_ns = taken.captured_ns or time.time_ns()
        index = camera.stats.capture(taken.width_px, taken.height_px)
        slot = None
        if self._shared_frames:
            slot = self._slot(camera, taken.pixels.nbytes)
            if slot is None:
                camera.stats.drop()
                return
            pixels = slot.view(taken.pixels.shape)
            np.copyto(pixels, taken.pixels)
        else:
            pixels = np.require(taken.pixels, requirements=["C", "O"])  # copies a borrowed view
        frame = replace(
            taken,
            pixels=pixels,
            camera=camera.name,
            index=index,
            captured_ns=captured_ns,
            slot=slot,
        )
        replaced = self._mailboxes.put(frame)
        if replaced:
            replaced.release()
            camera.stats.drop()

    def _slot(self, camera: _Camera, size: int) -> Slot | None:
        """A free place in the camera's ring, which is made anew where frames become larger."""
        if camera.ring is None or camera.ring.slot_bytes < size:
            if camera.ring:
                camera.ring.close()
            camera.ring = Ring(size, len(self._detectors) + SPARE_SLOTS)
        slot = camera.ring.acquire()
        while slot is None and self._every_frame and not self._stop.is_set():
            slot = camera.ring.acquire(TAKE_S)
        return slot

    def _reopen(self, camera: _Camera) -> None:
        camera.source.close()
        while not self._stop.wait(RETRY_S):
            try:
                camera.source = _open(camera.name, camera.settings)
            except SourceError as error:
                camera.stats.source_failed(str(error))
            else:
                return

    def _infer(self, detector: AnyDetector) -> None:
        while not self._stop.is_set():
            if not detector.ready(TAKE_S):
                continue
            frame = self._mailboxes.take(TAKE_S)
            if frame is None:
                continue
            camera = self._cameras[frame.camera]
            wait_us = max(0, (time.time_ns() - frame.captured_ns) // 1000)
            try:
                found, timing = detector.detect(frame)
            except InferenceError as error:
                if camera.stats.inference_failed(str(error)) == 1:
                    log.warning("camera %s, frame %d: %s", camera.name, frame.index, error)
            else:
                self._send(camera, detector, frame, found, wait_us, timing)
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
    ) -> None:
        timing_us = {
            "wait": wait_us,
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


def _open(name: str, settings: Camera) -> Source:
    options = SourceOptions(settings.size, settings.fps, settings.loop)
    try:
        return open_source(settings.url, options)
    except SourceError as error:
        raise SourceError(f"camera.{name}.url: {error}") from None
