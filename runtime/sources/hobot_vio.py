"""MIPI cameras of the RDK X5 through D-Robotics' hobot_vio: `mipi:0?size=1920x1080&fps=30`.

The binding holds the GIL while it waits for a picture (its library imports nothing that would let
go of it), so that it would stop every thread of the daemon: it lives in a process of its own, which
writes into shared memory and can be killed when it hangs.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import Any

from npud.errors import SourceError
from runtime.frame import Frame, YuvRange
from runtime.sources.base import DEFAULT_FPS, SourceOptions
from runtime.sources.query import integer_of, number_of, query_of, size_of
from runtime.workers.channel import Channel, Closed
from runtime.workers.ring import Ring, view

KEYS = ["size", "fps", "sensor", "pipe", "range"]
GRACE_S = 1.0  # to give the camera back, before the process is killed
ANSWER_S = 0.5  # the process tells of its own deadline before ours
START_S = 10.0  # a Python process and the vendor's libraries, beside the camera's own time


class Mipi:
    """A camera on a MIPI connector; NV12 as the ISP writes it."""

    live = True

    def __init__(self, url: str, options: SourceOptions) -> None:
        settings, self._range = _settings(url, options)
        width, height = settings["size"]
        self._url, self._timeout_s = url, options.timeout_s
        self._shape = (height * 3 // 2, width)
        self.fps = settings["fps"] if settings["fps"] > 0 else DEFAULT_FPS
        self._ring = Ring(height * 3 // 2 * width, 1)
        self._control, theirs_c = Channel.pair()
        self._data, theirs_d = Channel.pair()
        fds = (theirs_c.fileno(), theirs_d.fileno())
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "runtime.sources.hobot_vio_child", *map(str, fds)],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C is for the daemon
        )
        theirs_c.close()
        theirs_d.close()
        try:
            self._ask(settings, (self._ring.fd,), self._timeout_s + START_S)
        except SourceError:
            self.close()
            raise

    def read(self) -> Frame:
        """Wait for the next picture; its pixels are good until the next call."""
        answer = self._ask({}, (), self._timeout_s + ANSWER_S)
        pixels = view(self._ring.memory, 0, self._shape)
        captured_ns = int(answer["captured_ns"])
        return Frame(pixels, captured_ns=captured_ns, format="nv12", yuv_range=self._range)

    def close(self) -> None:
        """Give the camera back, by force where its process hangs."""
        self._data.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self._control.close()
        self._process.kill()
        self._process.wait()
        self._ring.close()

    def _ask(self, request: dict[str, Any], fds: tuple[int, ...], wait_s: float) -> dict[str, Any]:
        try:
            self._data.send(request, fds)
            received = self._data.receive(wait_s)
        except (Closed, ValueError):
            raise SourceError(f"{self._url}: the process of hobot_vio has died") from None
        if received is None:
            raise SourceError(f"{self._url}: no picture from the camera for {wait_s:g} s")
        answer: dict[str, Any] = received[0]
        if "error" in answer:
            raise SourceError(f"{self._url}: {answer['error']}")
        return answer


def _settings(url: str, options: SourceOptions) -> tuple[dict[str, Any], YuvRange]:
    """What the process is told, and the range of its pictures."""
    if options.format not in ("auto", "nv12"):
        raise SourceError(
            f'{url}: expected format "auto" or "nv12" for a MIPI camera, got "{options.format}"'
        )
    number, _, query = url.removeprefix("mipi:").partition("?")
    values = query_of(url, query, KEYS)
    index = -1 if number in ("", "auto") else integer_of(url, "number", number)
    size = size_of(url, values["size"]) if "size" in values else options.size or (1920, 1080)
    if size[0] % 2 or size[1] % 2:
        raise SourceError(f"{url}: size: expected even sides, got {size[0]}x{size[1]}")
    fps = options.fps or (number_of(url, "fps", values["fps"]) if "fps" in values else -1)
    yuv_range = values.get("range", "full")
    if yuv_range not in ("full", "video"):
        raise SourceError(f"{url}: range: expected full or video, got {yuv_range!r}")
    settings = {
        "pipe": integer_of(url, "pipe", values.get("pipe", str(max(0, index)))),
        "index": index,
        "fps": round(fps),
        "size": size,
        "sensor": size_of(url, values["sensor"]) if "sensor" in values else None,
        "timeout_s": options.timeout_s,
    }
    return settings, "full" if yuv_range == "full" else "video"
