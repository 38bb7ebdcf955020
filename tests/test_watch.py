import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from npud import SubscribeError
from runtime.cli._table import WatchTable, objects_text
from runtime.cli.watch import command
from tests.wire_publisher import LABELS, Wire

ROOT = Path(__file__).resolve().parent.parent
WATCH = [sys.executable, "-c", "from runtime.cli.watch import command; command()"]
ENV = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """A publisher of two cameras in another process."""
    endpoint = f"ipc://{tmp_path_factory.mktemp('watch')}/npud"
    script = ROOT / "tests" / "wire_publisher.py"
    process = subprocess.Popen(
        [sys.executable, script, endpoint, "--cameras", "front,rear"], env=ENV
    )
    yield endpoint
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def wire():
    wire = Wire("inproc://test-watch")
    yield wire
    wire.close()


def shown(table, width=80):
    out = io.StringIO()
    Console(file=out, width=width).print(table.render())
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return [line.rstrip() for line in lines]


def test_the_table_fits_80_columns(wire):
    table = WatchTable("ipc:///run/npud/detections")
    table.add(wire.make_status(fps=1234.5, dropped=1234567))
    table.add(replace(wire.make_detections(), labels=LABELS, lost=3))
    table.add(wire.make_status("a-camera-with-a-very-long-name", state="degraded", reason="why"))
    text = "\n".join(shown(table))
    for expected in ("1234.5", "1234567", "11.8", "15.2", "2 person, 1", "degraded", "why"):
        assert expected in text


def test_the_table_as_it_looks(wire):
    table = WatchTable("ipc:///run/npud/detections")
    table.add(wire.make_status())
    table.add(replace(wire.make_detections(), labels=LABELS))
    assert shown(table) == [
        "camera  state      fps  p50 ms  p99 ms  dropped  lost  objects now",
        "─" * 80,
        "front   ok        30.0    11.8    15.2        1     0  2 person, 1 car",
        "",
        "model yolo26n@0123456789ab · ipc:///run/npud/detections",
    ]


def test_silence_is_shown_and_ends(wire):
    now = 0.0
    table = WatchTable("tcp://board:5555", clock=lambda: now)
    now = 4.0
    assert shown(table)[0] == "waiting for tcp://board:5555 … 4 s"
    table.add(wire.make_status())
    assert "ok" in shown(table)[2]
    now = 10.0
    lines = shown(table)
    assert "silent" in lines[2]
    assert "front: no message for 6 s: is npud running there" in "\n".join(lines)
    table.add(wire.make_status())
    assert "ok" in shown(table)[2]
    assert "no message" not in "\n".join(shown(table))


def test_a_daemon_that_said_goodbye_is_stopped_not_silent(wire):
    now = 0.0
    table = WatchTable("tcp://board:5555", clock=lambda: now)
    table.add(wire.make_status(state="stopped", reason="npud was stopped"))
    now = 60.0
    assert "stopped" in shown(table)[2]
    assert shown(table)[-1] == "front: npud was stopped"


def test_cameras_with_the_same_trouble_share_a_line(wire):
    table = WatchTable("tcp://board:5555")
    for camera in ("rear", "front"):
        table.add(wire.make_status(camera, state="degraded", reason="inference is slow"))
    assert shown(table)[-1] == "front, rear: inference is slow"


def test_several_models_name_their_cameras(wire):
    table = WatchTable("tcp://board:5555")
    table.add(wire.make_detections("front", model="a@1"))
    table.add(wire.make_detections("rear", model="b@2"))
    assert shown(table)[-1] == "model a@1 (front); b@2 (rear) · tcp://board:5555"


def test_a_label_cannot_take_over_the_terminal(wire):
    message = replace(wire.make_detections(), labels=("\x1b[2Jevil", "", "[bold]x\n"))
    assert objects_text(message) == "2 ?[2Jevil, 1 [bold]x?"
    table = WatchTable("tcp://board:5555")
    table.add(message)
    table.add(wire.make_status(state="degraded", reason="\x1b]0;evil\x07[red]"))
    table.add_problem("bad \x1b message")
    assert "\x1b" not in "\n".join(shown(table, 120))
    assert "1 [bold]x?" in "\n".join(shown(table, 120))


def test_piped_it_is_json_lines(endpoint):
    done = subprocess.run(
        [*WATCH, endpoint, "--seconds", "0.5"], env=ENV, capture_output=True, check=True, timeout=20
    )
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert {message["topic"] for message in messages} == {"detections/front", "detections/rear"}
    assert messages[0]["detections"][0]["label"] == "person"
    assert done.stderr == b""


def test_lines_come_at_once_and_head_ends_it_quietly(endpoint):
    process = subprocess.Popen(
        [*WATCH, endpoint, "--json"], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert json.loads(process.stdout.readline())["width"] == 1920
    process.stdout.close()
    assert process.wait(timeout=5) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_one_camera(endpoint):
    result = CliRunner().invoke(
        command, [endpoint, "--seconds", "0.6", "--camera", "rear"], catch_exceptions=False
    )
    cameras = {json.loads(line)["camera"] for line in result.stdout.splitlines()}
    assert cameras == {"rear"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_live_table_on_a_terminal(endpoint, number):
    primary, secondary = pty.openpty()
    process = subprocess.Popen([*WATCH, endpoint], env=ENV, stdout=secondary, stderr=secondary)
    os.close(secondary)
    seen = read_until(primary, "rear .* ok .*2 person, 1 car")
    assert "objects now" in seen
    process.send_signal(number)
    assert process.wait(timeout=5) == 0
    seen = read_until(primary, r"\x1b\[\?25h")  # the cursor is back
    assert "Traceback" not in seen
    os.close(primary)


def read_until(fd, pattern, limit_s=10):
    seen, end = "", time.monotonic() + limit_s
    while not re.search(pattern, re.sub(r"\x1b\[[0-9;]*m", "", seen)):
        assert time.monotonic() < end, seen
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 65536).decode(errors="replace")
    return seen


def test_nothing_within_the_time_is_an_error(tmp_path):
    runner = CliRunner()
    arguments = [f"ipc://{tmp_path}/none", "--seconds", "0.3"]
    with pytest.raises(SubscribeError, match=r"no detections from ipc://.* within 0\.3 s"):
        runner.invoke(command, arguments, catch_exceptions=False)


def test_bad_messages_are_reported_and_skipped(tmp_path):
    wire = Wire(f"ipc://{tmp_path}/npud")
    process = subprocess.Popen(
        [*WATCH, wire.endpoint], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.set_blocking(process.stdout.fileno(), False)
    end = time.monotonic() + 10
    while not process.stdout.read() and time.monotonic() < end:
        wire.send(wire.make_status())
        wire.socket.send_multipart([b"detections/front", b"nonsense"])
        wire.send(wire.make_detections())
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=5)
    assert process.returncode == 0
    assert b"detections/front: expected a msgpack map" in errors
    wire.close()


@pytest.mark.parametrize(
    "arguments", [["front"], ["tcp://x"], ["--camera", "a/b"], ["--seconds", "0"]]
)
def test_wrong_usage_is_exit_code_2(arguments):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_help_has_an_example():
    assert "npud watch --json | jq" in CliRunner().invoke(command, ["--help"]).output
