"""What a service manager hears: a real NOTIFY_SOCKET, a real daemon, and a hung inference."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from npud.messages import State, StatusMessage
from runtime import testing
from runtime.control.client import ask
from runtime.notify import Notifier, Progress, ServiceManager, ready, summary
from tests.conftest import Daemon

Start = Callable[..., Daemon]
WAIT_S = 60


class Manager:
    """The service manager's end."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)

    def hears(self, start: str, timeout_s: float = WAIT_S) -> list[str]:
        """Messages up to the first that begins like this."""
        got = []
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self._socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                got.append(self._socket.recv(65536).decode())
            except TimeoutError:
                break
            if got[-1].startswith(start):
                return got
        pytest.fail(f"no {start} within {timeout_s} s; heard {got[-5:]}")

    def pending(self) -> list[str]:
        """What has come and was not read."""
        self._socket.setblocking(False)
        got = []
        try:
            while True:
                got.append(self._socket.recv(65536).decode())
        except BlockingIOError:
            return got

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    path = str(Path(endpoint.removeprefix("ipc://")).with_name("notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    one = Manager(path)
    yield one
    one.close()


@pytest.mark.parametrize("abstract", [False, True])
def test_a_message_arrives_and_the_variables_are_taken(tmp_path: Path, abstract: bool) -> None:
    name = f"npud-test-{os.getpid()}"
    address = f"@{name}" if abstract else f"{tmp_path}/notify"
    listening = Manager(f"\0{name}" if abstract else address)
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2500000", "HOME": "/"}
    environment["WATCHDOG_PID"] = str(os.getpid())
    notifier = Notifier(environment)
    assert environment == {"HOME": "/"}  # worker processes must not find them
    assert notifier.watchdog_s == 2.5
    notifier.send("RELOADING=1", "MONOTONIC_USEC=5")
    assert listening.pending() == ["RELOADING=1\nMONOTONIC_USEC=5"]
    listening.close()


def test_no_watchdog_where_it_is_not_meant() -> None:
    on = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "2500000"}
    assert Notifier(dict(on)).watchdog_s == 2.5
    assert Notifier({**on, "WATCHDOG_PID": "1"}).watchdog_s == 0  # of another process
    assert Notifier({**on, "WATCHDOG_USEC": "soon"}).watchdog_s == 0
    assert Notifier({"WATCHDOG_USEC": "2500000"}).watchdog_s == 0
    Notifier({}).send("READY=1")  # to nobody


def test_a_manager_that_is_gone_or_full_does_not_stop_detection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier({"NOTIFY_SOCKET": f"{tmp_path}/gone"}).send("READY=1")
    assert "service manager: READY=1 was not taken" in caplog.text
    full = Manager(f"{tmp_path}/full")
    notifier = Notifier({"NOTIFY_SOCKET": f"{tmp_path}/full"})
    begin = time.monotonic()
    while "STATUS=x was not taken" not in caplog.text:
        notifier.send("STATUS=x")
        assert time.monotonic() - begin < WAIT_S
    full.close()


def status(
    camera: str = "a",
    captured: int = 0,
    published: int = 0,
    state: State = "ok",
    reason: str = "",
) -> StatusMessage:
    return StatusMessage(
        camera=camera,
        session=1,
        seq=0,
        published_ns=0,
        state=state,
        reason=reason,
        model="m@1",
        fps=29.6,
        captured=captured,
        published=published,
    )


def test_ready_when_the_first_detections_of_every_camera_are_out() -> None:
    assert not ready([status(captured=5, state="starting")], [])
    assert ready([status(captured=5, published=1)], ["a"])
    one_waits = [status(captured=5, published=1), status("b", captured=1, state="starting")]
    assert not ready(one_waits, [])
    off = status("b", state="degraded", reason="cannot be opened")
    assert ready([status(published=1), off], ["a"])
    assert not ready([status(published=1), off], ["a", "b"])
    assert not ready([status("b", state="starting")], [])  # it is not known yet
    failing = status("b", captured=3, state="degraded", reason="rknn_run: -1")
    assert not ready([failing], [])  # there are frames, and inference fails


def test_progress_is_frames_that_come_out_as_detections() -> None:
    progress = Progress()

    def stuck(*counts: tuple[int, int]) -> list[str]:
        return progress.stuck([status(n, c, p) for n, (c, p) in zip("ab", counts)])

    assert stuck((0, 0), (0, 0)) == []
    assert stuck((3, 0), (3, 2)) == ["a"]
    assert stuck((3, 1), (6, 4)) == []
    assert stuck((3, 1), (6, 4)) == []  # cameras that give nothing are not npud's fault
    assert stuck((4, 1), (9, 7)) == ["a"]
    assert stuck((4, 1), (9, 7)) == ["a"]  # nothing more comes, and what came is still due
    assert stuck((4, 2), (9, 7)) == []
    assert stuck((0, 0), (9, 7)) == []  # a camera that a reload made anew
    assert stuck((1, 0), (9, 8)) == ["a"]
    assert progress.stuck([status("a", 1, 0, "stopped"), status("b", 12, 9)]) == []


def test_the_summary_is_one_line() -> None:
    text = summary([status(), status("b", state="degraded", reason="no\nframe")])
    assert text == "model m@1: a ok 30 fps, b degraded (no frame)"


def test_a_reload_before_ready_is_not_announced(manager: Manager) -> None:
    service = ServiceManager(Notifier(), ["a"])
    with service.reloading():
        pass
    assert manager.pending() == []
    service.tell([status(published=1)])
    with service.reloading():
        pass
    heard = manager.pending()
    assert heard[0] == "READY=1"
    assert heard[-2].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert heard[-1] == "READY=1"


CONFIG = """
[backend]
name = "runtime.testing:FaultyBackend"
isolation = "process"
contexts = 1
threads = 1
deadline_ms = 3600000
[camera.cam]
url = "synthetic:street?seed=3&size=320x240&fps=20"
[publish]
endpoint = "{}"
"""


def test_a_life_a_hang_and_an_end(
    daemon: Start,
    endpoint: str,
    manager: Manager,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that hangs, and is not found out by its deadline, is by the watchdog."""
    order = tmp_path / "fault"
    monkeypatch.setenv(testing.FILE, str(order))
    monkeypatch.setenv("WATCHDOG_USEC", "6000000")
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(endpoint))
    control = Path(endpoint.removeprefix("ipc://") + ".control")
    started = daemon("--config", str(config))
    before = manager.hears("READY=1")
    assert not any(line.startswith("WATCHDOG") for line in before)
    state = ask(control, "status", WAIT_S)
    assert state["cameras"][0]["published"] > 0
    assert "cam ok" in manager.hears("STATUS=model street@")[-1]
    manager.hears("WATCHDOG=1")
    started.process.send_signal(signal.SIGHUP)
    manager.hears("RELOADING=1\nMONOTONIC_USEC=")
    manager.hears("READY=1")

    testing.inject(order, "hang")
    end = time.monotonic() + WAIT_S
    while "watchdog: frames of cam come, and none is published: not fed" not in started.log:
        assert time.monotonic() < end
        time.sleep(0.1)
    manager.pending()
    time.sleep(3)  # three times it could have been fed
    assert not [line for line in manager.pending() if line.startswith("WATCHDOG")]

    os.kill(state["workers"][0]["pid"], signal.SIGKILL)
    manager.hears("WATCHDOG=1")  # another worker, and frames come out again
    assert started.stop() == 0, started.log
    manager.hears("STOPPING=1", 5)
