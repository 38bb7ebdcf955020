"""RTSP against a server that is not ours: GStreamer's, H.264 over TCP."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator

import numpy as np
import pytest

from npud.errors import SourceError
from runtime.sources import open_source
from runtime.sources.base import SourceOptions
from runtime.sources.video import OpenCvReader
from tests.conftest import ROOT

LAUNCH = (
    "( videotestsrc is-live=true pattern=smpte75 ! video/x-raw,width=320,height=240,framerate=20/1 "
    "! openh264enc gop-size=10 ! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


@pytest.fixture
def server() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = ["/usr/bin/python3", str(ROOT / "tests/rtsp_server.py"), LAUNCH]
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except OSError:
        pytest.skip("needs the system's Python")
    with process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            pytest.skip("needs Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi")
        yield f"rtsp://127.0.0.1:{port}/live", process
        process.kill()


@pytest.mark.parametrize("reader", ["pyav", "opencv"])
def test_pictures_of_a_stream(server: tuple[str, subprocess.Popen[str]], reader: str) -> None:
    url, _ = server
    if reader == "pyav":
        pytest.importorskip("av")
        source = open_source(url)
    else:
        source = OpenCvReader(url, SourceOptions(), live=True)  # type: ignore[assignment]
    frame = source.read()
    assert (frame.width_px, frame.height_px) == (320, 240)
    # SMPTE's bars at 75 %: grey, yellow, cyan, green, magenta, red, blue (B, G, R)
    bars = [
        (191, 191, 191),
        (0, 191, 191),
        (191, 191, 0),
        (0, 191, 0),
        (191, 0, 191),
        (0, 0, 191),
        (191, 0, 0),
    ]
    seen = [
        frame.bgr()[20:140, int((i + 0.5) * 320 / 7) - 8 :][:, :16].mean((0, 1)) for i in range(7)
    ]
    assert np.abs(np.array(seen) - bars).max() < 8
    source.close()


def test_times_go_on_evenly_and_a_server_that_stops_is_noticed(
    server: tuple[str, subprocess.Popen[str]],
) -> None:
    pytest.importorskip("av")
    url, process = server
    source = open_source(url, SourceOptions(timeout_s=2))
    frames = [source.read() for _ in range(60)]
    steps = np.diff([f.captured_ns for f in frames[40:]]) / 1e6  # those before came while probing
    assert abs(np.median(steps) - 50) < 10
    assert all(f.captured_ns <= time.time_ns() for f in frames)
    process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(SourceError, match=r"no answer for|nothing to decode for"):  # noqa: PT012
        while time.monotonic() - begin < 60:
            source.read()
    assert time.monotonic() - begin < 30
    process.kill()
    source.close()
    with pytest.raises(SourceError, match="cannot open"):
        open_source(url, SourceOptions(timeout_s=4))
