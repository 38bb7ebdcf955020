"""Capture threads: what they do when a camera fails, freezes, changes, or is not there."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from npud import DetectionsMessage, StatusMessage
from npud.errors import SourceError
from runtime import capture
from runtime.capture import Capture, Still
from runtime.config import Camera
from runtime.frame import Frame
from runtime.mailbox import Mailboxes
from runtime.preprocess import InputSpec, Preprocessor
from runtime.scenes import Street
from runtime.stats import CameraStats
from tests.conftest import Daemon
from tests.test_daemon import receive
from tests.test_streams import Serve, serve, silent, stalls, write  # noqa: F401 - a fixture

Pictures = Callable[[int], "Frame | Exception"]


class Camera0:
    """A live source that gives what a function says; each opening gets the next function."""

    live = True
    fps = 30.0

    def __init__(self, pictures: Pictures) -> None:
        self.pictures, self.count, self.closed = pictures, 0, False

    def read(self) -> Frame:
        got = self.pictures(self.count)
        self.count += 1
        if isinstance(got, Exception):
            raise got
        time.sleep(0.001)
        return got

    def close(self) -> None:
        self.closed = True


def picture(i: int, side: int = 64) -> Frame:
    return Frame(np.full((side, side, 3), i % 256, np.uint8))


class Rig:
    """A Capture whose source is ours; frames taken from its mailbox are kept."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, settings: Camera, slots: int | None
    ) -> None:
        self.openings: list[Pictures | SourceError] = []
        self.opened_at: list[float] = []
        self.sources: list[Camera0] = []
        self.mailboxes = Mailboxes({"cam": 1.0})
        self.capture = Capture("cam", settings, self.mailboxes, CameraStats(), slots=slots)
        self.stop = self.capture.stop
        monkeypatch.setattr(capture, "open_source", self._open)
        self.thread = threading.Thread(target=self.capture.run)

    def _open(self, url: str, options: object) -> Camera0:
        self.opened_at.append(time.monotonic())
        turn = self.openings[min(len(self.opened_at), len(self.openings)) - 1]
        if isinstance(turn, SourceError):
            raise turn
        self.sources.append(Camera0(turn))
        return self.sources[-1]

    def until(self, done: Callable[[Frame], bool]) -> Frame:
        """Frames from the mailbox until one fits."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            frame = self.mailboxes.take(0.1)
            if frame is not None:
                found = done(frame)
                frame.release()
                if found:
                    return frame
        raise AssertionError("no such frame within 20 s")

    def state(self, wanted: str, reason: str) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            state, why = self.capture.stats.state()
            if state == wanted and reason in why:
                return
            time.sleep(0.005)
        raise AssertionError(f"expected {wanted} {reason}, got {state} {why}")


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(slots: int | None = None, **settings: object) -> Rig:
        camera = Camera("rtsp://cam", **settings)  # type: ignore[arg-type]
        made.append(Rig(monkeypatch, camera, slots))
        return made[-1]

    yield make
    for one in made:
        one.stop.set()
        one.mailboxes.close()
        if one.thread.ident:
            one.thread.join(10)
            assert not one.thread.is_alive()
        one.capture.close()


def fails_after(count: int) -> Pictures:
    return lambda i: picture(i) if i < count else SourceError("cable cut")


def test_a_camera_that_fails_comes_back_and_the_index_goes_on(rig: Callable[..., Rig]) -> None:
    one = rig()
    one.openings = [fails_after(5), SourceError("not there yet"), picture]
    one.capture.open()
    one.thread.start()
    one.state("degraded", "cable cut")
    one.state("degraded", "camera.cam.url: not there yet")
    frame = one.until(lambda f: f.index >= 8)
    assert frame.camera == "cam"
    assert one.sources[0].closed
    one.state("starting", "")  # captured again; nothing was published here


def test_pauses_double_up_to_the_most_and_vary(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "FIRST_RETRY_S", 0.02)
    one = rig(reconnect_max_s=0.16)
    one.openings = [fails_after(1), fails_after(0)]
    one.capture.open()
    one.thread.start()
    while len(one.opened_at) < 12:
        time.sleep(0.01)
    pauses = np.diff(one.opened_at)
    nominal = np.array([0.02, 0.02, 0.04, 0.08, *[0.16] * 7])
    assert (pauses >= 0.75 * nominal - 1e-3).all()
    assert len({round(p, 4) for p in pauses[4:]}) > 1
    draws = [one.capture._pause_s() for _ in range(500)]
    assert min(draws) >= 0.12
    assert max(draws) <= 0.2
    assert max(draws) - min(draws) > 0.06


def test_a_steady_camera_is_opened_soon_again(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "STEADY_S", 0.05)
    one = rig()
    one.capture._failures = 9
    one.openings = [picture]
    one.capture.open()
    one.thread.start()
    one.until(lambda f: f.index > 100)
    assert one.capture._pause_s() <= 0.5 * 1.25


def test_a_picture_that_does_not_change_is_told_and_forgotten(rig: Callable[..., Rig]) -> None:
    one = rig(frozen_s=0.2)
    frozen = threading.Event()
    frozen.set()
    one.openings = [lambda i: picture(7 if frozen.is_set() else i)]
    one.capture.open()
    one.thread.start()
    one.state("degraded", "picture frozen for")
    one.until(lambda f: True)  # frames are still detected in
    frozen.clear()
    one.state("starting", "")


def test_frozen_is_seen_by_a_grid_of_samples() -> None:
    rng = np.random.default_rng(0)
    still, moved = Still(), Still()
    base = rng.integers(0, 256, (1620, 1920), np.uint8)
    small = base.copy()
    small[500:540, 700:740] += 1
    assert still.seconds(base) == 0
    moved.seconds(base)
    time.sleep(0.02)
    assert still.seconds(base.copy()) >= 0.02
    assert moved.seconds(small) == 0
    assert moved.seconds(small[:1080]) == 0  # another size


@pytest.mark.parametrize("slots", [None, 3])
def test_the_size_may_change(rig: Callable[..., Rig], slots: int | None) -> None:
    one = rig(slots=slots)
    one.openings = [lambda i: picture(i, 64 if i < 20 else 200)]
    one.capture.open()
    one.thread.start()
    assert one.until(lambda f: f.width_px == 200).pixels.shape == (200, 200, 3)


def test_a_borrowed_picture_is_copied(rig: Callable[..., Rig]) -> None:
    memory = bytearray(64 * 80 * 2)

    def lend(i: int) -> Frame:
        memory[:] = bytes([i % 251]) * len(memory)
        return Frame(np.ndarray((64, 64, 2), np.uint8, memory, 0, (160, 2, 1)), format="yuyv")

    one = rig()
    one.openings = [lend]
    one.capture.open()
    one.thread.start()
    for _ in range(50):
        frame = one.until(lambda f: True)
        assert frame.pixels.flags.c_contiguous
        assert (frame.pixels == frame.index % 251).all()


def test_cameras_that_are_dead_do_not_disturb_one_that_is_not(
    daemon: Callable[..., Daemon],
    endpoint: str,
    tmp_path: Path,
    serve: Callable[[Serve], int],  # noqa: F811
) -> None:
    config = tmp_path / "c.toml"
    optional = "required = false\ntimeout_s = 0.5\n"
    config.write_text(
        f'[camera.mute]\nurl = "http://127.0.0.1:{serve(silent)}/"\n{optional}'
        f'[camera.stuck]\nurl = "http://127.0.0.1:{serve(stalls)}/"\n{optional}'
        f'[camera.gone]\nurl = "/dev/video97"\n{optional}'
        '[camera.fine]\nurl = "synthetic:street?seed=3&size=320x240&fps=20"\n'
    )
    started = daemon("--config", str(config), "-e", endpoint)
    reasons: dict[str, str] = {}
    fine: list[DetectionsMessage] = []

    def until(message: object) -> bool:
        if isinstance(message, StatusMessage) and message.state == "degraded":
            reasons[message.camera] = message.reason
        if isinstance(message, DetectionsMessage) and message.camera == "fine":
            fine.append(message)
        return len(reasons) == 3 and len(fine) > 30

    receive(endpoint, until)
    assert "no answer for 0.5 s" in reasons["mute"]
    assert "for 0.5 s" in reasons["stuck"]
    assert "no such device" in reasons["gone"]
    assert "fine" not in reasons
    assert started.stop(signal.SIGTERM) == 0, started.log
    assert "npud: camera.gone.url: /dev/video97: expected a V4L2 device" in started.log


def test_a_required_camera_that_is_not_there_ends_it_in_time(
    daemon: Callable[..., Daemon],
    endpoint: str,
    tmp_path: Path,
    serve: Callable[[Serve], int],  # noqa: F811
) -> None:
    config = tmp_path / "c.toml"
    port = serve(silent)
    config.write_text(
        f'[camera.a]\nurl = "http://127.0.0.1:{port}/"\ntimeout_s = 1\n'
        f'[camera.b]\nurl = "http://127.0.0.1:{port}/"\ntimeout_s = 1\n'
    )
    started = daemon("--config", str(config), "-e", endpoint)
    assert started.process.wait(20) == 1
    assert f"camera.a.url: http://127.0.0.1:{port}/: cannot open: no answer for 1 s" in started.log


def test_ctrl_c_does_not_wait_for_cameras_that_are_being_opened(
    daemon: Callable[..., Daemon],
    endpoint: str,
    tmp_path: Path,
    serve: Callable[[Serve], int],  # noqa: F811
) -> None:
    connected = threading.Event()

    def hang(connection: socket.socket) -> None:
        connected.set()
        silent(connection)

    config = tmp_path / "config.toml"
    config.write_text(f'[camera.a]\nurl = "http://127.0.0.1:{serve(hang)}/"\ntimeout_s = 3600\n')
    started = daemon("--config", str(config), "-e", endpoint)
    assert connected.wait(30)
    started.stop(signal.SIGINT, 30)
    assert "Traceback" not in started.log


def test_nv12_reaches_a_worker_process_as_it_reaches_a_thread(
    daemon: Callable[..., Daemon], endpoint: str, tmp_path: Path
) -> None:
    """A BT.709 full-range video: the same detections, whoever does the work."""
    street = Street(3, (320, 240))
    pictures = []
    for i in range(5):
        spec = InputSpec((240, 320), color="nv12", yuv_range="full")
        flat = Preprocessor(spec)(Frame(street.frame(20 * i)[0]))[0][0]
        chroma = flat[240:].reshape(120, 160, 2)
        pictures.append(
            np.concatenate([flat[:240], *(chroma[..., c].reshape(-1, 320) for c in (0, 1))])
        )
    path = write(tmp_path / "v.mp4", pictures, color_range=2, colorspace=1)
    seen: dict[str, dict[int, np.ndarray]] = {}
    for isolation in ("thread", "process"):
        config = tmp_path / f"{isolation}.toml"
        config.write_text(
            f'[backend]\nisolation = "{isolation}"\n'
            f'[camera.cam]\nurl = "{path}"\nloop = true\nformat = "nv12"\nfps = 10\n'
        )
        started = daemon("--config", str(config), "-e", endpoint)
        found: dict[int, np.ndarray] = {}

        def until(message: object, found: dict[int, np.ndarray] = found) -> bool:
            if isinstance(message, DetectionsMessage):
                found[message.frame % 5] = np.column_stack([message.boxes, message.scores])
            return len(found) == 5

        receive(endpoint, until)
        assert started.stop(signal.SIGTERM) == 0, started.log
        seen[isolation] = found
    assert sum(map(len, seen["thread"].values())) > 3
    for i in range(5):
        assert np.array_equal(seen["thread"][i], seen["process"][i])
