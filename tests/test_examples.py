import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
ENV = os.environ | {"PYTHONPATH": str(ROOT)}
NODE = shutil.which("node")
PROGRAMS = [
    pytest.param([sys.executable, "subscribe.py"], id="npud"),
    pytest.param([sys.executable, "subscribe_plain.py"], id="plain"),
    pytest.param(
        [NODE or "node", "subscribe.mjs"],
        id="node",
        marks=pytest.mark.skipif(
            NODE is None or not (EXAMPLES / "node_modules" / "zeromq").is_dir(),
            reason="needs node, and `npm install` in examples/",
        ),
    ),
]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """A publisher in another process."""
    endpoint = f"ipc://{tmp_path_factory.mktemp('examples')}/npud"
    script = ROOT / "tests" / "wire_publisher.py"
    process = subprocess.Popen([sys.executable, script, endpoint], env=ENV)
    yield endpoint
    process.kill()
    process.wait()


def start(program, endpoint):
    return subprocess.Popen(
        [*program, endpoint],
        cwd=EXAMPLES,
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_example_prints_what_is_published(program, endpoint):
    process = start(program, endpoint)
    lines = [process.stdout.readline() for _ in range(6)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=5)
    starts = ["front person 0.90 [", "front person 0.60 [", "front car 0.30 ["] * 2
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True)), lines
    assert errors == ""


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_example_stops_quietly_when_its_reader_does(program, endpoint):
    with start(program, endpoint) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=5) in (0, 120)  # 120: Python could not flush its output


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_example_refuses_a_wrong_endpoint_in_one_line(program):
    process = start(program, "front")
    _, errors = process.communicate(timeout=5)
    assert process.returncode == 1
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
