"""The daemon on an .rknn model: three contexts in a worker process; crashes and hangs of the library."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import npud
from npud import DetectionsMessage
from tests.backends.conftest import ON_BOARD, Counts
from tests.board.rk3588_cases import Case, make_cases
from tests.conftest import Daemon

pytestmark = pytest.mark.skipif(ON_BOARD, reason="the host's; tests/board runs the board's")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_cases(tmp_path_factory.mktemp("rk3588"))["street"]


@pytest.fixture
def run(
    street: Case,
    daemon: Callable[..., Daemon],
    stub: Callable[[], Counts],
    endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Daemon]:
    """run(contexts=3, STUB_FAULT="…") starts the daemon on the case's pictures, over and over."""

    def start(contexts: int = 3, isolation: str = "process", **variables: str) -> Daemon:
        monkeypatch.setenv("STUB_TENSORS", str(street.tensors))
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        pictures = street.pictures[0].parent / "street*.png"
        config = tmp_path / "config.toml"
        config.write_text(
            f'[model]\npath = "{street.model}"\n'
            f'[backend]\nname = "librknnrt"\ncontexts = {contexts}\nisolation = "{isolation}"\n'
            f'deadline_ms = 1000\n[camera.front]\nurl = "{pictures}"\nloop = true\nfps = 30\n'
            f'[publish]\nendpoint = "{endpoint}"\n'
        )
        return daemon("--config", str(config))

    return start


def collect(
    endpoint: str, wanted: int, counts_from: Callable[[], bool] = lambda: True
) -> list[DetectionsMessage]:
    """Messages until `wanted` of them have come since counts_from() was first true."""
    got: list[DetectionsMessage] = []
    late, end = 0, time.monotonic() + 40
    with npud.subscribe(endpoint, heartbeat_timeout_s=40) as subscriber:
        while late < wanted and time.monotonic() < end:
            if message := subscriber.recv(timeout_s=0.5):
                got.append(message)
                late += counts_from()
    assert late == wanted
    return got


@pytest.mark.parametrize("isolation", ["process", "thread"])
def test_three_contexts_see_the_street(
    run: Callable[..., Daemon], street: Case, endpoint: str, isolation: str
) -> None:
    started = run(isolation=isolation)
    counts = {len(street.detections(number).boxes) for number in range(len(street.pictures))}
    got = collect(endpoint, 20)
    assert {len(message.boxes) for message in got} == counts
    assert started.stop() == 0, started.log


@pytest.mark.parametrize("what", ["crash", "hang"])
def test_a_library_that_crashes_or_hangs_costs_frames_not_the_daemon(
    run: Callable[..., Daemon], street: Case, endpoint: str, what: str
) -> None:
    started = run(STUB_FAULT=f"rknn_run={what}@12")  # again in each new worker
    counts = {len(street.detections(number).boxes) for number in range(len(street.pictures))}
    got = collect(endpoint, 15, lambda: "ready after" in started.log)
    assert {len(message.boxes) for message in got} <= counts
    reasons = ("died of SIGABRT", "no answer within the deadline", "no worker is ready")
    assert any(reason in started.log for reason in reasons)  # the first that a camera met
    children = f"/proc/{started.process.pid}/task/{started.process.pid}/children"
    workers = [int(pid) for pid in Path(children).read_text().split()]
    assert started.stop(signal.SIGTERM) == 0, started.log
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]
