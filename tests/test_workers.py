"""Worker processes: whatever happens in one, the daemon goes on, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from npud import DetectionsMessage, Message, StatusMessage
from runtime import testing
from runtime.workers.process import WorkerProcess
from runtime.workers.supervisor import Limits, Supervisor
from tests.conftest import Daemon
from tests.test_daemon import detections, receive

Start = Callable[..., Daemon]


class Faulty:
    """A daemon whose backend obeys fault(name)."""

    def __init__(
        self,
        start: Start,
        endpoint: str,
        folder: Path,
        options: str = "",
        deadline_ms: int = 1500,
    ) -> None:
        self.order = folder / "fault"
        self.endpoint = endpoint
        config = folder / "config.toml"
        config.write_text(
            f"""
            [backend]
            name = "runtime.testing:FaultyBackend"
            isolation = "process"
            deadline_ms = {deadline_ms}
            load_deadline_s = 20
            threads = 1
            {options}
            [camera.cam]
            url = "synthetic:street?seed=3&size=320x240&fps=20"
            [publish]
            endpoint = "{endpoint}"
            """
        )
        self.daemon = start("--config", str(config))
        self.wait(lambda m: isinstance(m, DetectionsMessage))

    def wait(self, until: Callable[[Message], bool]) -> list[Message]:
        return receive(self.endpoint, until)

    def fault(self, name: str) -> None:
        testing.inject(self.order, name)
        end = time.monotonic() + 20
        while self.order.exists():
            assert time.monotonic() < end, f"{name} was not obeyed: {self.daemon.log}"
            time.sleep(0.005)

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.daemon.process.pid}/task").glob("*/children")
        return sorted(int(pid) for path in children for pid in path.read_text().split())


@pytest.fixture
def faulty(
    daemon: Start, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Faulty]:
    monkeypatch.setenv(testing.FILE, str(tmp_path / "fault"))
    return lambda *options: Faulty(daemon, endpoint, tmp_path, *options)


FAULTS = [
    ("crash", "died of SIGSEGV", True),
    ("hang", "no answer within the deadline; it was killed", True),
    ("error", "rknn_run: -1 (failed), as ordered", False),
    ("bug", "worker: ZeroDivisionError: as ordered", False),
    ("shape", "got (1, 4, 40, 39) float32", False),
]


@pytest.mark.parametrize(("fault", "said", "restarts"), FAULTS)
def test_one_fault_loses_one_frame_and_detections_go_on(
    faulty: Callable[..., Faulty], fault: str, said: str, restarts: bool
) -> None:
    one = faulty()
    before = one.workers()
    one.fault(fault)
    messages = detections(one.wait(lambda m: isinstance(m, DetectionsMessage) and len(m) > 0))
    assert all(m.lost == 0 for m in messages)
    assert said in one.daemon.log
    one.wait(lambda m: isinstance(m, StatusMessage) and m.state == "ok")
    after = one.workers()
    assert len(after) == len(before) == 1
    assert (after != before) is restarts
    assert one.daemon.stop() == 0
    assert not Path(f"/proc/{after[0]}").exists()


def test_all_lanes_tell_why_a_worker_failed_first() -> None:
    worker = WorkerProcess({}, 1)
    supervisor = Supervisor({}, 1, Limits())
    supervisor._current = worker
    assert supervisor.failed(worker, "no answer within the deadline") == (
        "no answer within the deadline"
    )
    assert not worker.alive()
    assert supervisor.failed(worker, "died of SIGKILL") == "no answer within the deadline"
    supervisor.close()


def test_a_model_that_no_longer_loads_is_degraded_until_it_does(
    faulty: Callable[..., Faulty], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = faulty()
    one.fault("crash")
    for _ in range(3):
        one.fault("load-error")
    messages = one.wait(lambda m: isinstance(m, StatusMessage) and m.state == "degraded")
    status = messages[-1]
    assert isinstance(status, StatusMessage)
    assert "the model is refused, as ordered (" in status.reason
    one.wait(lambda m: isinstance(m, StatusMessage) and m.state == "ok")


def test_a_worker_that_hangs_does_not_stop_the_other(faulty: Callable[..., Faulty]) -> None:
    one = faulty("contexts = 2\ncontexts_per_process = 1")
    assert len(one.workers()) == 2
    one.fault("hang")
    messages = detections(one.wait(lambda m: isinstance(m, DetectionsMessage) and m.seq > 60))
    gaps = np.diff([m.published_ns for m in messages]) / 1e9
    assert gaps.max() < 1.0  # the deadline is 1.5 s
    assert all(m.lost == 0 for m in messages)
    frames = [m.frame for m in messages]
    assert frames == sorted(frames)


def test_a_worker_that_grows_is_replaced_without_losing_a_frame(
    faulty: Callable[..., Faulty],
) -> None:
    one = faulty("max_memory_mib = 180", 30_000)  # a leak takes its time
    before = one.workers()
    end = time.monotonic() + 30
    while one.workers() == before:
        assert time.monotonic() < end, one.daemon.log
        one.fault("leak")
        time.sleep(0.3)
    messages = detections(one.wait(lambda m: isinstance(m, DetectionsMessage) and len(m) > 0))
    assert messages
    assert "is replaced" in one.daemon.log
    assert "was killed" not in one.daemon.log
    assert "no worker is ready" not in one.daemon.log


@pytest.mark.parametrize("fault", ["", "hang"])
def test_workers_end_with_a_daemon_that_is_killed(
    faulty: Callable[..., Faulty], fault: str
) -> None:
    one = faulty()
    (worker,) = one.workers()
    if fault:
        one.fault(fault)
    one.daemon.stop(signal.SIGKILL)
    end = time.monotonic() + 2
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < end, "the worker outlives the daemon"
        time.sleep(0.02)


def test_a_hanging_worker_does_not_keep_the_daemon_from_ending(
    faulty: Callable[..., Faulty],
) -> None:
    one = faulty()
    one.fault("hang")
    begin = time.monotonic()
    assert one.daemon.stop() == 0
    assert time.monotonic() - begin < 10  # a hang would be an hour


def test_a_worker_that_never_loads_does_not_keep_the_daemon_from_ending(
    faulty: Callable[..., Faulty],
) -> None:
    one = faulty()
    (before,) = one.workers()
    testing.inject(one.order, "load-hang")
    os.kill(before, signal.SIGKILL)
    end = time.monotonic() + 20
    while one.order.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    (loading,) = one.workers()
    assert one.daemon.stop(timeout_s=15) == 0  # its load_deadline_s is 20
    assert not Path(f"/proc/{loading}").exists()


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("fault", ["load-hang", "hang"])
def test_nobody_who_is_to_stop_waits_for_the_npu(
    daemon: Start,
    endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    isolation: str,
    fault: str,
) -> None:
    order, config = tmp_path / "fault", tmp_path / "config.toml"
    monkeypatch.setenv(testing.FILE, str(order))
    config.write_text(
        f'[backend]\nname = "runtime.testing:FaultyBackend"\nisolation = "{isolation}"\n'
        f'deadline_ms = 600_000\nload_deadline_s = 600\n[publish]\nendpoint = "{endpoint}"\n'
    )
    testing.inject(order, fault)
    started = daemon("--config", str(config))
    end = time.monotonic() + 30
    while order.exists():
        assert time.monotonic() < end, started.log
        time.sleep(0.02)
    assert started.stop(timeout_s=15) == 0
    assert "Traceback" not in started.log
    assert list(Path(endpoint.removeprefix("ipc://")).parent.iterdir()) == []


def test_a_model_that_does_not_load_at_all_is_one_line(
    daemon: Start, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(testing.FILE, str(tmp_path / "fault"))
    config = tmp_path / "config.toml"
    config.write_text(
        '[backend]\nname = "runtime.testing:FaultyBackend"\nisolation = "process"\n'
        f'load_deadline_s = 3\n[publish]\nendpoint = "{endpoint}"\n'
    )
    for fault, said in {
        "load-error": "npud: error: the model is refused, as ordered\n",
        "load-crash": "died of SIGSEGV while it loaded the model\n",
        "load-hang": "expected the model to be loaded within 3 s\n",
    }.items():
        testing.inject(tmp_path / "fault", fault)
        started = daemon("--config", str(config))
        assert started.process.wait(20) == 1
        assert started.log.endswith(said)
        assert started.log.count("\n") == 1


def test_nothing_grows_over_many_recoveries(faulty: Callable[..., Faulty]) -> None:
    """The long version, a thousand recoveries, is benchmarks/faults.py."""
    one = faulty()
    process = Path(f"/proc/{one.daemon.process.pid}")

    def crash(times: int) -> tuple[int, int, int]:
        for _ in range(times):
            one.fault("crash")
            one.wait(lambda m: isinstance(m, DetectionsMessage))
        one.wait(lambda m: isinstance(m, StatusMessage) and m.state == "ok")
        rss = one.daemon.rss_kib()
        return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir())), rss

    fds, threads, rss = crash(3)
    more_fds, more_threads, more_rss = crash(8)
    assert more_fds <= fds + 1  # a leak would be one for each
    assert more_threads <= threads + 1
    assert more_rss < rss + 60_000  # the allocator takes up to 45 MiB until it has its plateau
