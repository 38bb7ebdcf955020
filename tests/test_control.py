"""The control socket: it answers, to whom it should, whatever else is sent to it."""

from __future__ import annotations

import grp
import json
import os
import random
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from npud import DetectionsMessage
from npud.errors import ConfigError, ControlError
from runtime.config import Control
from runtime.control import server as control
from runtime.control.client import ask
from runtime.control.place import socket_path
from runtime.control.server import Command, ControlServer
from tests.conftest import Daemon
from tests.test_daemon import STREET, receive

Start = Callable[..., Daemon]
Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="npud-") as name:
        yield Path(name)


class Served:
    """A server with commands for every purpose."""

    def __init__(self, path: Path, settings: Control) -> None:
        self.gate = threading.Event()
        self.server = ControlServer(
            path,
            settings,
            {
                "echo": Command(lambda arguments: arguments),
                "large": Command(lambda _: {"x": "y" * 20_000_000}),
                "bug": Command(lambda _: {"x": 1 // 0}),
                "refuse": Command(self._refuse),
                "wait": Command(self._wait, slow=True),
            },
        )

    def _refuse(self, _: dict[str, Any]) -> dict[str, Any]:
        raise ConfigError("seconds: expected a number")

    def _wait(self, _: dict[str, Any]) -> dict[str, Any]:
        self.gate.wait(20)
        return {"waited": True}


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    one = Served(folder / "control", Control())
    yield one
    one.gate.set()
    one.server.close()
    assert list(folder.iterdir()) == []


def connected(served: Served) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.connect(str(served.server.path))
    one.settimeout(10)
    return one


def sent(served: Served, data: bytes) -> dict[str, Any]:
    """The answer to raw bytes; {} where the connection is closed without one."""
    with connected(served) as one:
        with suppress(BrokenPipeError, ConnectionResetError):
            one.sendall(data)
        received = b""
        with suppress(ConnectionResetError):
            while part := one.recv(65536):
                received += part
    return json.loads(received) if received else {}


def test_a_command_is_answered(served: Served) -> None:
    assert ask(served.server.path, "echo", 5, seconds=3.5) == {"seconds": 3.5}
    with pytest.raises(ControlError, match="seconds: expected a number"):
        ask(served.server.path, "refuse", 5)
    with pytest.raises(ControlError, match="unknown command 'reboot': echo, large"):
        ask(served.server.path, "reboot", 5)


def test_a_bug_in_a_command_is_logged_and_survived(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ControlError, match="npud has a bug"):
        ask(served.server.path, "bug", 5)
    assert "ZeroDivisionError" in caplog.text
    assert ask(served.server.path, "echo", 5) == {}


def test_a_client_that_says_no_more_is_answered(served: Served) -> None:
    """As `echo … | nc -N -U` does it."""
    with connected(served) as one:
        one.sendall(b'{"command": "wait"}\n')
        one.shutdown(socket.SHUT_WR)
        served.gate.set()
        assert json.loads(one.recv(1000)) == {"ok": True, "result": {"waited": True}}


@pytest.mark.parametrize(
    "data",
    [
        b"\n", b"{}\n", b"[]\n", b"null\n", b"\x00\xff\xfe\n", b'{"command": 3}\n', b"[" * 4000 + b"\n",
        b'{"command": "echo", "arguments": []}\n', b'{"command": "echo", "more": 1}\n',
        b'{"a":' * 600 + b"\n", b"GET / HTTP/1.1\r\n\r\n", b'{"command": "' + b"x" * 3000 + b'"}\n',
    ],
)  # fmt: skip
def test_garbage_is_refused_in_one_line(served: Served, data: bytes) -> None:
    answer = sent(served, data)
    assert answer["ok"] is False
    assert len(answer["error"]) < 500
    assert ask(served.server.path, "echo", 5) == {}


def test_a_line_without_end_is_refused(served: Served) -> None:
    answer = sent(served, b"x" * 3_000_000)
    assert answer in ({}, {"ok": False, "error": "expected at most 4096 bytes on one line"})
    assert ask(served.server.path, "echo", 5) == {}


def test_random_bytes_end_nothing(served: Served) -> None:
    generator = random.Random(1)
    for _ in range(200):
        sent(served, generator.randbytes(generator.randrange(1, 300)) + b"\n")
    assert ask(served.server.path, "echo", 5) == {}


def test_silent_clients_neither_stall_it_nor_pile_up(served: Served) -> None:
    """More connections than it keeps, none of which says a whole line."""
    silent = []
    for _ in range(60):
        one = connected(served)
        with suppress(OSError):
            one.send(b'{"comm')
        silent.append(one)
    assert ask(served.server.path, "echo", 5) == {}
    assert len(served.server._clients) <= control.MAX_CLIENTS
    for one in silent:
        one.close()


def test_a_thousand_connects_and_it_answers(served: Served) -> None:
    for _ in range(1000):
        connected(served).close()
    before = len(os.listdir("/proc/self/fd"))
    assert ask(served.server.path, "echo", 10) == {}
    assert before < 100
    assert threading.active_count() < 20


def test_who_does_not_read_the_answer_is_dropped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "DEADLINE_S", 0.3)
    with connected(served) as one:
        one.sendall(b'{"command": "large"}\n')
        assert ask(served.server.path, "echo", 5) == {}
        deadline = time.monotonic() + 10
        while served.server._clients:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_slow_command_keeps_others_waiting_for_nothing(served: Served) -> None:
    with connected(served) as one:
        one.sendall(b'{"command": "wait"}\n')
        deadline = time.monotonic() + 10
        while not served.server._slow.locked():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert ask(served.server.path, "echo", 5) == {}
        with pytest.raises(ControlError, match="another request is being worked on"):
            ask(served.server.path, "wait", 5)
        served.gate.set()
        assert json.loads(one.recv(1000))["result"] == {"waited": True}


def test_its_permissions_are_those_asked_for(folder: Path) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    for settings, mode in ((Control(), 0o600), (Control(mode="0660", group=group), 0o660)):
        one = Served(folder / "control", settings)
        status = (folder / "control").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_gid) == (mode, os.getgid())
        one.server.close()
    with pytest.raises(ConfigError, match=r"control\.group: no group is named 'nobodys'"):
        Served(folder / "control", Control(group="nobodys"))
    assert list(folder.iterdir()) == []


def test_a_stale_socket_is_replaced_and_a_used_one_is_not(folder: Path) -> None:
    path = folder / "control"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    one = Served(path, Control())
    with pytest.raises(ControlError, match="is in use: another npud runs"):
        Served(path, Control())
    assert ask(path, "echo", 5) == {}
    one.server.close()
    path.write_text("precious")
    with pytest.raises(ControlError, match="exists and is not a socket"):
        Served(path, Control())
    assert path.read_text() == "precious"
    with pytest.raises(ControlError, match="cannot make"):
        Served(folder / "no/such/control", Control())


def test_the_place_follows_the_endpoint() -> None:
    found = socket_path(Control(), "ipc:///run/npud/detections")
    assert found == Path("/run/npud/detections.control")
    assert socket_path(Control(socket="/x/y"), "tcp://127.0.0.1:5555") == Path("/x/y")
    for settings, endpoint in (
        (Control(), "tcp://127.0.0.1:5555"),
        (Control(), "ipc://@abstract"),
        (Control(), "ipc:///" + "x" * 105),
        (Control(socket=""), "ipc:///run/npud/detections"),
    ):
        assert socket_path(settings, endpoint) is None
    with pytest.raises(ConfigError, match=r"control\.socket: expected a path of at most 107"):
        socket_path(Control(socket="/" + "x" * 107), "tcp://127.0.0.1:5555")


def test_nobody_there_is_one_line(command: Shell, endpoint: str) -> None:
    code, _, err = command("status", endpoint)
    path = endpoint.removeprefix("ipc://")
    assert (code, err) == (
        1,
        f"npud: error: {path}.control: no npud listens there; is it running?\n",
    )
    assert command("status", "tcp://127.0.0.1:5555")[0] == 2
    assert command("record", "--last", "3s", "-e", endpoint)[0] == 1


def test_a_running_daemon_tells_how_it_is_and_writes_what_it_has_seen(
    daemon: Start, endpoint: str, command: Shell, tmp_path: Path
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        f'[publish]\nendpoint = "{endpoint}"\n[camera.cam]\nurl = "{STREET}"\n'
        f'[backend]\nisolation = "process"\ndeadline_ms = 30000\n'
        f'[record]\nenabled = true\nfolder = "{tmp_path}/kept"\nseconds = 5\nkeep = 2\n'
    )
    started = daemon("--config", str(config))
    receive(endpoint, lambda m: isinstance(m, DetectionsMessage) and m.seq > 10)
    code, out, err = command("status", endpoint, "--json")
    assert code == 0, err
    status = json.loads(out)
    assert status["pid"] == started.process.pid
    (camera,) = status["cameras"]
    assert (camera["camera"], camera["state"]) == ("cam", "ok")
    assert camera["published"] > 10
    (worker,) = status["workers"]
    assert os.path.exists(f"/proc/{worker['pid']}")
    assert 0 < status["recording"]["bytes"] <= status["recording"]["max_bytes"]
    code, out, _ = command("status", "-c", config)
    assert code == 0
    assert f"pid {started.process.pid}" in out
    assert "in memory:" in out
    for number in range(3):
        path = tmp_path / f"{number}.mcap"
        assert command("record", "--last", "1s", "-c", config, "-o", path)[0] == 0
        assert command("replay", path, "--check")[0] == 0
    assert len(list((tmp_path / "kept").iterdir())) == 2
    assert command("record", "--last", "1s", "-c", config, "-o", path)[0] == 1
    assert started.stop() == 0
    assert list(Path(endpoint.removeprefix("ipc://")).parent.iterdir()) == []
