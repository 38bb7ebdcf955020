"""What the service manager is told: sd_notify(3), and what ready and alive mean for npud.

One datagram per message to the Unix socket NOTIFY_SOCKET, which systemd gives to a service of
Type=notify; without it all of this does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from contextlib import contextmanager

from npud.messages import StatusMessage

log = logging.getLogger("npud")
SEND_S = 1.0  # a manager that does not take a message within this does not get it
SHORTEST_S = 3.0  # of WatchdogSec: it is fed once a second


class Notifier:
    """The socket of the service manager, or of nobody; and its watchdog's period in s, 0 for none.

    The variables are taken out of the environment: no worker process is to speak for the service.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        period_us, pid = (environment.pop(f"WATCHDOG_{name}", "") for name in ("USEC", "PID"))
        ours = bool(address) and pid in ("", str(os.getpid()))
        self.watchdog_s = int(period_us) / 1e6 if ours and period_us.isdecimal() else 0.0
        self._lost = False

    def send(self, *lines: str) -> None:
        """Send lines like READY=1; a manager that is not there is no reason to fail."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
                speaker.settimeout(SEND_S)
                speaker.sendto("\n".join(lines).encode(), self._address)
            self._lost = False
        except OSError as error:
            if not self._lost:  # and not again every second
                log.warning("service manager: %s was not taken: %s", lines[0], error)
            self._lost = True


class ServiceManager:
    """Tells the manager once a second how the cameras do; READY=1 and WATCHDOG=1 when it is so."""

    def __init__(self, notifier: Notifier, required: Collection[str]) -> None:
        self._notifier, self._required = notifier, required
        self._progress = Progress()
        self._ready = False
        self._status = ""
        self._fed = time.monotonic()
        self._complained = False
        if 0 < notifier.watchdog_s < SHORTEST_S:
            log.warning("WatchdogSec: expected %g s or more, or it will act", SHORTEST_S)

    def tell(self, statuses: Sequence[StatusMessage]) -> None:
        """Take the statuses that were just published."""
        if not self._ready and ready(statuses, self._required):
            self._ready = True
            self._notifier.send("READY=1")
        if (line := summary(statuses)) != self._status:
            self._status = line
            self._notifier.send(f"STATUS={line}")
        if self._notifier.watchdog_s:
            self._feed(self._progress.stuck(statuses))

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Around a reload."""
        if self._ready:
            now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={now_us}")
        try:
            yield
        finally:
            if self._ready:
                self._notifier.send("READY=1")

    def stopping(self) -> None:
        """The end begins."""
        self._notifier.send("STOPPING=1")

    def _feed(self, stuck: Sequence[str]) -> None:
        now = time.monotonic()
        if not stuck:
            self._fed, self._complained = now, False
            self._notifier.send("WATCHDOG=1")
        elif now - self._fed > self._notifier.watchdog_s / 2 and not self._complained:
            self._complained = True
            names = ", ".join(stuck)
            log.warning("watchdog: frames of %s come, and none is published: not fed", names)


class Progress:
    """Whether what the cameras give comes out as detections."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[int, int]] = {}  # captured, published

    def stuck(self, statuses: Sequence[StatusMessage]) -> list[str]:
        """Cameras that have given frames since nothing was stuck, none of which was published.

        A camera that gives none is not the service's fault, and not among them.  Frames that end
        in an error, or are dropped because inference hangs, are: whatever npud does about that
        itself (another worker, after the deadline), has not helped for so long.
        """
        now = {s.camera: (s.captured, s.published) for s in statuses if s.state != "stopped"}
        stuck = []
        for camera, (captured, published) in now.items():
            given, done = self._before.get(camera, (0, 0))
            if captured > given and published == done:
                stuck.append(camera)
        if not stuck:
            self._before = now
        return stuck


def ready(statuses: Sequence[StatusMessage], required: Collection[str]) -> bool:
    """Tell whether the first detections of every camera are out.

    The golden sample was judged before, when the model was loaded.  A camera that is not required
    and gives no frames is not waited for once that is known.
    """
    return all(
        s.published or (s.camera not in required and not s.captured and s.state == "degraded")
        for s in statuses
    )


def summary(statuses: Sequence[StatusMessage]) -> str:
    """One line: `model a@1: front ok 30 fps, gate degraded (no frame from the camera …)`."""
    cameras = ", ".join(f"{s.camera} {s.state}{_detail(s)}" for s in statuses)
    model = f"model {statuses[0].model}: " if statuses else ""
    return " ".join(f"{model}{cameras}".split())


def _detail(status: StatusMessage) -> str:
    if status.state == "ok":
        return f" {status.fps:.0f} fps"
    return f" ({status.reason})" if status.reason else ""
