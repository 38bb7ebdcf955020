"""MIPI cameras: our side of hobot_vio.  The binding is a stand-in of ours with the documented calls:
the real one (hobot-vio-rdkx5) needs libraries and devices that only the board has."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from npud.errors import SourceError
from runtime.sources import kind_of, open_source
from runtime.sources.base import SourceOptions

# Camera.open_cam(pipe_id, video_index, fps, width, height, raw_height, raw_width) -> 0 or an error,
# get_img(module, width, height) -> NV12 bytes or None, close_cam(): D-Robotics' documentation
STAND_IN = """
import os, time
class Camera:
    def open_cam(self, pipe_id, video_index, fps=30, width=1920, height=1080, raw_height=0, raw_width=0):
        log = open(os.environ["STAND_IN"], "a"); print(locals(), file=log)
        self.count = 0
        return -10 if video_index == 9 else 0
    def get_img(self, module=2, width=1920, height=1080):
        self.count += 1
        if self.count % 2: return None
        if self.count > 6 and os.environ.get("FAULT") == "hang": time.sleep(100)
        if self.count > 6 and os.environ.get("FAULT") == "none": return None
        if self.count > 6 and os.environ.get("FAULT") == "die": os.abort()
        if self.count > 6 and os.environ.get("FAULT") == "short": return b"123"
        return bytes([self.count]) * (width * height) + bytes(range(256)) * (width * height // 512)
    def close_cam(self):
        print("closed", file=open(os.environ["STAND_IN"], "a"))
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "hobot_vio"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "libsrcampy.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("STAND_IN", str(tmp_path / "log"))
    return tmp_path / "log"


def test_pictures_are_the_bindings_nv12(log: Path) -> None:
    assert kind_of("mipi:0?size=64x64") == "mipi"
    source = open_source("mipi:1?size=64x80&sensor=128x160", SourceOptions(fps=25))
    assert (source.live, source.fps) == (True, 25)
    for i in range(3):
        before = time.time_ns()
        frame = source.read()
        assert (frame.format, frame.yuv_range, frame.width_px, frame.height_px) == (
            "nv12",
            "full",
            64,
            80,
        )
        assert (frame.pixels[:80] == 2 * i + 2).all()
        assert np.array_equal(frame.pixels[80:].ravel()[:256], np.arange(256))
        assert before <= frame.captured_ns <= time.time_ns()
    source.close()
    opened, closed = log.read_text().splitlines()
    for word in ("'pipe_id': 1", "'video_index': 1", "'fps': 25", "'width': [64]", "'height': [80]",
                 "'raw_height': 160", "'raw_width': 128"):  # fmt: skip
        assert word in opened
    assert closed == "closed"


FAULTS = {
    "hang": "no picture from the camera for 0.9 s",
    "none": "get_img gave no picture for 0.4 s",
    "die": "the process of hobot_vio has died",
    "short": "expected 6144 bytes of NV12 from get_img, got 3",
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.items())
def test_a_binding_that_fails_is_left(
    log: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    monkeypatch.setenv("FAULT", fault)
    source = open_source("mipi:0?size=64x64", SourceOptions(timeout_s=0.4))
    for _ in range(3):
        source.read()
    with pytest.raises(SourceError, match=message):
        source.read()
    pid = source._process.pid  # type: ignore[attr-defined]
    source.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_mistakes(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url, message in {
        "mipi:9?size=64x64": r"open_cam\(9, 9, -1, \[64\], \[64\]\) gave -10",
        "mipi:0?size=65x64": "size: expected even sides, got 65x64",
        "mipi:x": "number: expected a whole number",
        "mipi:0?sizes=64x64": "sizes: unknown option; did you mean size",
        "mipi:0?range=pc": "range: expected full or video",
    }.items():
        with pytest.raises(SourceError, match=message):
            open_source(url)
    with pytest.raises(SourceError, match='expected format "auto" or "nv12"'):
        open_source("mipi:0", SourceOptions(format="yuyv"))
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(SourceError, match="expected D-Robotics' hobot_vio, which only the RDK's"):
        open_source("mipi:0")
