"""The canary in the daemon: what is published, and what is refused, in threads and in processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from npud import DetectionsMessage, Message, StatusMessage
from tests.conftest import Daemon
from tests.golden.samples import broken, with_golden
from tests.test_daemon import receive

Start = Callable[..., Daemon]
CAMERA = "cam=synthetic:street?seed=3&size=320x240&fps=20"


@pytest.fixture
def lowered(tmp_path: Path) -> Path:
    """A model that finds nothing, with the golden sample of the healthy one."""
    path = broken(tmp_path, lambda name, bias: bias - 6 if name.startswith("cls") else bias)
    return with_golden(path)


def config(folder: Path, model: Path, canary: str, isolation: str) -> str:
    path = folder / "config.toml"
    path.write_text(
        f"""
        [model]
        path = "{model}"
        {f'canary = "{canary}"' if canary else ""}
        [backend]
        isolation = "{isolation}"
        threads = 1
        """
    )
    return str(path)


def published(message: Message) -> bool:
    return isinstance(message, StatusMessage) and message.published > 0


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_dead_model_is_refused_where_that_is_wanted(
    daemon: Start, endpoint: str, lowered: Path, tmp_path: Path, isolation: str
) -> None:
    started = daemon(
        "-c", config(tmp_path, lowered, "refuse", isolation), "-e", endpoint, "-s", CAMERA
    )
    assert started.process.wait(20) == 1
    last = started.log.splitlines()[-1]
    assert last.startswith(f"npud: error: model {lowered}: golden sample: dead: it finds nothing")
    assert "Traceback" not in started.log


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_dead_model_is_degraded_otherwise(
    daemon: Start, endpoint: str, lowered: Path, tmp_path: Path, isolation: str
) -> None:
    started = daemon("-c", config(tmp_path, lowered, "", isolation), "-e", endpoint, "-s", CAMERA)
    messages = receive(endpoint, lambda m: isinstance(m, DetectionsMessage))  # all the same
    messages += receive(endpoint, published)
    states = [m for m in messages if isinstance(m, StatusMessage)]
    assert {m.state for m in states} == {"degraded"}
    assert "golden sample: dead: it finds nothing" in states[-1].reason
    assert started.log.count("golden sample: dead") <= 2  # when it was judged; as the state


def test_it_can_be_switched_off_and_a_healthy_model_is_ok(
    daemon: Start, endpoint: str, lowered: Path, tmp_path: Path
) -> None:
    started = daemon("-c", config(tmp_path, lowered, "off", "thread"), "-e", endpoint, "-s", CAMERA)
    last = receive(endpoint, published)[-1]
    assert isinstance(last, StatusMessage)
    assert (last.state, last.reason) == ("ok", "")
    assert "golden" not in started.log
    assert started.stop() == 0
    healthy = daemon("-e", endpoint, "-s", CAMERA)
    last = receive(endpoint, published)[-1]
    assert isinstance(last, StatusMessage)
    assert last.state == "ok"
    assert "golden sample: ok: 10 of 10" in healthy.log


def test_a_worker_that_comes_back_with_a_broken_model_is_a_failure(
    daemon: Start, endpoint: str, tmp_path: Path
) -> None:
    model = with_golden(broken(tmp_path, lambda _, bias: bias))
    started = daemon(
        "-c", config(tmp_path, model, "refuse", "process"), "-e", endpoint, "-s", CAMERA
    )
    receive(endpoint, published)
    folder = tmp_path / "other"
    folder.mkdir()
    bad = broken(folder, lambda name, bias: bias - 6 if name.startswith("cls") else bias)
    bad.rename(model)  # as an update that went wrong would
    worker = int(started.log.partition("npud: worker ")[2].partition(":")[0])
    os.kill(worker, signal.SIGKILL)
    wait_for(started, "golden sample: dead")
    last = receive(endpoint, lambda m: isinstance(m, StatusMessage) and m.state == "degraded")[-1]
    assert isinstance(last, StatusMessage)
    assert "golden sample: dead" in last.reason
    assert started.process.poll() is None


def wait_for(started: Daemon, text: str) -> None:
    end = time.monotonic() + 20
    while text not in started.log:
        assert time.monotonic() < end, started.log
        time.sleep(0.02)
