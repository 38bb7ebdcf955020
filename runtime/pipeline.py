"""The pipeline in one process: capture threads -> mailboxes -> inference threads -> publisher."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from npud.errors import InferenceError, SourceError
from npud.messages import StatusMessage
from npud.wire import new_session
from runtime.ab.live import Live
from runtime.ab.pairs import Found
from runtime.capture import Capture
from runtime.config import Camera, Publish
from runtime.detector import Observation
from runtime.engine import AnyDetector, Engine
from runtime.frame import Frame
from runtime.mailbox import Mailboxes
from runtime.outlet import Outlet, Sender
from runtime.recording.recorder import Recorder
from runtime.stats import CameraStats, Tally
from runtime.thermal import temperatures_c

log = logging.getLogger("npud")
SPARE_SLOTS = 3  # per camera: one is written, one waits in the mailbox, one for a second reader
OPENED_S = 0.02  # how often it is looked whether all cameras are open
TAKE_S = 0.2  # how often an idle inference thread looks whether it should end
SWAP_S = 10.0  # the frames in work must be done within this when the model is exchanged


@dataclass
class _Camera:
    settings: Camera
    capture: Capture
    thread: threading.Thread
    outlet: Outlet

    @property
    def stats(self) -> CameraStats:
        """What is counted and measured of it."""
        return self.outlet.stats


class Pipeline:
    """Cameras and an engine at work: open(), start(), then stop()."""

    def __init__(
        self,
        cameras: Mapping[str, Camera],
        engine: Engine,
        publisher: Sender,
        publish: Publish,
        *,
        every_frame: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        self.engine = engine
        self.failure: BaseException | None = None
        self._recorder, self._every_frame = recorder, every_frame
        self._publisher, self._publish = publisher, publish
        self._stop = threading.Event()
        self._mailboxes = Mailboxes(lossless=every_frame)
        self._session = new_session()
        self._gone: dict[str, Outlet] = {}  # of cameras that a reload took away
        self._cameras = {name: self._camera(name, c) for name, c in cameras.items()}
        self._mailboxes.set_priorities({name: c.priority for name, c in cameras.items()})
        self._inferring: list[threading.Thread] = []
        self.live: Live | None = None  # a comparison with another variant

    def open(self, stop: threading.Event) -> None:
        """Open the cameras that must be there, all at the same time, unless told to stop.

        Raises SourceError for the first that cannot be opened; they are then all given up.
        """
        problems: dict[str, SourceError] = {}

        def attempt(name: str, camera: _Camera) -> None:
            try:
                camera.capture.open()
            except SourceError as error:
                problems[name] = error

        needed = {name: c for name, c in self._cameras.items() if c.settings.required}
        threads = [self._thread(partial(attempt, name, c)) for name, c in needed.items()]
        for thread in threads:
            thread.start()
        while any(t.is_alive() for t in threads) and not stop.is_set() and not self.failure:
            stop.wait(OPENED_S)
        for name in needed:
            if name in problems:
                raise problems[name]
        if self.failure:
            raise self.failure

    def start(self) -> None:
        """Publish a first status and start the threads."""
        self.publish_status()
        self._serve()
        for camera in self._cameras.values():
            camera.thread.start()

    def running(self) -> bool:
        """False once every camera has ended and its frames are dealt with, or a thread failed."""
        if self.failure:
            return False
        captured = any(camera.thread.is_alive() for camera in self._cameras.values())
        return captured or not self._mailboxes.idle()

    def ended(self) -> dict[str, str]:
        """Why cameras stopped, by name."""
        return {name: c.stats.ended for name, c in self._cameras.items() if c.stats.ended}

    def published(self) -> int:
        """Detections messages published so far, over all cameras."""
        return sum(c.stats.published for c in self._cameras.values())

    def swap(self, engine: Engine) -> Engine:
        """Let another engine have the next frames; returns the old one, which may be closed.

        No frame is lost: the old one's are done first, and those that come meanwhile wait.  Raises
        InferenceError where they are not done in time: the old one goes on.
        """
        old, threads = self.engine, self._inferring
        self._mailboxes.serve(self)  # that is, nobody
        if not self._mailboxes.returned(SWAP_S):
            self._mailboxes.serve(old)
            raise InferenceError(f"model {old.files.name}: a frame takes more than {SWAP_S:g} s")
        self.engine = engine
        for camera in self._cameras.values():
            camera.capture.slots = self._slots(engine)
        self._serve()
        for thread in threads:
            thread.join()
        return old

    def set_cameras(self, cameras: Mapping[str, Camera]) -> None:
        """Have exactly these cameras: others end, new ones begin, the same go on untouched.

        One that comes back counts on where it ended: `seq` never repeats within a session.
        """
        before = self._cameras
        after: dict[str, _Camera] = {}
        for name, settings in cameras.items():
            old = before.get(name)
            if old and old.settings == settings and old.thread.is_alive():
                after[name] = old
                continue
            if old:
                self._end(name, old)
            outlet = old.outlet if old else self._gone.pop(name, None)
            after[name] = self._camera(name, settings, outlet)
        for name in before.keys() - after.keys():
            self._end(name, before[name])
            before[name].stats.ended = "it is no longer in the configuration"
            before[name].outlet.send_status(self._status(before[name]))
            self._gone[name] = before[name].outlet
        self._mailboxes.set_priorities({name: c.priority for name, c in cameras.items()})
        self._cameras = after
        for name in after:
            if after[name] is not before.get(name):
                after[name].thread.start()

    def calm(self) -> bool:
        """Whether no frame waits: the detectors keep up."""
        return self._mailboxes.idle()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the threads and say so to subscribers; a camera that hangs is left behind."""
        self._stop.set()
        for camera in self._cameras.values():
            camera.capture.stop.set()
        self._mailboxes.close()
        deadline = time.monotonic() + timeout_s
        capturing = [camera.thread for camera in self._cameras.values()]
        for thread in (*capturing, *self._inferring):
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        for name, camera in self._cameras.items():
            camera.stats.ended = camera.stats.ended or "npud was stopped"
            self._give_up(name, camera)
        self.publish_status()

    def publish_status(self) -> list[StatusMessage]:
        """Publish `status/<camera>` for every camera; returns what was published."""
        cameras = self._cameras
        statuses = self.statuses()
        if live := self.live:
            for message in live.messages(self._session, self.engine.files.name):
                self._publisher.send(message)
        for status in statuses:
            if camera := cameras.get(status.camera):
                camera.outlet.send_status(status)
        return statuses

    def statuses(self) -> list[StatusMessage]:
        """How every camera is doing."""
        return [self._status(camera) for camera in self._cameras.values()]

    def tallies(self) -> dict[str, Tally]:
        """What was counted of every camera."""
        return {name: camera.stats.tally() for name, camera in self._cameras.items()}

    def required(self) -> list[str]:
        """The cameras that must be there."""
        return [name for name, camera in self._cameras.items() if camera.settings.required]

    def _status(self, camera: _Camera) -> StatusMessage:
        return camera.outlet.status(self.engine, self.engine.trouble(), temperatures_c())

    def _camera(self, name: str, settings: Camera, outlet: Outlet | None = None) -> _Camera:
        """A camera that is not started; where it had an outlet, its numbers go on."""
        if outlet is None:
            stats = CameraStats()
            outlet = Outlet(name, self._session, self._publisher, self._publish, stats)
        outlet.stats.ended = ""
        capture = Capture(
            name,
            settings,
            self._mailboxes,
            outlet.stats,
            every_frame=self._every_frame,
            slots=self._slots(self.engine),
        )
        return _Camera(settings, capture, self._thread(capture.run), outlet)

    def _end(self, name: str, camera: _Camera) -> None:
        camera.capture.stop.set()
        camera.thread.join(1.0)  # one that hangs is left behind
        self._give_up(name, camera)

    def _give_up(self, name: str, camera: _Camera) -> None:
        """Drop the frame that waits, and the camera's memory."""
        camera.capture.close()
        if frame := self._mailboxes.remove(name):
            frame.release()
            camera.stats.drop()

    def _slots(self, engine: Engine) -> int | None:
        return len(engine.detectors) + SPARE_SLOTS if engine.shared else None

    def _serve(self) -> None:
        """Give the frames that come to the engine's detectors, each in a thread."""
        engine = self.engine
        self._mailboxes.serve(engine)
        self._inferring = [self._thread(partial(self._infer, engine, d)) for d in engine.detectors]
        for thread in self._inferring:
            thread.start()

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                self.failure = error

        return threading.Thread(target=run, daemon=True)

    def _infer(self, engine: Engine, detector: AnyDetector) -> None:
        while not self._stop.is_set() and engine is self.engine:
            if not detector.ready(TAKE_S):
                continue
            frame = self._mailboxes.take(TAKE_S, engine)
            if frame is None:
                continue
            try:
                self._detect(detector, frame)
            finally:
                frame.release()
                self._mailboxes.done(frame.camera)

    def _detect(self, detector: AnyDetector, frame: Frame) -> None:
        camera = self._cameras.get(frame.camera)
        if camera is None:  # a reload has just removed it
            return
        wait_us = max(0, (time.time_ns() - frame.captured_ns) // 1000)
        oldest_ms = camera.settings.max_age_ms
        if oldest_ms and wait_us > oldest_ms * 1000 and not self._every_frame:
            camera.stats.late(wait_us, oldest_ms)
            return
        live = self.live
        working, variant = live.choose(detector, frame) if live else (detector, "")
        try:
            found, seen = self._look(working, frame)
        except InferenceError as error:
            _failed(camera.stats, frame, error)
            return
        finally:
            if live:
                live.give_back(working, variant)
        if live and variant == "b":
            found = live.as_a(found)
        boxes, timing = found.detections, found.timing
        model = working.files.name
        message = camera.outlet.send(model, frame, boxes, wait_us, timing, variant)
        if message and live:
            live.published(frame, found, variant)
        if message and seen and self._recorder:
            self._recorder.record(frame, seen, working.setup, message)

    def _look(self, detector: AnyDetector, frame: Frame) -> tuple[Found, Observation | None]:
        """What is found, and all that lies between where somebody records it."""
        seen: Observation | None = None
        if self._recorder and self._recorder.wants():
            seen = detector.observe(frame)
            found, timing = seen.found, seen.timing
        else:
            found, timing = detector.detect(frame)
        moved_bytes = detector.setup.moved_bytes if self.live else 0
        return Found(found, timing, timing.cpu, moved_bytes), seen


def _failed(stats: CameraStats, frame: Frame, error: InferenceError) -> None:
    """Count a frame that went wrong; the first in a row is told."""
    if stats.inference_failed(str(error)) == 1:
        about = {"camera": frame.camera}
        text = "camera %s, frame %d: %s"
        log.warning(text, frame.camera, frame.index, error, extra=about)
