"""Live: variant b beside the published one, on the daemon's own frames."""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from npud.comparison import CompareMessage
from npud.detections import label_of
from npud.errors import InferenceError
from runtime.ab.pairs import Found, compare
from runtime.ab.split import SplitSummary
from runtime.ab.summary import Summary
from runtime.accuracy.matching import renamed_to
from runtime.config import Compare
from runtime.engine import AnyDetector, Engine
from runtime.frame import Frame

log = logging.getLogger("npud")
MESSAGE_S = 5.0  # between two messages of a camera
RESAMPLES = 500  # enough for a figure that is renewed every few seconds
BELOW = ("lost", "gained")  # what lies below the thresholds nobody has seen here
BLOCK = 10  # sampled frames that are taken together: neighbours are alike


def sampled(camera: str, frame: int, share: float) -> bool:
    """Whether a frame is among `share` of all, by a hash: the same ones in every run."""
    return zlib.crc32(f"{camera}:{frame}".encode()) < share * 2**32


@dataclass
class _Side:
    """What is known of one camera."""

    statistics: Summary | SplitSummary
    skipped: int = 0
    seq: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Live:
    """Variant b at work beside a.

    "shadow": sampled frames that a has just published() are given to b, which works on them in a
    thread of its own, one at a time; while it is busy, or frames wait for a, they are skipped and
    counted.  "split": choose() gives each frame to a or b.  labels are a's: b's detections get a's
    class ids for the same names.
    """

    def __init__(
        self,
        settings: Compare,
        b: Engine,
        thresholds: tuple[float, float],
        calm: Callable[[], bool],
        labels: tuple[str, ...] = (),
    ) -> None:
        self.settings, self.b = settings, b
        self._thresholds, self._calm = thresholds, calm
        self._labels, self._rename = labels, renamed_to(labels, b.files.labels)
        self.latest: list[CompareMessage] = []  # what was published last
        self._sides: dict[str, _Side] = {}
        self._changed = threading.Condition()
        self._job: tuple[Frame, Found] | None = None
        self._busy = self._stop = False
        self._free = list(b.detectors)
        self._said = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def side(self, camera: str) -> _Side:
        """The figures of a camera."""
        with self._changed:
            if camera not in self._sides:
                split = self.settings.mode == "split"
                new = SplitSummary(BLOCK) if split else Summary(BLOCK)
                self._sides[camera] = _Side(new)
            return self._sides[camera]

    def choose(self, detector: AnyDetector, frame: Frame) -> tuple[AnyDetector, str]:
        """(who is to work on the frame, the variant's name): b for its share, where b is free."""
        if self.settings.mode != "split":
            return detector, ""
        if sampled(frame.camera, frame.index, self.settings.sample):
            with self._changed:
                if self._free:
                    return self._free.pop(), "b"
            self.side(frame.camera).skipped += 1
        return detector, "a"

    def give_back(self, detector: AnyDetector, variant: str) -> None:
        """The frame is done."""
        if variant == "b":
            with self._changed:
                self._free.append(detector)

    def as_a(self, found: Found) -> Found:
        """What b found, with a's class ids for the same names."""
        if self._rename is None:
            return found
        return replace(found, detections=self._rename(found.detections))

    def published(self, frame: Frame, found: Found, variant: str) -> None:
        """Count what a or b has published (split), or give the frame to b, too; never waits."""
        if self.settings.mode == "shadow":
            self._offer(frame, found)
            return
        side = self.side(frame.camera)
        with side.lock:
            if isinstance(side.statistics, SplitSummary):
                side.statistics.add(variant, found)

    def _offer(self, frame: Frame, found: Found) -> None:
        if not sampled(frame.camera, frame.index, self.settings.sample):
            return
        with self._changed:
            taken = not self._busy and self._job is None and not self._stop and self._calm()
            if taken:
                if frame.slot:
                    frame.slot.retain()
                self._job = (frame, found)
                self._changed.notify_all()
        if not taken:
            self.side(frame.camera).skipped += 1

    def messages(self, session: int, model_a: str) -> list[CompareMessage]:
        """What is to be published now: of every camera, each MESSAGE_S."""
        if time.monotonic() - self._said < MESSAGE_S:
            return []
        self._said = time.monotonic()
        self.latest = self.figures(session, model_a)
        return self.latest

    def figures(self, session: int, model_a: str) -> list[CompareMessage]:
        """What has been shown so far, of every camera."""
        sides = list(self._sides.items())
        return [self._message(name, side, session, model_a) for name, side in sides]

    def close(self) -> None:
        """End the thread, and free b."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        self._thread.join()
        self.b.close()

    def _message(self, camera: str, side: _Side, session: int, model_a: str) -> CompareMessage:
        with side.lock:
            intervals = side.statistics.intervals(side.seq, RESAMPLES)
            verdict = side.statistics.verdict(intervals)
            frames = len(side.statistics)
            spread, classes = side.statistics.spread(), side.statistics.classes()
        known = {
            k: v
            for k, v in intervals.items()
            if k not in BELOW and v.low == v.low and v.value == v.value
        }
        side.seq += 1
        return CompareMessage(
            camera=camera,
            session=session,
            seq=side.seq - 1,
            published_ns=time.time_ns(),
            mode="split" if self.settings.mode == "split" else "shadow",
            model_a=model_a,
            model_b=self.b.files.name,
            frames=frames,
            skipped=side.skipped,
            verdict=tuple(verdict),
            values={k: v.value for k, v in known.items()},
            low={k: v.low for k, v in known.items()},
            high={k: v.high for k, v in known.items()},
            spread=spread,
            classes={label_of(self._labels, c): counts for c, counts in classes.items()},
        )

    def _work(self) -> None:
        detector = self.b.detectors[0]
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stop or self._job)
                if self._job is None:
                    return
                (frame, found), self._job, self._busy = self._job, None, True
            try:
                self._pair(detector, frame, found)
            finally:
                frame.release()
                with self._changed:
                    self._busy = False

    def _pair(self, detector: AnyDetector, frame: Frame, a: Found) -> None:
        side = self.side(frame.camera)
        if not detector.ready(1.0):
            side.skipped += 1
            return
        try:
            found, timing = detector.detect(frame)
        except InferenceError as error:
            side.skipped += 1
            log.warning("variant b, camera %s: %s", frame.camera, error)
            return
        b = self.as_a(Found(found, timing, timing.cpu, detector.setup.moved_bytes))
        pair = compare(a, b, *self._thresholds)
        with side.lock:
            if isinstance(side.statistics, Summary):
                side.statistics.add(pair)
