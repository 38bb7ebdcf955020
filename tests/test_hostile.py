"""Hostile clients, full disks, no descriptors: detection goes on, and nobody loses a message.

With 10,000 connects, and for longer: python -m benchmarks.soak.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import npud
from npud import DetectionsMessage
from runtime import testing
from runtime.control.client import ask
from tests.conftest import Daemon

Start = Callable[..., Daemon]
Command = Callable[..., tuple[int, str, str]]
CONNECTS = 300
CAMERA = '[camera.cam]\nurl = "synthetic:street?seed=3&size=320x240&fps=20"\n'
WORKERS = '[backend]\nname = "runtime.testing:FaultyBackend"\nisolation = "process"\nthreads = 1\n'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def found(message: npud.Message) -> bool:
    return isinstance(message, DetectionsMessage)


def wait(until: Callable[[], bool], limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while not until():
        assert time.monotonic() < end
        time.sleep(0.05)


class Attentive(threading.Thread):
    """Hears everything, in a thread; lost and gaps are counted by npud and by itself."""

    def __init__(self, endpoint: str, **options: Any) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.seqs: list[int] = []
        self.lost = 0
        self._where: dict[str, Any] = {"endpoint": endpoint, "heartbeat_timeout_s": None, **options}
        self.start()
        wait(lambda: bool(self.seqs))

    def run(self) -> None:
        with npud.subscribe(**self._where) as subscriber:
            while not self.ended.is_set():
                message = subscriber.recv(0.2)
                if message is not None:
                    self.seqs.append(message.seq)
                    self.lost += message.lost

    def hears_more(self, count: int = 20) -> None:
        before = len(self.seqs)
        wait(lambda: len(self.seqs) >= before + count)

    def close(self) -> None:
        """Nothing was missing, by either count."""
        self.ended.set()
        self.join()
        assert self.lost == 0
        assert self.seqs == list(range(self.seqs[0], self.seqs[0] + len(self.seqs)))


@contextmanager
def strangers(endpoint: str, *options: dict[str, Any]) -> Iterator[list[int]]:
    """Subscribers that must hear nothing: the list of what they heard."""
    heard: list[int] = []
    them = [npud.subscribe(endpoint, heartbeat_timeout_s=None, **o) for o in options]
    yield heard
    for one in them:
        if one.recv(0.1) is not None:
            heard.append(1)
        one.close()


def test_strangers_garbage_and_connects_cost_nobody_a_message(
    daemon: Start, command: Command, tmp_path: Path
) -> None:
    keys, port, control = tmp_path / "keys", free_port(), tmp_path / "control"
    assert command("keys", keys, "--client", "one")[0] == 0
    assert command("keys", keys / "others", "--client", "stranger")[0] == 0
    endpoint = f"tcp://127.0.0.1:{port}"
    config = tmp_path / "config.toml"
    config.write_text(
        f'{CAMERA}[publish]\nendpoint = "{endpoint}"\nkey = "{keys}/server.key_secret"\n'
        f'clients = "{keys}/clients"\n[control]\nsocket = "{control}"\n'
    )
    started = daemon("--config", str(config), wrapper=("prlimit", "--nofile=64:4096"))
    server = keys / "server.key"
    wrong = {"server_key": server, "key": keys / "others/stranger.key_secret"}
    attentive = Attentive(endpoint, server_key=server, key=keys / "one.key_secret")
    with strangers(endpoint, wrong, {}) as heard:
        for number in range(CONNECTS):
            data = [b"", os.urandom(100), b"\xff\0\0\0\0\0\0\0\1\x7f\3\1CURVE"][number % 3]
            with socket.create_connection(("127.0.0.1", port), 30) as one, suppress(OSError):
                one.sendall(data)
            with socket.socket(socket.AF_UNIX) as one, suppress(OSError):
                one.connect(str(control))
                one.sendall(data + b"\n" * (number % 2))
        attentive.hears_more()
    assert not heard
    assert ask(control, "status", 60)["pid"] == started.process.pid
    limits = Path(f"/proc/{started.process.pid}/limits").read_text()
    assert "Max open files            4096" in limits  # as many as it may have
    attentive.close()
    assert started.stop() == 0
    assert "Traceback" not in started.log
    assert started.log.count("subscriber refused: unknown key") == 1


def test_all_descriptors_taken_and_a_dead_worker_and_it_comes_back(
    daemon: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who connects and says nothing holds a descriptor; a new worker needs some."""
    if not shutil.which("prlimit"):
        pytest.skip("needs prlimit")
    order, port, control = tmp_path / "fault", free_port(), tmp_path / "control"
    monkeypatch.setenv(testing.FILE, str(order))
    config = tmp_path / "config.toml"
    endpoint = f"tcp://127.0.0.1:{port}"
    config.write_text(
        f'{WORKERS}{CAMERA}[publish]\nendpoint = "{endpoint}"\n[control]\nsocket = "{control}"\n'
    )
    started = daemon("--config", str(config), wrapper=("prlimit", "--nofile=100:100"))
    attentive = Attentive(endpoint)
    (worker,) = ask(control, "status", 60)["workers"]
    held = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(100)]
    process = Path(f"/proc/{started.process.pid}/fd")
    wait(lambda: len(list(process.iterdir())) >= 100)
    attentive.hears_more()
    os.kill(worker["pid"], 9)
    wait(lambda: "Too many open files" in started.log)
    assert started.process.poll() is None
    for one in held:
        one.close()
    wait(lambda: ask(control, "status", 60)["workers"][0]["pid"] not in (0, worker["pid"]))
    attentive.hears_more()
    attentive.close()
    assert started.stop() == 0


def mounted(folder: Path, options: str) -> tuple[str, ...]:
    """Run in a mount namespace of its own with a tmpfs there; skips where that cannot be."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"]).returncode:
        pytest.skip("needs root, for a mount namespace")
    mount = f'mount -t tmpfs -o {options} none "{folder}" && exec "$@"'
    return ("unshare", "-m", "sh", "-c", mount, "sh")


def recording(folder: Path, endpoint: str) -> str:
    return (
        f'{CAMERA}[publish]\nendpoint = "{endpoint}"\n'
        f'[record]\nenabled = true\nframes = "none"\nfolder = "{folder}/recordings"\n'
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [("size=64k", "No space left on device"), ("ro", "Read-only file system")],
)
def test_a_disk_that_takes_nothing_stops_recordings_only(
    daemon: Start, command: Command, endpoint: str, tmp_path: Path, options: str, said: str
) -> None:
    disk, config = tmp_path / "disk", tmp_path / "config.toml"
    disk.mkdir()
    config.write_text(recording(disk, endpoint))
    started = daemon("--config", str(config), wrapper=mounted(disk, options))
    attentive = Attentive(endpoint)
    attentive.hears_more()
    for _ in range(2):
        code, _, error = command("record", "--last", "5s", "-e", endpoint, "-o", tmp_path / "x")
        assert code == 1
        assert said in error or "No such file" in error
        assert error.count("\n") == 1
    attentive.hears_more()
    there = Path(f"/proc/{started.process.pid}/root{disk}")
    assert not list(there.rglob("*.part"))
    attentive.close()
    assert started.stop() == 0
    assert "Traceback" not in started.log


def test_a_log_that_takes_nothing_stops_nothing(
    daemon: Start, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, config = tmp_path / "fault", tmp_path / "config.toml"
    monkeypatch.setenv(testing.FILE, str(order))
    config.write_text(f'{WORKERS}{CAMERA}[publish]\nendpoint = "{endpoint}"\n')
    shell = ("sh", "-c", 'exec "$@" 2> /dev/full', "sh")
    started = daemon("--config", str(config), wrapper=shell)
    attentive = Attentive(endpoint)
    for fault in ("bug", "crash"):
        testing.inject(order, fault)
        wait(lambda: not order.exists())
        attentive.hears_more()
    attentive.close()
    assert started.stop() == 0
