"""V4L2 cameras, against a driver in user space: formats, strides, times, and what goes wrong."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import npud
from npud import DetectionsMessage, StatusMessage
from tests.conftest import ROOT, Daemon
from tests.test_daemon import receive
from tests.v4l2.conftest import Fake, Pattern

READ = """
source = open_source({url!r}, SourceOptions({options}))
out.update(fps=source.fps, code=source._mode.code)
for i in range({count}):
    frame = source.read()
    out.setdefault("ages_ms", []).append((time.time_ns() - frame.captured_ns) / 1e6)
    out.setdefault("sums", []).append(int(frame.pixels.astype(int).sum()))
    out.setdefault("known", []).append(frame.captured_ns > 0)
out.update(format=frame.format, range=frame.yuv_range, shape=frame.pixels.shape,
           width=frame.width_px, height=frame.height_px, pixels=frame.pixels.tolist())
source.close()
"""


def read(
    fake: Fake, options: str = "", count: int = 3, url: str = "/dev/video0"
) -> dict[str, object]:
    return fake.run(READ.format(url=url, options=options, count=count))


@pytest.mark.parametrize("align", [2, 64])
def test_nv12_with_and_without_padding(fake: Fake, pattern: Pattern, align: int) -> None:
    fake.describe(f"format NV12 {align} 1", "size NV12 104 32 50", "set NV12 104 32")
    got = read(fake, count=6)  # more than there are buffers
    assert (got["format"], got["range"], got["width"], got["height"]) == ("nv12", "full", 104, 32)
    assert np.array_equal(got["pixels"], pattern(48, 104, 0, 5))
    assert got["sums"] == [int(pattern(48, 104, 0, i).astype(int).sum()) for i in range(6)]


def test_an_isp_node_of_several_planes(fake: Fake, pattern: Pattern) -> None:
    fake.describe("mplane", "format NV12 64 2", "range NV12 32 640 8 16 480 8", "noparm")
    got = read(fake, "size=(104, 32), fps=25")
    assert (got["format"], got["range"], got["fps"]) == ("nv12", "video", 25)
    assert np.array_equal(got["pixels"], pattern(48, 104, 0, 2))


def test_luma_and_chroma_in_separate_buffers(fake: Fake, pattern: Pattern) -> None:
    fake.describe("mplane", "format NM12 64 0", "size NM12 104 32 30", "set NM12 104 32")
    got = read(fake)
    planes = pattern(32, 104, 0, 2), pattern(16, 104, 1, 2)
    assert np.array_equal(got["pixels"], np.concatenate(planes))


def test_yuyv_and_bgr_with_padding(fake: Fake, pattern: Pattern) -> None:
    fake.describe("format YUYV 256 0", "size YUYV 70 20 30", "set YUYV 70 20")
    got = read(fake, 'format="yuyv"')
    assert (got["format"], got["range"], got["shape"]) == ("yuyv", "video", [20, 70, 2])
    assert np.array_equal(got["pixels"], pattern(20, 140, 0, 2).reshape(20, 70, 2))
    fake.describe("format BGR3 256 0", "size BGR3 70 20 30", "set BGR3 70 20")
    got = read(fake, 'format="bgr"')
    assert np.array_equal(got["pixels"], pattern(20, 210, 0, 2).reshape(20, 70, 3))


def test_mjpeg_is_decoded(fake: Fake, tmp_path: Path) -> None:
    picture = cv2.GaussianBlur(
        np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8), (9, 9), 0
    )
    cv2.imwrite(str(tmp_path / "p.jpg"), picture)
    fake.describe(f"jpeg {tmp_path / 'p.jpg'}", "format MJPG 1 0", "size MJPG 64 48 30")
    got = read(fake, "size=(64, 48)")
    assert np.array_equal(got["pixels"], cv2.imread(str(tmp_path / "p.jpg")))
    assert got["format"] == "bgr"


WEBCAM = (
    "card Webcam", "format YUYV 2 0", "format MJPG 1 0", "size YUYV 64 48 30", "size YUYV 128 96 5",
    "size MJPG 64 48 30", "size MJPG 128 96 30", "set YUYV 64 48",
)  # fmt: skip


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("", "YUYV"),
        ("size=(128, 96)", "MJPG"),  # YUYV would give 5 frames a second
        ("size=(128, 96), fps=5", "YUYV"),
        ("size=(128, 96), fps=20", "MJPG"),
        ('size=(64, 48), format="mjpeg"', "MJPG"),
    ],
)
def test_auto_takes_what_costs_least_and_is_fast_enough(
    fake: Fake, tmp_path: Path, options: str, code: str
) -> None:
    cv2.imwrite(str(tmp_path / "p.jpg"), np.zeros((48, 64, 3), np.uint8))
    fake.describe(*WEBCAM, f"jpeg {tmp_path / 'p.jpg'}")
    assert read(fake, options, 1)["code"] == code


def test_a_wish_it_cannot_fulfil_is_refused_with_what_it_has(fake: Fake) -> None:
    fake.describe(*WEBCAM)
    has = (
        ", which Webcam does not offer; it has YUYV 128×96 at 5 fps, 64×48 at 30 fps; "
        "MJPG 128×96 at 30 fps, 64×48 at 30 fps"
    )
    wishes = {
        'format="nv12"': "nv12",
        "size=(640, 480)": "a format npud reads 640×480",
        "fps=90": "a format npud reads at 90 fps",
        'format="yuyv", size=(128, 96), fps=30': "yuyv 128×96 at 30 fps",
    }
    said = fake.refusals(*wishes)
    assert said == [f"/dev/video0: expected {asked}{has}" for asked in wishes.values()]


def test_what_is_no_camera_is_refused(fake: Fake) -> None:
    fake.describe("output", "format NV12 2 0")
    assert fake.refusals()[0] == "/dev/video0: expected a camera, it captures no pictures"
    (missing,) = fake.refusals(url="/dev/video5")
    assert missing == "/dev/video5: expected a V4L2 device: no such device"
    fake.describe("format NV12 2 0", "size NV12 64 48 30", "set NV12 64 48", "fault busy 0")
    assert fake.refusals()[0] == "/dev/video0: in use by another program"
    fake.describe("format RGGB 2 0", "size RGGB 64 48 30")
    assert fake.refusals()[0].endswith("does not offer; it has RGGB 64×48 at 30 fps")


def test_the_drivers_time_is_the_time_of_capture(fake: Fake) -> None:
    fake.describe("format NV12 2 0", "size NV12 64 48 30", "set NV12 64 48")
    ages = read(fake)["ages_ms"]
    assert all(0 <= age < 1000 for age in ages)  # type: ignore[attr-defined]
    fake.describe("clock 0x4000", "format NV12 2 0", "size NV12 64 48 30", "set NV12 64 48")
    assert read(fake)["known"] == [False] * 3  # copied from elsewhere: of no clock we know


@pytest.mark.parametrize("fault", ["error1", "short1"])
@pytest.mark.parametrize("kind", ["", "mplane"])
def test_a_damaged_frame_is_passed_over(
    fake: Fake, pattern: Pattern, fault: str, kind: str
) -> None:
    fake.describe(
        "format NV12 2 0", "size NV12 64 48 90", "set NV12 64 48", f"fault {fault} 1", kind
    )
    got = read(fake)
    assert np.array_equal(got["pixels"], pattern(72, 64, 0, 3))
    assert got["sums"][1] == int(pattern(72, 64, 0, 2).astype(int).sum())  # type: ignore[index]


FAULTS = {
    "eio": "the device reports an error (EIO)",
    "enodev": "the device is gone (unplugged?)",
    "stall": "no frame from the device for 0.3 s",
    "short": "only damaged frames (",
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.items())
def test_a_device_that_fails_says_so_in_time(fake: Fake, fault: str, message: str) -> None:
    fake.describe("format NV12 2 0", "size NV12 64 48 90", "set NV12 64 48", f"fault {fault} 2")
    got = fake.run("""
source = open_source("/dev/video0", SourceOptions(timeout_s=0.3))
source.read(); source.read()
begin = time.monotonic()
try: source.read()
except SourceError as e: out.update(message=str(e), s=time.monotonic() - begin)
source.close()
""")
    assert message in got["message"]
    assert got["s"] < 10


def test_a_camera_that_is_pulled_out_comes_back(
    fake: Fake, daemon: Callable[..., Daemon], endpoint: str
) -> None:
    fake.describe("format NV12 64 0", "size NV12 328 240 60", "set NV12 328 240", "fault enodev 20")
    street = "street=synthetic:street?seed=3&size=320x240&fps=20"
    started = daemon(
        "-e", endpoint, "-s", "usb=/dev/v4l/by-id/video0", "-s", street, wrapper=fake.wrapper
    )

    def gone(message: npud.Message) -> bool:
        return (
            isinstance(message, StatusMessage)
            and message.camera == "usb"
            and message.state == "degraded"
        )

    lost = receive(endpoint, gone)[-1]
    assert isinstance(lost, StatusMessage)
    assert lost.reason.split(": ", 1)[1] in (
        "the device is gone (unplugged?)",
        "/dev/v4l/by-id/video0: expected a V4L2 device: no such device",
    )
    other = receive(endpoint, lambda m: isinstance(m, DetectionsMessage))[-1]
    assert isinstance(other, DetectionsMessage)
    assert other.camera == "street"
    (fake.folder / "gone").unlink()  # plugged in again

    def back(message: npud.Message) -> bool:
        return (
            isinstance(message, DetectionsMessage)
            and message.camera == "usb"
            and message.frame > lost.captured
        )

    receive(endpoint, back)
    assert started.stop(signal.SIGTERM) == 0, started.log
    assert "opened again until it is back" in started.log


def test_the_doctor_lists_it(fake: Fake) -> None:
    fake.describe("card Cam", "format MJPG 1 0", "format NV12 2 0", "size MJPG 64 48 30",
                  "size MJPG 128 96 30", "range NV12 16 3840 2 16 2160 2")  # fmt: skip
    got = fake.run(f"""
from pathlib import Path
from runtime import v4l2
from runtime.doctor import cameras
device = v4l2.query(Path("/dev/video0"))
out.update(text=cameras._formats(device), driver=device.driver, root={str(ROOT)!r})
""")
    assert got["text"] == "MJPG up to 128×96, NV12 up to 3840×2160"
    assert got["driver"] == "fake"
