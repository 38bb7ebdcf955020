"""The log: where it goes and in what form, how much of it, and that no password is in it."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime import config, logs
from runtime.logs import Journal, Json, Plain, RateLimit, Stderr
from runtime.masking import has_password, masked
from tests.conftest import ROOT, Daemon

Start = Callable[..., Daemon]
Shell = Callable[..., tuple[int, str, str]]
SECRET = "hunter2"
URLS = (
    f"rtsp://admin:{SECRET}@10.0.0.7:554/live",
    f"rtsp://admin:{SECRET}@{SECRET}@10.0.0.7/live",  # an @ in it
    f"rtsp://admin:a/{SECRET}@10.0.0.7/live",  # a slash
    f"http://:{SECRET}@[::1]:80/v.mjpg?user=x",
    f"http://10.0.0.7/v.cgi?user=admin&password={SECRET}&channel=1",
    f"rtsp://10.0.0.7:554/user=admin_password={SECRET}_channel=1_stream=0",
    f"http://10.0.0.7/v.cgi?usr=a&PWD={SECRET}",
)


@pytest.mark.parametrize("url", URLS)
def test_a_password_is_masked_wherever_it_stands(url: str) -> None:
    assert has_password(url)
    for text in (url, f"camera gate: {url}: no route", f"got '{url}'", f'{{"url": "{url}"}}'):
        assert SECRET not in masked(text)
        assert "10.0.0.7" in masked(text) or "[::1]" in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://10.0.0.7:554/live", "rtsp://viewer@10.0.0.7/live", "model yolo26n@505648ada344: ok",
        "publishing cam on tcp://127.0.0.1:5550; model a@1", "synthetic:street?seed=7&size=640x480",
        "ipc:///run/npud/detections", "camera gate: ipc://x: a@b", "/dev/v4l/by-id/usb-x:1.0@2",
    ],
)  # fmt: skip
def test_what_is_no_password_is_left_as_it_is(text: str) -> None:
    assert masked(text) == text


@pytest.fixture
def own() -> Iterator[logging.Logger]:
    """A logger that nothing else listens to."""
    one = logging.Logger("test", logging.DEBUG)
    yield one
    for handler in one.handlers:
        handler.close()


def lines(handler: logging.StreamHandler[io.StringIO]) -> list[str]:
    return handler.stream.getvalue().splitlines()


def test_plain_and_json_lines(own: logging.Logger) -> None:
    plain, machine = Stderr(io.StringIO()), Stderr(io.StringIO())
    plain.setFormatter(Plain())
    machine.setFormatter(Json())
    own.addHandler(plain)
    own.addHandler(machine)
    own.warning("camera %s: %s\nfailed", "gate", URLS[0], extra={"camera": "gate"})
    try:
        raise ValueError(URLS[0])
    except ValueError:
        own.exception("control: %s", "status")
    assert lines(plain)[0] == "npud: camera gate: rtsp://admin:***@10.0.0.7:554/live"
    assert SECRET not in plain.stream.getvalue() + machine.stream.getvalue()
    first, second = (json.loads(line) for line in lines(machine))  # one line each
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "level": "warning",
        "camera": "gate",
        "message": "camera gate: rtsp://admin:***@10.0.0.7:554/live\nfailed",
    }
    assert "Traceback" in second["message"]
    assert "camera" not in second


def fields(data: bytes) -> dict[str, bytes]:
    """A datagram as https://systemd.io/JOURNAL_NATIVE_PROTOCOL describes it."""
    found = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[8 + size :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        found[name.decode()] = value
        data = rest
    return found


def test_fields_reach_the_journal(own: logging.Logger) -> None:
    with tempfile.TemporaryDirectory(prefix="npud-") as folder:
        path = f"{folder}/socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
            journald.bind(path)
            own.addHandler(Journal(path))
            own.warning("camera gate: %s\nPRIORITY=0", URLS[0], extra={"camera": "gate"})
            got = fields(journald.recv(1 << 17))
            own.error("x" * 1_000_000)
            assert len(fields(journald.recv(1 << 17))["MESSAGE"]) == logs.MOST_BYTES
    assert got["MESSAGE"] == b"camera gate: rtsp://admin:***@10.0.0.7:554/live\nPRIORITY=0"
    assert (got["PRIORITY"], got["SYSLOG_IDENTIFIER"]) == (b"4", b"npud")
    assert (got["NPUD_CAMERA"], got["CODE_FILE"]) == (b"gate", __file__.encode())


def test_without_a_journal_lines_have_its_priorities(
    own: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    own.addHandler(Journal("/nowhere/socket"))
    own.error("one\ntwo")
    own.info("three")
    assert capsys.readouterr().err == "<3>npud: one | two\n<6>npud: three\n"


def test_the_journal_is_used_where_stderr_goes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """JOURNAL_STREAM is device:inode of what systemd connected stderr to."""
    here = os.fstat(2)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert not logs.to_journal()
    monkeypatch.setenv("JOURNAL_STREAM", f"{here.st_dev}:{here.st_ino}")
    assert logs.to_journal()
    monkeypatch.setenv("JOURNAL_STREAM", f"{here.st_dev}:{here.st_ino + 1}")  # redirected since
    assert not logs.to_journal()


def test_the_same_event_of_a_camera_is_told_so_often(
    own: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(logs, "log", own)
    limit, handler = RateLimit(3), Stderr(io.StringIO())
    handler.addFilter(limit)
    own.addHandler(handler)

    def happens(camera: str) -> None:
        own.warning("camera %s fails", camera, extra={"camera": camera})

    for _ in range(100):
        happens("gate")
    happens("front")
    own.warning("something else")
    told = ["camera gate fails"] * 3 + ["camera front fails", "something else"]
    assert lines(handler) == told
    clock[0] = 59.0
    limit.tell()
    assert lines(handler) == told
    clock[0] = 61.0
    limit.tell()
    told.append("97 more like the following were not told: camera gate fails")
    assert lines(handler) == told
    limit.tell()
    for _ in range(5):
        happens("gate")
    limit.tell(everything=True)
    counted = "2 more like the following were not told: camera gate fails"
    assert lines(handler) == [*told, *["camera gate fails"] * 3, counted]


def test_a_daemon_logs_as_configured_and_without_passwords(
    daemon: Start, endpoint: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        f'[publish]\nendpoint = "{endpoint}"\n[log]\nformat = "json"\nlevel = "warning"\n'
        "[camera.gate]\nrequired = false\ntimeout_s = 1\nreconnect_max_s = 0.1\n"
        f'url = "rtsp://admin:{SECRET}@127.0.0.1:1/live"\n'
    )
    path.chmod(0o644)
    started = daemon("--config", str(path))
    control = endpoint.removeprefix("ipc://") + ".control"
    status = ""
    while "cannot open" not in status:
        run = [sys.executable, "-m", "runtime.cli", "status", "--socket", control, "--json"]
        status = subprocess.run(run, cwd=ROOT, capture_output=True, text=True).stdout
        assert started.process.poll() is None, started.log
    assert started.stop() == 0
    told = [json.loads(line) for line in started.log.splitlines()]
    assert {one["level"] for one in told} == {"warning"}
    assert any(one.get("camera") == "gate" for one in told)
    assert any("everybody can read it" in one["message"] for one in told)
    assert SECRET not in started.log + status
    assert "admin:***@127.0.0.1:1" in started.log


def test_a_password_on_the_command_line_is_warned_of_once(daemon: Start, endpoint: str) -> None:
    started = daemon("-e", endpoint, "-s", f"gate=rtsp://a:{SECRET}@127.0.0.1:1/live")
    assert started.process.wait(60) == 1
    assert started.log.count("everybody on this machine can read its password (ps)") == 1
    assert SECRET not in started.log


def test_a_mistake_in_the_configuration_shows_no_password(command: Shell, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f'[camera.gate]\nurl = ["{URLS[0]}"]\n')
    code, _, err = command("run", "--config", path)
    assert code == 2
    assert "camera.gate.url" in err
    assert SECRET not in err


def test_the_last_error_has_its_priority_in_the_journal(
    command: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "to_journal", lambda: True)
    assert command("run", "--config", "/no/such.toml")[2].startswith("<3>npud: error: /no/such")


def test_what_a_program_has_set_up_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = logging.StreamHandler(io.StringIO())
    monkeypatch.setattr(logging.root, "handlers", [theirs])
    logs.begin()
    logs.configure(config.Log(format="json"))
    logs.tell_counted(everything=True)
    assert logging.root.handlers == [theirs]
