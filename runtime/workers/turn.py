"""Turn: two lanes share a context, and take frames just in time to keep the NPU busy.

While the NPU works on one lane's frame, the other lane prepares the next one.  It takes that frame
from the mailbox as late as it can, so that a frame never waits for the NPU while a newer one comes.
"""

from __future__ import annotations

import threading
import time

from runtime.detector import Timing

MARGIN_S = 0.0008  # for messages and wake-ups; a frame prepared too early waits about so long


class Turn:
    """Who of the lanes of one context may take the next frame, and when."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holder: object = None
        self._due = 0.0  # monotonic: when the next frame may be taken
        self._free = 0.0  # monotonic: when the NPU is expected to be done with what it was sent
        self._in_flight = 0
        self._preprocess_s = self._inference_s = 0.0  # of the last frame

    def take(self, lane: object, timeout_s: float) -> bool:
        """Wait for the turn; it is the lane's until it calls sent()."""
        end = time.monotonic() + timeout_s
        with self._changed:
            while self._holder not in (None, lane) or self._due > time.monotonic():
                due = self._due if self._holder in (None, lane) else end
                left = min(due, end) - time.monotonic()
                if end <= time.monotonic():
                    return False
                self._changed.wait(max(0.0, left))
            self._holder = lane
            return True

    def sent(self) -> None:
        """The lane that has the turn sends its frame: say when the other may take one."""
        now = time.monotonic()
        with self._changed:
            self._holder = None
            begins = now + self._preprocess_s
            self._expect(max(begins, self._free) if self._in_flight else begins)
            self._in_flight += 1

    def answered(self, timing: Timing | None) -> None:
        """A frame that was sent is done, or (None) lost: the NPU is free, or begins the next."""
        now = time.monotonic()
        with self._changed:
            self._in_flight -= 1
            if timing:
                self._preprocess_s = timing.preprocess / 1e6
                self._inference_s = timing.inference / 1e6
            if self._in_flight:
                self._expect(now)
            else:
                self._due = self._free = now
                self._changed.notify_all()

    def _expect(self, begins: float) -> None:
        """The NPU begins a frame then: the next one is due shortly before it is done."""
        self._free = begins + self._inference_s
        self._due = self._free - self._preprocess_s - MARGIN_S
        self._changed.notify_all()
