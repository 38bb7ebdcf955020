"""Metrics, health checks and the HTTP server that gives them."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from npud import CompareMessage, Detections, DetectionsMessage, StatusMessage
from npud.errors import BackendUnavailable, ConfigError, PublishError
from runtime import board_state, bundled, config, health, logs, web
from runtime.control.client import ask
from runtime.detector import Timing, read_model
from runtime.engine import Engine
from runtime.frame import Frame
from runtime.health import Health
from runtime.histogram import BOUNDS_S, Histogram
from runtime.metrics import Collector, Exposition
from runtime.pipeline import Pipeline
from runtime.publish import Silence
from runtime.recording.backlog import Backlog
from runtime.stats import FAILURES, CameraStats
from runtime.web import Answer, WebServer, health_pages
from runtime.workers.state import WorkerState
from tests.conftest import ROOT, Daemon
from tests.test_daemon import STREET, receive

Start = Callable[..., Daemon]
TIMING = {"wait": 1, "preprocess": 300, "inference": 20_000, "postprocess": 40}


class Nothing:
    """A detector that finds nothing, of a worker process that there is not."""

    def __init__(self) -> None:
        self.files = read_model(config.Model(path=str(bundled.MODEL)))
        self.seen = 0
        self.wrong = ""

    def problem(self) -> str:
        return self.wrong

    def doubt(self) -> str:
        return ""

    def runs_on(self) -> str:
        return "onnx"

    def worker(self) -> WorkerState:
        return WorkerState(0, 4711, 2, 1, 64, "")

    def detect(self, frame: Frame) -> tuple[Detections, Timing]:
        self.seen += 1
        return Detections.empty(), Timing(100, 2_000, 30)


def idle_pipeline(*, every_frame: bool = False, **camera: Any) -> tuple[Pipeline, Nothing]:
    """A pipeline of two cameras that is not started."""
    detector = Nothing()
    cameras = {name: config.Camera(url=STREET, **camera) for name in ("front", "gate")}
    engine = Engine(detector.files, [detector])  # type: ignore[list-item]
    publish = config.Publish()
    return Pipeline(cameras, engine, Silence(), publish, every_frame=every_frame), detector


def board(folder: Path) -> Path:
    """Files as on an RK3588 that is slowed down, and of the RDK's BPU."""
    files = {
        "class/thermal/thermal_zone0/type": "npu-thermal\n",
        "class/thermal/thermal_zone0/temp": "86250\n",
        "class/thermal/cooling_device1/type": "thermal-devfreq-0\n",
        "class/thermal/cooling_device1/cur_state": "3\n",
        "class/thermal/cooling_device1/max_state": "9\n",
        "class/thermal/cooling_device2/type": "pwm-fan\n",  # cannot be read: left out
        "class/devfreq/fdab0000.npu/cur_freq": "700000000\n",
        "devices/system/cpu/cpufreq/policy4/scaling_cur_freq": "1608000\n",
        "devices/system/bpu/bpu0/ratio": "93\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in parse(text)}


def values(family: Metric, *labels: str) -> dict[tuple[str, ...], float]:
    return {tuple(s.labels[label] for label in labels): s.value for s in family.samples}


@pytest.fixture
def everything(tmp_path: Path) -> Iterator[dict[str, Metric]]:
    """All families that there are, by the name that has no suffix."""
    pipeline, _ = idle_pipeline()
    told = CompareMessage(
        camera="front", session=1, seq=0, published_ns=0, mode="shadow", model_a="a@0",
        model_b="b@0", frames=200, skipped=3, values={"only_a": 1.5}, low={"only_a": 0.5},
        high={"only_a": 2.5},
    )  # fmt: skip
    pipeline.live = SimpleNamespace(latest=[told])  # type: ignore[assignment]
    backlog = Backlog(config.Record(enabled=True, folder=str(tmp_path / "kept")))
    collector = Collector(pipeline, backlog, board(tmp_path / "sys"))
    yield {family.name: family for family in collector.collect()}
    backlog.close()


# --- what is told ---------------------------------------------------------------------------------


def test_a_histogram_counts_as_numpy_does() -> None:
    durations_us = np.random.default_rng(0).integers(0, 1_500_000, 2000)
    durations_us[:20] = np.array(BOUNDS_S)[np.arange(20) % len(BOUNDS_S)] * 1e6  # on the bounds
    histogram = Histogram()
    for duration in durations_us:
        histogram.add(int(duration))
    counted = histogram.read()
    expected = [int((durations_us <= round(bound * 1e6)).sum()) for bound in BOUNDS_S]
    assert counted.at_most == (*expected, len(durations_us))
    assert counted.sum_s == pytest.approx(durations_us.sum() / 1e6)


def test_what_was_counted_is_told(tmp_path: Path) -> None:
    pipeline, detector = idle_pipeline()
    stats = pipeline._cameras["front"].stats
    for _ in range(9):
        stats.capture(640, 480)
    for latency in (15_000, 45_000, 2_000_000):
        stats.publish(latency, TIMING)
    stats.drop()
    stats.inference_failed("as it happens")
    stats.late(300_000, 200)
    text = b"".join(Exposition(pipeline, None).page("")[1:]).decode()
    found = families(text)
    assert values(found["npud_frames_captured"], "camera") == {("front",): 9, ("gate",): 0}
    assert values(found["npud_frames_published"], "camera")[("front",)] == 3
    dropped = values(found["npud_frames_dropped"], "camera", "reason")
    assert {r: n for (c, r), n in dropped.items() if c == "front"} == {
        "busy": 1,
        "error": 1,
        "late": 1,
    }
    age = {
        s.labels["le"]: s.value
        for s in found["npud_frame_age_seconds"].samples
        if s.name.endswith("_bucket") and s.labels["camera"] == "front"
    }
    assert (age["0.01"], age["0.02"], age["0.05"], age["1.0"], age["+Inf"]) == (0, 1, 2, 2, 3)
    sums = {
        s.labels["stage"]: s.value
        for s in found["npud_stage_seconds"].samples
        if s.name.endswith("_sum") and s.labels["camera"] == "front"
    }
    assert sums == pytest.approx({k: 3 * v / 1e6 for k, v in TIMING.items()})
    (info,) = found["npud_model_info"].samples
    assert f"{info.labels['name']}@{info.labels['digest']}" == detector.files.name
    assert values(found["npud_worker_restarts"], "worker") == {("0",): 2}
    assert found["process_resident_memory_bytes"].samples[0].value > 1e6
    kind, modern = Exposition(pipeline, None).page("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert {f.name for f in openmetrics(modern.decode())} >= {"npud_frames_captured", "npud_alarms"}


def test_what_a_slowed_down_board_tells(everything: dict[str, Metric], tmp_path: Path) -> None:
    assert values(everything["npud_temperature_celsius"], "zone") == {("npu-thermal",): 86.25}
    assert values(everything["npud_clock_hertz"], "clock") == {("npu",): 7e8, ("policy4",): 1.608e9}
    assert values(everything["npud_npu_load_ratio"], "core") == {("0",): 0.93}
    state = values(everything["npud_cooling_state"], "device", "type")
    assert state == {("1", "thermal-devfreq-0"): 3}
    load = tmp_path / "sys/kernel/debug/rknpu/load"
    load.parent.mkdir(parents=True)
    load.write_text("NPU load:  Core0: 12%, Core1:  0%, Core2: 100%,\n")
    assert board_state.npu_load(tmp_path / "sys") == {"0": 0.12, "1": 0.0, "2": 1.0}
    load.write_text("NPU load:  7%\n")  # an NPU with one core
    assert board_state.npu_load(tmp_path / "sys") == {"0": 0.07}
    assert board_state.clocks_hz(tmp_path / "no") == {}


def test_each_alarm_is_counted_once_when_it_begins() -> None:
    stats = CameraStats()
    stats.capture(1, 1)
    stats.publish(1, TIMING)
    for _ in range(2):
        for _ in range(FAILURES + 2):
            stats.inference_failed("no")
            stats.state()
        stats.publish(1, TIMING)
        stats.state()
    stats.source_failed("unplugged")
    stats.state()
    stats.state("the model is doubted")  # the camera's own trouble goes first
    told = {kind: count for kind, count in stats.tally().alarms.items() if count}
    assert told == {"inference": 2, "source": 1}


def test_the_page_lists_every_metric_and_no_other(everything: dict[str, Metric]) -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(npud_\w+)` \| (\w+) \| ?([^|]*)\|", page, re.M)
    listed = {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}
    told = {}
    for name, family in everything.items():
        labels = [label for label in family.samples[0].labels if label != "le"]
        told[name + "_total" * (family.type == "counter")] = (family.type, labels)
    assert listed == told


def test_names_follow_the_conventions(everything: dict[str, Metric]) -> None:
    """https://prometheus.io/docs/practices/naming/"""
    for name, family in everything.items():
        assert re.fullmatch(r"npud_[a-z_]+", name)
        assert not name.endswith(("_count", "_sum", "_bucket", "_total"))
        assert not re.search(r"_(ms|us|mib|mb|percent)$", name)
        assert family.documentation
        if family.type == "histogram":
            assert name.endswith("_seconds")


# --- frames that are too old ----------------------------------------------------------------------


def frame(age_ms: float, index: int = 0) -> Frame:
    captured_ns = time.time_ns() - round(age_ms * 1e6)
    return Frame(np.zeros((8, 8, 3), np.uint8), "gate", index, captured_ns)


def test_frames_beyond_max_age_are_dropped_counted_and_told() -> None:
    pipeline, detector = idle_pipeline(max_age_ms=10_000)
    stats = pipeline._cameras["gate"].stats
    for index in range(FAILURES + 2):
        stats.capture(8, 8)
        pipeline._detect(detector, frame(20_000, index))  # type: ignore[arg-type]
    assert (detector.seen, stats.published) == (0, 0)
    tally = stats.tally()
    assert tally.dropped == {"busy": 0, "error": 0, "late": FAILURES + 2}
    assert stats.dropped == FAILURES + 2
    state, reason = stats.state()
    assert state == "degraded"
    assert re.fullmatch(r"frames are 200\d\d ms old .*\(max_age_ms = 10000\)", reason)
    pipeline._detect(detector, frame(0, 99))  # type: ignore[arg-type]
    assert (detector.seen, stats.published) == (1, 1)
    assert stats.state() == ("ok", "")
    assert stats.tally().alarms["late"] == 1


def test_no_frame_is_too_old_without_max_age_or_where_every_frame_counts() -> None:
    for settings in ({"max_age_ms": 0}, {"max_age_ms": 10, "every_frame": True}):
        pipeline, detector = idle_pipeline(**settings)  # type: ignore[arg-type]
        pipeline._detect(detector, frame(3_600_000))  # type: ignore[arg-type]
        assert detector.seen == 1


# --- health ---------------------------------------------------------------------------------------


def status(camera: str, captured: int, published: int, state: str = "ok", reason: str = "") -> Any:
    return StatusMessage(
        camera=camera, session=1, seq=0, published_ns=0, state=state, reason=reason, labels=(),  # type: ignore[arg-type]
        model="m@1", manifest="", width=1, height=1, fps=1.0, captured=captured, published=published,
        dropped=0, latency_us={}, timing_us={}, temperatures_c={},
    )  # fmt: skip


def test_ready_means_that_every_required_camera_gives_detections() -> None:
    one = Health(lambda: ["front"])
    assert one.alive()[0]
    assert one.ready() == (
        False,
        {
            "ready": False,
            "main_loop": "ok",
            "cameras": {"front": {"ready": False, "required": True, "reason": "no detections yet"}},
        },
    )
    one.tick([status("front", 0, 0, "starting"), status("gate", 0, 0, "degraded", "no route")])
    assert not one.ready()[0]
    one.tick([status("front", 5, 4), status("gate", 0, 0, "degraded", "no route")])
    ready, why = one.ready()
    assert ready
    assert why["cameras"]["gate"]["reason"] == "degraded: no route"
    one.tick([status("front", 6, 4, "degraded", "unplugged"), status("gate", 1, 1)])
    assert not one.ready()[0]
    gone = Health(lambda: ["front"])
    gone.tick([status("gate", 1, 1)])
    assert not gone.ready()[0]


def test_frames_of_which_none_comes_out_are_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(health.time, "monotonic", lambda: clock[0])
    one = Health(lambda: ["front"])
    for second in range(12):
        one.tick([status("front", 10 + second, 5)])
        clock[0] += 1
    ready, why = one.ready()
    assert not ready
    assert why["cameras"]["front"]["reason"].startswith("frames come, none is published for")
    one.tick([status("front", 30, 6)])
    assert one.ready()[0]


def test_changes_of_state_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    one = Health(lambda: [])
    for state in ("starting", "ok", "degraded", "degraded", "ok", "ok", "stopped"):
        one.tick([status("front", 1, 1, state, "unplugged" if state == "degraded" else "")])
    told = [(r.levelname, r.getMessage(), logs.camera_of(r)) for r in caplog.records]
    assert told == [
        ("WARNING", "camera front: degraded: unplugged", "front"),
        ("INFO", "camera front: ok again", "front"),
    ]


def test_a_main_loop_that_hangs_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(health.time, "monotonic", lambda: clock[0])
    one = Health(lambda: [])
    clock[0] += 1000
    assert one.alive() == (True, {"status": "starting", "seconds": 1000.0})  # a model takes long
    one.tick([])
    assert one.alive()[0]
    clock[0] += health.STALLED_S + 1
    assert one.alive() == (False, {"status": "stalled", "seconds": health.STALLED_S + 1})
    assert not one.ready()[0]


# --- the server -----------------------------------------------------------------------------------


@pytest.fixture
def served() -> Iterator[WebServer]:
    server = WebServer(config.Metrics(listen="127.0.0.1:0"))
    one = Health(lambda: ["front"])
    pages = {
        "/page": lambda accept: Answer(200, "text/plain", f"accept {accept}".encode()),
        "/bug": lambda _: Answer(1 // 0, "", b""),
        "/large": lambda _: Answer(200, "text/plain", b"x" * 30_000_000),
    }
    server.start({**pages, **health_pages(one)})
    yield server
    server.close()
    assert not [t for t in threading.enumerate() if t.name == "web"]


def get(
    server: WebServer, path: str, method: str = "GET", timeout_s: float = 20
) -> tuple[int, str]:
    request = urllib.request.Request(server.url + path, method=method, headers={"Accept": "a/b"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def connected(server: WebServer) -> socket.socket:
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), 20)


def test_pages_are_answered(served: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    assert get(served, "/page?x=1") == (200, "accept a/b")
    assert get(served, "/page", "HEAD") == (200, "")
    assert get(served, "/") == (404, "expected one of /page, /bug, /large, /healthz, /readyz\n")
    assert get(served, "/../etc/passwd")[0] == 404
    assert get(served, "/page", "POST")[0] == 501
    assert get(served, "/healthz")[0] == 200
    code, text = get(served, "/readyz")
    assert (code, json.loads(text)["cameras"]["front"]["ready"]) == (503, False)
    assert get(served, "/bug") == (500, "npud has a bug; its log says more\n")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n", b"\x00\xff\xfe" * 100, b"GET\r\n\r\n", b"GET /page HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET /page HTTP/1.1\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
        b"GET /page HTTP/1.1\r\n" + b"a: " + b"b" * 200_000 + b"\r\n\r\n",
        b"POST /page HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b'{"command": "status"}\n',
    ],
)  # fmt: skip
def test_garbage_ends_nothing(served: WebServer, data: bytes) -> None:
    with connected(served) as one, suppress(OSError):
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)
        received = 0
        while part := one.recv(65536):
            received += len(part)
        assert received < 5000
    assert get(served, "/page")[0] == 200


def test_random_bytes_end_nothing(served: WebServer) -> None:
    generator = random.Random(1)
    for _ in range(100):
        with connected(served) as one, suppress(OSError):
            one.sendall(generator.randbytes(generator.randrange(1, 300)) + b"\r\n\r\n")
    assert get(served, "/page")[0] == 200


def test_slow_clients_neither_stall_it_nor_pile_up(served: WebServer) -> None:
    """Slowloris: more clients than it keeps, each of which always has one more header to send."""
    before = threading.active_count()
    slow = []
    for _ in range(40):
        one = connected(served)
        one.send(b"GET /page HTTP/1.1\r\nx: ")
        slow.append(one)
    for _ in range(3):
        for one in slow:
            with suppress(OSError):
                one.send(b"y")
        assert get(served, "/page")[0] == 200
    assert len(served._server._since) <= web.MAX_CLIENTS
    assert threading.active_count() <= before + web.MAX_CLIENTS + 4  # some are just ending
    for one in slow:
        one.close()


def test_who_takes_too_long_is_cut_off(served: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "DEADLINE_S", 0.5)
    with connected(served) as dribbling, connected(served) as deaf:
        deaf.send(b"GET /large HTTP/1.1\r\n\r\n")
        deadline = time.monotonic() + 30
        with suppress(OSError):
            while time.monotonic() < deadline:
                dribbling.send(b"G")
                time.sleep(0.05)
        while served._server._since:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert get(served, "/page")[0] == 200


def test_many_connects_and_it_answers(served: WebServer) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(150):
        connected(served).close()
    assert get(served, "/page")[0] == 200
    deadline = time.monotonic() + 20
    while len(os.listdir("/proc/self/fd")) > before + 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"listen": "0.0.0.0:0"}, ConfigError, "metrics.listen: 0.0.0.0:0 can be read from other"),
        ({"listen": "[::]:0"}, ConfigError, "can be read from other machines"),
        (
            {"listen": "9109"},
            ConfigError,
            "expected ADDRESS:PORT such as 127.0.0.1:9109, got '9109'",
        ),
        ({"listen": ":9109"}, ConfigError, "expected ADDRESS:PORT"),
        ({"listen": "127.0.0.1:99999"}, ConfigError, "expected ADDRESS:PORT"),
        ({"listen": "no such host.invalid:1"}, PublishError, "cannot listen on no such host"),
        ({"listen": "192.0.2.1:0", "insecure": True}, PublishError, "cannot listen on 192.0.2.1:0"),
    ],
)
def test_an_address_is_refused_in_one_line(
    settings: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=re.escape(message)) as error:
        WebServer(config.Metrics(**settings))
    assert "\n" not in str(error.value)


def test_a_port_in_use_is_refused_and_other_addresses_may_be_allowed(served: WebServer) -> None:
    with pytest.raises(PublishError, match="Address already in use"):
        WebServer(config.Metrics(listen=served.url.removeprefix("http://")))
    WebServer(config.Metrics(listen="0.0.0.0:0", insecure=True)).close()
    for host in ("localhost", "127.0.0.2"):
        WebServer(config.Metrics(listen=f"{host}:0")).close()


def test_without_the_library_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "find_spec", lambda _: None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'npud\[metrics\]'"):
        WebServer(config.Metrics(listen="127.0.0.1:0"))


# --- a real daemon --------------------------------------------------------------------------------


def readiness(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url + "/readyz", timeout=20) as answer:
            told: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        told = json.load(error)
    return told


def test_a_running_daemon_is_ready_and_tells_the_same_as_its_socket(
    daemon: Start, endpoint: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        f'[publish]\nendpoint = "{endpoint}"\n[camera.cam]\nurl = "{STREET}"\n'
        '[backend]\nisolation = "process"\ndeadline_ms = 30000\n'
        '[metrics]\nlisten = "127.0.0.1:0"\n[camera.off]\nurl = "/dev/video250"\nrequired = false\n'
    )
    started = daemon("--config", str(path))
    receive(endpoint, lambda m: isinstance(m, DetectionsMessage) and m.seq > 5)
    found = re.search(r"metrics: (http://127\.0\.0\.1:\d+)/metrics", started.log)
    assert found
    url = found[1]
    deadline = time.monotonic() + 30
    while not (ready := readiness(url))["ready"]:
        assert time.monotonic() < deadline, ready
        time.sleep(0.2)
    assert ready["cameras"]["cam"] == {"ready": True, "required": True, "reason": ""}
    assert not ready["cameras"]["off"]["ready"]
    control = Path(endpoint.removeprefix("ipc://") + ".control")
    before = ask(control, "status", 20)
    with urllib.request.urlopen(url + "/metrics", timeout=20) as answer:
        told = families(answer.read().decode())
    after = ask(control, "status", 20)
    published = values(told["npud_frames_published"], "camera")[("cam",)]
    assert before["cameras"][0]["published"] <= published <= after["cameras"][0]["published"]
    assert values(told["npud_worker_up"], "worker") == {("0",): 1}
    assert values(told["npud_model_info"], "backend") == {("onnx",): 1}  # asked for as "auto"
    assert values(told["npud_camera_state"], "camera", "state")[("off", "degraded")] == 1
    assert values(told["npud_alarms"], "camera", "kind")[("off", "source")] == 1
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    assert started.stop() == 0
