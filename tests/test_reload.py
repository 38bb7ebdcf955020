"""Reload: another model, other cameras, without losing a frame; or nothing, and why."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

import npud
from npud import DetectionsMessage, Message, StatusMessage
from npud.messages import Message as AnyMessage
from runtime import bundled, config
from runtime.contexts import open_engine
from runtime.detector import read_model
from runtime.engine import Engine
from runtime.frame import Frame
from runtime.pipeline import Pipeline
from runtime.workers.ring import Ring
from tests.conftest import Daemon
from tests.golden.samples import broken, with_golden
from tests.test_daemon import receive

Start = Callable[..., Daemon]
Command = Callable[..., tuple[int, str, str]]
FRAMES = 120


class Heard:
    """In place of a publisher: all messages, in order."""

    def __init__(self) -> None:
        self.messages: list[AnyMessage] = []

    def send(self, message: AnyMessage) -> None:
        self.messages.append(message)

    def detections(self) -> list[DetectionsMessage]:
        return [m for m in self.messages if isinstance(m, DetectionsMessage)]


def copy_of_model(folder: Path, stem: str) -> Path:
    path = folder / f"{stem}.onnx"
    shutil.copyfile(bundled.MODEL, path)
    return with_golden(path)


def engine(path: Path, isolation: str) -> Engine:
    model = config.Model(path=str(path))
    return open_engine(
        read_model(model),
        model,
        config.Backend(isolation=isolation, contexts=2, threads=1, deadline_ms=60_000),
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after"), [("thread", "thread"), ("thread", "process"), ("process", "thread")]
)
def test_no_frame_is_lost_when_the_model_is_exchanged(
    tmp_path: Path, before: str, after: str
) -> None:
    first = engine(copy_of_model(tmp_path, "one"), before)
    second = engine(copy_of_model(tmp_path, "two"), after)
    url = f"synthetic:street?seed=3&size=320x240&frames={FRAMES}"
    cameras = {name: config.Camera(url=url) for name in ("a", "b")}
    heard = Heard()
    pipeline = Pipeline(cameras, first, heard, config.Publish(), every_frame=True)
    pipeline.open(threading.Event())
    pipeline.start()
    try:
        while len(heard.detections()) < FRAMES // 2:
            time.sleep(0.01)
        assert pipeline.swap(second) is first
        first.close()
        while pipeline.running():
            time.sleep(0.01)
    finally:
        pipeline.stop()
        second.close()
    assert pipeline.failure is None
    for camera in cameras:
        seen = [m for m in heard.detections() if m.camera == camera]
        assert [m.frame for m in seen] == list(range(FRAMES))
        assert [m.seq for m in seen] == list(range(FRAMES))
        models = [m.model.partition("@")[0] for m in seen]
        assert models == sorted(models)  # one, …, one, two, …, two
        assert set(models) == {"one", "two"}


def test_a_camera_that_comes_back_counts_on_and_every_frame_is_accounted_for(
    tmp_path: Path,
) -> None:
    url = "synthetic:street?seed=3&size=320x240&fps=60"
    one, both = ({n: config.Camera(url=url) for n in names} for names in ("a", "ab"))
    heard, work = Heard(), engine(copy_of_model(tmp_path, "one"), "thread")
    pipeline = Pipeline(both, work, heard, config.Publish())
    pipeline.open(threading.Event())
    pipeline.start()

    def until_more_of_b() -> None:
        begin = len([m for m in heard.detections() if m.camera == "b"])
        while len([m for m in heard.detections() if m.camera == "b"]) < begin + 5:
            time.sleep(0.01)

    try:
        for _ in range(2):
            until_more_of_b()
            pipeline.set_cameras(one)
            pipeline.set_cameras(both)
        until_more_of_b()
    finally:
        pipeline.stop(30)
        work.close()
    assert pipeline.failure is None
    for camera in both:
        seen = [m for m in heard.detections() if m.camera == camera]
        assert [m.seq for m in seen] == list(range(len(seen)))
        assert all(b.frame > a.frame for a, b in pairwise(seen))
        (*_, last) = (
            m for m in heard.messages if isinstance(m, StatusMessage) and m.camera == camera
        )
        assert (last.state, last.published) == ("stopped", len(seen))
        assert last.captured == last.published + last.dropped


def memfds() -> int:
    fds = Path("/proc/self/fd").iterdir()
    return sum("memfd" in os.readlink(fd) for fd in fds if fd.is_symlink())


def test_an_engine_that_is_closed_leaves_no_memory_of_its_workers(tmp_path: Path) -> None:
    path = copy_of_model(tmp_path, "one")
    gc.collect()  # what other tests have left
    before = memfds()
    for _ in range(2):
        work = engine(path, "process")
        ring = Ring(64 * 64 * 3, 1)
        slot = ring.acquire()
        assert slot is not None
        frame = Frame(slot.view((64, 64, 3)), "a", slot=slot)
        for detector in work.detectors:
            assert detector.ready(30)
            assert len(detector.observe(frame).outputs) > 0
        work.close()
        frame.release()
        ring.close()
        del frame, slot, ring
        gc.collect()
    assert memfds() == before


class Running:
    """A daemon with a configuration file that is written anew."""

    def __init__(self, start: Start, command: Command, endpoint: str, folder: Path) -> None:
        self.path, self.endpoint, self._command = folder / "config.toml", endpoint, command
        self.model = copy_of_model(folder, "one")
        self.write()
        self.daemon = start("--config", str(self.path))
        self.wait(lambda m: isinstance(m, DetectionsMessage))

    def write(self, model: Path | None = None, cameras: str = "cam", more: str = "") -> None:
        tables = "\n".join(
            f'[camera.{name}]\nurl = "synthetic:street?seed=3&size=320x240&fps=20"'
            for name in cameras.split()
        )
        self.path.write_text(
            f'[model]\npath = "{model or self.model}"\n[backend]\nthreads = 1\n'
            f'{tables}\n[publish]\nendpoint = "{self.endpoint}"\n{more}'
        )

    def reload(self) -> tuple[int, str]:
        code, out, error = self._command("reload", self.endpoint)
        return code, out + error

    def wait(self, until: Callable[[Message], bool]) -> list[Message]:
        return receive(self.endpoint, until)

    def publishes(self, stem: str) -> list[Message]:
        return self.wait(
            lambda m: isinstance(m, DetectionsMessage) and m.model.startswith(f"{stem}@")
        )


@pytest.fixture
def running(daemon: Start, command: Command, endpoint: str, tmp_path: Path) -> Running:
    return Running(daemon, command, endpoint, tmp_path)


def test_a_new_model_and_new_cameras_by_command_and_by_signal(
    running: Running, tmp_path: Path
) -> None:
    assert running.reload() == (0, f"reloaded: nothing has changed; model {name(running.model)}\n")
    two = copy_of_model(tmp_path, "two")
    running.write(two, "cam other")
    assert running.reload() == (0, f"reloaded: model, camera; model {name(two)}\n")
    running.publishes("two")
    running.wait(lambda m: isinstance(m, DetectionsMessage) and m.camera == "other")
    running.write(cameras="other")
    running.daemon.process.send_signal(signal.SIGHUP)
    running.publishes("one")
    stopped = running.wait(lambda m: isinstance(m, StatusMessage))  # those that still are
    assert {m.camera for m in stopped} == {"other"}
    assert running.daemon.stop() == 0
    assert "reloaded: model, camera" in running.daemon.log


def name(model: Path) -> str:
    return read_model(config.Model(path=str(model))).name


def test_a_reload_that_cannot_work_changes_nothing(running: Running, tmp_path: Path) -> None:
    lowered = with_golden(broken(tmp_path, lambda n, b: b - 6 if n.startswith("cls") else b))
    cases = [
        ({"model": tmp_path / "none.onnx"}, "none.onnx: expected a model file, got no such file"),
        ({"model": lowered}, "golden sample: dead: it finds nothing"),
        ({"more": "frames = 3"}, "publish.frames: expected boolean"),
        ({"more": "frames = true"}, "publish: a change there needs a restart of npud"),
        ({"more": "[camra.x]"}, "camra: unknown table; did you mean camera?"),
    ]
    for changes, said in cases:
        running.write(**changes)  # type: ignore[arg-type]
        code, text = running.reload()
        assert code == 1, text
        assert said in text
        assert text.count("\n") == 1
    running.daemon.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 30
    while "nothing was changed" not in running.daemon.log:
        assert time.monotonic() < end
        time.sleep(0.05)
    (message,) = running.wait(lambda m: isinstance(m, DetectionsMessage))[-1:]
    assert isinstance(message, npud.DetectionsMessage)
    assert message.model == name(running.model)
    assert "Traceback" not in running.daemon.log
