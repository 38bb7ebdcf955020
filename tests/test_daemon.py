"""The daemon as it runs on a board: a real process, real sockets, real subscribers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import npud
from npud import DetectionsMessage, FrameMessage, StatusMessage
from npud.errors import ControlError
from runtime.control.client import ask
from runtime.scenes import Street
from tests.conftest import ROOT, Daemon
from tests.test_cli import iou

Start = Callable[..., Daemon]
STREET = "synthetic:street?seed=3&size=640x480&fps=30"


def receive(
    endpoint: str, until: Callable[[npud.Message], bool], timeout_s: float = 90
) -> list[npud.Message]:
    """All messages up to the first that `until` accepts."""
    got: list[npud.Message] = []
    deadline = time.monotonic() + timeout_s
    topics = ("detections", "status", "frames")
    with npud.subscribe(endpoint, topics=topics, heartbeat_timeout_s=None) as subscriber:
        while time.monotonic() < deadline:
            message = subscriber.recv(timeout_s=0.5)
            if message is not None:
                got.append(message)
                if until(message):
                    return got
    pytest.fail(f"not received within {timeout_s} s; got {len(got)} messages")


def detections(messages: list[npud.Message]) -> list[DetectionsMessage]:
    return [m for m in messages if isinstance(m, DetectionsMessage)]


def test_what_the_generated_camera_shows_is_found(daemon: Start, endpoint: str) -> None:
    started = daemon("-e", endpoint, "--every-frame", "-s", f"cam={STREET}&frames=200")
    messages = detections(
        receive(endpoint, lambda m: isinstance(m, DetectionsMessage) and m.seq == 199)
    )
    assert started.process.wait(10) == 0, started.log
    street = Street(3, (640, 480))
    hits = total = 0
    for message in messages:
        _, truth = street.frame(message.frame)
        for box, class_id in zip(truth.boxes, truth.class_ids):
            total += 1
            hits += any(
                c == class_id and iou(list(b), box) > 0.5
                for b, c in zip(message.boxes, message.class_ids)
            )
    assert total > 20
    assert hits >= 0.8 * total


def test_every_frame_of_files_is_published_once_in_order(daemon: Start, endpoint: str) -> None:
    sources = ("-s", f"a={STREET}&frames=300", "-s", f"b={STREET}&frames=200")
    last = {"a": 299, "b": 199}
    seen: dict[str, list[tuple[int, int]]] = {"a": [], "b": []}
    ended: dict[str, str] = {}

    def until(message: npud.Message) -> bool:
        if isinstance(message, DetectionsMessage):
            seen[message.camera].append((message.seq, message.frame))
        if isinstance(message, StatusMessage) and message.state == "stopped":
            ended[message.camera] = message.reason
        return len(ended) == 2

    started = daemon("-e", endpoint, "--every-frame", *sources)
    receive(endpoint, until)
    assert started.process.wait(10) == 0, started.log
    for camera, pairs in seen.items():
        first = pairs[0][0]  # those before the subscriber came are gone
        assert pairs == [(i, i) for i in range(first, last[camera] + 1)]
    assert "ended after 300 frames" in ended["a"]


def test_a_slow_model_drops_frames_and_counts_them(daemon: Start, endpoint: str) -> None:
    started = daemon("-e", endpoint, "-s", "fast=synthetic:street?seed=1&size=320x240&fps=500")

    def until(message: npud.Message) -> bool:
        if isinstance(message, DetectionsMessage) and message.frame > 300:
            started.process.terminate()
        return isinstance(message, StatusMessage) and message.state == "stopped"

    messages = receive(endpoint, until)
    published = detections(messages)
    assert all(m.lost == 0 for m in published)
    assert [m.seq - published[0].seq for m in published] == list(range(len(published)))
    assert published[-1].dropped > published[0].dropped
    end = messages[-1]
    assert isinstance(end, StatusMessage)
    # every captured frame was published or dropped, but one that may still have waited
    assert end.captured - end.published - end.dropped in (0, 1)


def test_a_maximum_rate_is_kept(daemon: Start, endpoint: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    url = "synthetic:street?seed=1&size=320x240&fps=50"
    config.write_text(f'[camera.cam]\nurl = "{url}"\nmax_fps = 8\n')
    daemon("--config", str(config), "-e", endpoint)
    messages = detections(
        receive(endpoint, lambda m: isinstance(m, DetectionsMessage) and m.seq > 24)
    )
    seconds = (messages[-1].captured_ns - messages[0].captured_ns) / 1e9
    assert len(messages) - 2 <= 8 * seconds  # the first may have come late
    assert [m.frame for m in messages] == list(range(messages[0].frame, messages[-1].frame + 1))


def test_a_late_joiner_has_labels_and_pictures_at_once(daemon: Start, endpoint: str) -> None:
    daemon("-e", endpoint, "-s", f"cam={STREET}", "--frames")
    receive(endpoint, lambda m: isinstance(m, DetectionsMessage))
    joined = time.monotonic()
    messages = receive(endpoint, lambda m: isinstance(m, DetectionsMessage) and bool(m.labels))
    assert time.monotonic() - joined < 1.5
    messages = receive(endpoint, lambda m: isinstance(m, FrameMessage))
    picture = messages[-1]
    assert isinstance(picture, FrameMessage)
    pixels = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
    expected, _ = Street(3, (640, 480)).frame(picture.frame)
    assert np.abs(pixels.astype(int) - expected).mean() < 8


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
@pytest.mark.parametrize(
    ("options", "why"), [("ro", "Read-only file system"), ("size=16k", "No space left on device")]
)
def test_a_disk_that_is_full_or_read_only_does_not_stop_detection(
    daemon: Start, endpoint: str, tmp_path: Path, options: str, why: str
) -> None:
    disk, config = tmp_path / "disk", tmp_path / "config.toml"
    disk.mkdir()
    config.write_text(f'[record]\nenabled = true\nfolder = "{disk}/recordings"\n')
    mount = f'mount -t tmpfs -o {options} tmpfs "{disk}" && exec "$@"'
    wrapper = ("unshare", "--mount", "sh", "-c", mount, "sh")
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode:
        pytest.skip("mount namespaces are not allowed here")
    started = daemon("-c", str(config), "-e", endpoint, "-s", f"cam={STREET}", wrapper=wrapper)
    receive(endpoint, lambda m: isinstance(m, DetectionsMessage))
    control = Path(endpoint.removeprefix("ipc://") + ".control")
    while not ask(control, "status", 60)["recording"]["frames"]:
        time.sleep(0.1)
    with pytest.raises(ControlError, match=why):
        ask(control, "record", 60)
    (message,) = receive(endpoint, lambda m: isinstance(m, DetectionsMessage))[-1:]
    receive(endpoint, lambda m: isinstance(m, DetectionsMessage) and m.seq > message.seq + 5)
    assert started.stop() == 0, started.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_two_seconds_and_leaves_nothing(
    daemon: Start, endpoint: str, number: int
) -> None:
    started = daemon("-e", endpoint, "-s", f"a={STREET}", "-s", f"b={STREET}")
    receive(endpoint, lambda m: isinstance(m, DetectionsMessage))
    begin = time.monotonic()
    started.process.send_signal(number)  # twice, as timeout(1) does
    assert started.stop(number) == 0, started.log
    assert time.monotonic() - begin < 10  # npud wants 2 s; the machine may want more
    assert list(Path(endpoint.removeprefix("ipc://")).parent.iterdir()) == []
    assert "Traceback" not in started.log


def test_after_a_kill_the_next_one_starts(daemon: Start, endpoint: str) -> None:
    for _ in range(2):
        started = daemon("-e", endpoint, "-s", f"cam={STREET}")
        receive(endpoint, lambda m: isinstance(m, DetectionsMessage))
        started.stop(signal.SIGKILL)
    assert started.process.returncode == -signal.SIGKILL


def test_the_same_endpoint_twice_is_refused_and_the_first_goes_on(
    daemon: Start, endpoint: str
) -> None:
    first = daemon("-e", endpoint, "-s", f"cam={STREET}")
    receive(endpoint, lambda m: isinstance(m, DetectionsMessage))
    second = daemon("-e", endpoint, "-s", f"cam={STREET}")
    assert second.process.wait(10) == 1
    assert second.log == (
        f"npud: error: publish.endpoint: {endpoint} is in use: another npud runs there; "
        "stop it or choose another endpoint\n"
    )
    receive(endpoint, lambda m: isinstance(m, DetectionsMessage))
    assert first.process.poll() is None


def test_a_tcp_port_in_use_is_refused(daemon: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        started = daemon("-e", endpoint, "-s", f"cam={STREET}")
        assert started.process.wait(10) == 1
        assert f"{endpoint} is in use" in started.log


def test_a_foreign_listener_keeps_its_socket(daemon: Start, endpoint: str) -> None:
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(endpoint.removeprefix("ipc://"))
        taken.listen()
        started = daemon("-e", endpoint, "-s", f"cam={STREET}")
        assert started.process.wait(10) == 1
        assert "is in use" in started.log
    assert Path(endpoint.removeprefix("ipc://")).exists()


def test_a_file_that_is_no_socket_is_left_alone(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("do not delete")
    code, _, err = command("run", "-e", f"ipc://{precious}")
    assert code == 1
    assert err.endswith("exists and is not a socket\n")
    assert precious.read_text() == "do not delete"


@pytest.mark.skipif(sys.platform != "linux", reason="setpriv is Linux's")
def test_no_permission_on_the_path_is_one_line(daemon: Start, tmp_path: Path) -> None:
    if subprocess.run(["setpriv", "--reuid=65534", "true"], capture_output=True).returncode:
        pytest.skip("needs root, to become somebody else")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    code = (
        "import os, sys\n"
        "import runtime.service, runtime.cli.run, runtime.backends.onnx, zmq, cv2\n"
        "os.setuid(65534)\n"
        f"sys.argv = ['npud', 'run', '-e', 'ipc://{closed}/x']\n"
        "from runtime.cli import main; main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        f"npud: error: publish.endpoint: cannot bind ipc://{closed}/x: Permission denied"
    )


def test_a_video_that_ends_is_said(daemon: Start, endpoint: str) -> None:
    started = daemon("-e", endpoint, "-s", f"cam={STREET}&frames=5")
    assert started.process.wait(10) == 1
    assert "npud: error: camera.cam.url: synthetic:street" in started.log
    assert "ended after 5 frames" in started.log
    assert "Traceback" not in started.log


def test_a_stopped_subscriber_costs_nobody_a_message(daemon: Start, endpoint: str) -> None:
    """That it does not slow down is measured: benchmarks/slow_subscriber.py."""
    started = daemon("-e", endpoint, "-s", f"cam={STREET}", "--frames")
    receive(endpoint, lambda m: isinstance(m, DetectionsMessage))
    listen = [sys.executable, "examples/subscribe.py", endpoint]
    with subprocess.Popen(listen, cwd=ROOT, stdout=subprocess.PIPE) as stuck:
        assert stuck.stdout is not None
        stuck.stdout.readline()
        stuck.send_signal(signal.SIGSTOP)
        try:
            before = started.rss_kib()
            got = detections(
                receive(endpoint, lambda m: isinstance(m, DetectionsMessage) and m.seq > 150)
            )
            assert all(m.lost == 0 for m in got)
            assert started.rss_kib() - before < 60_000  # send_buffer × a picture, at most
        finally:
            stuck.kill()
