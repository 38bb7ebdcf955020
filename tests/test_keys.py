"""CURVE: who has a listed key reads, everybody else hears nothing and harms nothing."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import npud
from npud import keys
from npud.detections import Detections
from npud.errors import ConfigError, SubscribeError
from npud.messages import STAGES, DetectionsMessage
from runtime.config import Publish
from runtime.publish import Publisher

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(command: Command, tmp_path: Path) -> Path:
    code, out, _ = command("keys", tmp_path / "keys", "--client", "one", "--client", "two")
    assert code == 0
    assert "server.key_secret" in out
    return tmp_path / "keys"


@pytest.fixture
def settings(folder: Path) -> Publish:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Publish(
        endpoint=f"tcp://127.0.0.1:{port}",
        key=str(folder / "server.key_secret"),
        clients=str(folder / "clients"),
    )


@pytest.fixture
def publisher(settings: Publish) -> Iterator[Publisher]:
    one = Publisher(settings)
    ended = threading.Event()

    def talk() -> None:
        seq = 0
        while not ended.wait(0.01):
            one.send(message(seq))
            seq += 1

    thread = threading.Thread(target=talk)
    thread.start()
    yield one
    ended.set()
    thread.join()
    one.close()


def message(seq: int) -> DetectionsMessage:
    return DetectionsMessage(
        camera="cam", session=1, seq=seq, frame=seq, captured_ns=time.time_ns(),
        published_ns=time.time_ns(), width=64, height=48, model="m@0", timing_us=dict.fromkeys(STAGES, 0), dropped=0,
        detections=Detections.empty(),
    )  # fmt: skip


def heard(publisher: Publisher, timeout_s: float, **options: object) -> bool:
    with npud.subscribe(publisher.endpoint, wait_for_labels_s=0, **options) as subscriber:  # type: ignore[call-overload]
        return subscriber.recv(timeout_s) is not None


def test_listed_clients_hear_and_no_others(publisher: Publisher, folder: Path) -> None:
    server = folder / "server.key"
    assert heard(publisher, 30, server_key=server, key=folder / "one.key_secret")
    assert heard(publisher, 30, server_key=str(server), key=str(folder / "two.key_secret"))
    assert not heard(publisher, 0.5)  # no keys at all
    wrong = folder / "clients" / "one.key"  # not the server's
    assert not heard(publisher, 0.5, server_key=wrong, key=folder / "one.key_secret")


def test_a_client_is_shut_out_and_another_let_in_while_it_runs(
    publisher: Publisher, folder: Path, command: Command
) -> None:
    server = folder / "server.key"
    (folder / "clients" / "two.key").unlink()
    assert not heard(publisher, 0.5, server_key=server, key=folder / "two.key_secret")
    assert command("keys", folder, "--client", "three")[0] == 0
    assert heard(publisher, 30, server_key=server, key=folder / "three.key_secret")


def test_garbage_and_many_connections_do_not_stop_it(publisher: Publisher, folder: Path) -> None:
    host, _, port = publisher.endpoint.removeprefix("tcp://").partition(":")
    for number in range(300):
        with socket.create_connection((host, int(port)), 5) as end:
            end.sendall(os.urandom(100) if number % 2 else b"")
    assert heard(publisher, 30, server_key=folder / "server.key", key=folder / "one.key_secret")


def test_secret_keys_are_secret_and_never_replaced(folder: Path, command: Command) -> None:
    for name in ("server", "one", "two"):
        file = folder / f"{name}.key_secret"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert keys.key_pair(file)[0] == keys.public_key(file)
    before = (folder / "server.key_secret").read_bytes()
    code, _, error = command("keys", folder, "--client", "one")
    assert (code, "exists already; remove it" in error) == (2, True)
    assert (folder / "server.key_secret").read_bytes() == before
    code, _, error = command("keys", folder, "--client", "../x")
    assert (code, "--client: expected" in error) == (2, True)
    code, _, error = command("keys", folder / "server.key" / "x")
    assert code == 2


def test_mistakes_are_one_clear_error(folder: Path, settings: Publish, tmp_path: Path) -> None:
    (tmp_path / "nokey").write_text("nothing")
    open_file = tmp_path / "open.key_secret"
    open_file.write_bytes((folder / "one.key_secret").read_bytes())
    open_file.chmod(0o644)
    cases = {
        "publish.clients: expected a folder": {"clients": ""},
        "publish.clients: /nowhere: No such file": {"clients": "/nowhere"},
        "publish.clients: expected publish.key": {"key": ""},
        "publish.key: /nowhere: No such file": {"key": "/nowhere"},
        "expected a key file as `npud keys`": {"key": str(tmp_path / "nokey")},
        "expected a secret key": {"key": str(folder / "server.key")},
        "everybody can read this secret key; remedy: chmod": {"key": str(open_file)},
        "expected publish.key (npud keys --help)": {
            "endpoint": "tcp://0.0.0.0:1",
            "key": "",
            "clients": "",
        },
    }
    for text, changes in cases.items():
        fields = {name: getattr(settings, name) for name in settings.__struct_fields__} | changes
        with pytest.raises(ConfigError) as refused:
            Publisher(Publish(**fields))
        assert text in str(refused.value)
    for options in ({"key": "x"}, {"server_key": "/nowhere", "key": "/nowhere"}):
        with pytest.raises(SubscribeError, match=r"expected both|/nowhere: No such"):
            npud.subscribe("tcp://127.0.0.1:1", **options)  # type: ignore[call-overload]


def test_an_ipc_socket_has_the_mode_and_group_of_the_config(endpoint: str) -> None:
    path = endpoint.removeprefix("ipc://")
    for mode in ("0660", "0600"):
        publisher = Publisher(Publish(endpoint=endpoint, mode=mode))
        assert stat.S_IMODE(os.stat(path).st_mode) == int(mode, 8)
        publisher.close()
    with pytest.raises(ConfigError, match=r"publish\.group: nobody-knows: no such group"):
        Publisher(Publish(endpoint=endpoint, group="nobody-knows"))
    assert not Path(path).exists()
