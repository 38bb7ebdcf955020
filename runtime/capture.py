"""Capture: the thread of one camera, from its source into its mailbox, whatever the source does."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from npud.errors import EndOfStream, SourceError
from runtime.config import Camera
from runtime.frame import Frame
from runtime.mailbox import Mailboxes
from runtime.sources import open_source
from runtime.sources.base import Source, SourceOptions
from runtime.stats import CameraStats
from runtime.workers.ring import Ring, Slot

log = logging.getLogger("npud")
FIRST_RETRY_S = 0.5  # a live source that failed is opened again after this, then twice as long, …
JITTER = 0.25  # … by so much more or less, so that cameras of one switch do not come back at once
STEADY_S = 5.0  # a source that has given frames for so long begins at FIRST_RETRY_S again
SLOT_S = 0.2  # how often a thread that waits for a slot looks whether it should end
SAMPLES = 64  # rows and columns of a picture that are compared to tell whether it is frozen


class Capture:
    """Reads one camera, opens it again when it fails, and posts its frames.

    slots: so many places for frames in shared memory; None leaves them in arrays of their own.
    every_frame: nothing is paced, passed over, or lost for want of a slot.
    """

    def __init__(
        self,
        name: str,
        settings: Camera,
        mailboxes: Mailboxes,
        stats: CameraStats,
        *,
        every_frame: bool = False,
        slots: int | None = None,
    ) -> None:
        self.stats, self.slots = stats, slots
        self.stop = threading.Event()
        self._name, self._settings = name, settings
        self._mailboxes, self._every_frame = mailboxes, every_frame
        self._source: Source | None = None
        self._ring: Ring | None = None
        self._next_due = 0.0  # monotonic: frames before it are beyond the camera's max_fps
        self._failures = 0
        self._opened_at = 0.0
        self._still = Still()

    def open(self) -> None:
        """Open the source; raises SourceError."""
        settings = self._settings
        options = SourceOptions(
            settings.size,
            settings.fps,
            settings.loop,
            settings.format,
            settings.timeout_s,
            settings.decoder,
        )
        try:
            self._source = open_source(settings.url, options)
        except SourceError as error:
            raise SourceError(f"camera.{self._name}.url: {error}") from None
        self._opened_at = time.monotonic()
        self._still = Still()

    def run(self) -> None:
        """Capture until `stop` is set or the source has ended."""
        due = time.monotonic()
        while not self.stop.is_set():
            source = self._source or self._open_again()
            if source is None:
                break
            try:
                taken = source.read()
            except EndOfStream as error:
                self._settle()
                self.stats.ended = str(error)
                break
            except SourceError as error:
                self._failed(source, error)
                continue
            if self.stop.is_set():  # it took long, and nobody waits for it any more
                break
            self._arrived(source, taken)
            if not source.live and not self._every_frame:
                due = max(due + 1 / source.fps, time.monotonic() - 1)
                self.stop.wait(max(0.0, due - time.monotonic()))
        if self._source:
            self._source.close()

    def close(self) -> None:
        """Give up the shared memory."""
        if self._ring:
            self._ring.close()

    def _arrived(self, source: Source, taken: Frame) -> None:
        if self._failures and time.monotonic() - self._opened_at > STEADY_S:
            self._failures = 0
        if self._every_frame or self._wanted():
            self._post(taken)
        if source.live and self._settings.frozen_s:  # the frame is on its way meanwhile
            still_s = self._still.seconds(taken.pixels)
            frozen = still_s >= self._settings.frozen_s
            self.stats.frozen(f"picture frozen for {still_s:.0f} s" if frozen else "")

    def _wanted(self) -> bool:
        """Tell whether the frame that comes now is within the camera's maximum rate."""
        if self._settings.max_fps is None:
            return True
        now = time.monotonic()
        if now < self._next_due:
            return False
        period = 1 / self._settings.max_fps
        self._next_due = max(self._next_due + period, now)  # no burst after a pause
        return True

    def _post(self, taken: Frame) -> None:
        """Leave a frame in the camera's mailbox; count what is dropped for it."""
        captured_ns = taken.captured_ns or time.time_ns()
        index = self.stats.capture(taken.width_px, taken.height_px)
        slot = None
        if slots := self.slots:
            slot = self._slot(taken.pixels.nbytes, slots)
            if slot is None:
                self.stats.drop()
                return
            pixels = slot.view(taken.pixels.shape)
            np.copyto(pixels, taken.pixels)
        else:
            pixels = np.require(taken.pixels, requirements=["C", "O"])  # copies a borrowed view
        frame = replace(
            taken,
            pixels=pixels,
            camera=self._name,
            index=index,
            captured_ns=captured_ns,
            slot=slot,
        )
        replaced = self._mailboxes.put(frame)
        if replaced:
            replaced.release()
            self.stats.drop()

    def _slot(self, size: int, slots: int) -> Slot | None:
        """A free place in the camera's ring, which is made anew where frames become larger."""
        ring = self._ring
        if ring is None or ring.slot_bytes < size or ring.slots < slots:
            self.close()
            try:
                ring = self._ring = Ring(size, slots)
            except OSError as error:  # out of memory or descriptors
                self._ring = None
                self.stats.source_failed(f"no shared memory for its frames: {error.strerror}")
                return None
        slot = ring.acquire()
        while slot is None and self._every_frame and not self.stop.is_set():
            slot = ring.acquire(SLOT_S)
        return slot

    def _settle(self) -> None:
        """Wait for the frames that are still in work: "stopped" is the last message."""
        while not self.stop.is_set() and not self._mailboxes.settled(self._name, SLOT_S):
            pass

    def _failed(self, source: Source, error: SourceError) -> None:
        if self.stats.source_failed(str(error)) and source.live:
            text = "camera %s: %s; opened again until it is back"
            log.warning(text, self._name, error, extra={"camera": self._name})
        if source.live:
            self._source = None
            source.close()

    def _open_again(self) -> Source | None:
        """Try until the source is open; None when told to stop."""
        while not self.stop.wait(self._pause_s()):
            self._failures += 1
            try:
                self.open()
            except SourceError as error:
                if self.stats.source_failed(str(error)):
                    about = {"camera": self._name}
                    log.warning("%s; tried again until it is there", error, extra=about)
            else:
                return self._source
        return None

    def _pause_s(self) -> float:
        """How long to wait before the source is opened: not at all the first time."""
        if not self._failures and not self._opened_at:  # never tried
            return 0.0
        pause = FIRST_RETRY_S * 2.0 ** min(max(0, self._failures - 1), 30)
        return min(pause, self._settings.reconnect_max_s) * random.uniform(1 - JITTER, 1 + JITTER)


class Still:
    """How long a picture has not changed, by a grid of samples: a sensor never repeats them all."""

    def __init__(self) -> None:
        self._samples: NDArray[np.uint8] | None = None
        self._since = 0.0

    def seconds(self, pixels: NDArray[np.uint8]) -> float:
        """Take the next picture; returns for how long all have been the same."""
        rows, columns = (max(1, n // SAMPLES) for n in pixels.shape[:2])
        samples = pixels[::rows, ::columns].copy()
        now = time.monotonic()
        if self._samples is None or not np.array_equal(samples, self._samples):
            self._samples, self._since = samples, now
        return now - self._since
