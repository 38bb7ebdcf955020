import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgpack
import pytest

import npud
from npud import HeartbeatLost, StatusMessage, SubscribeError
from npud.wire import encode
from tests.wire_publisher import LABELS, MODEL, Wire

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def endpoint(tmp_path):
    return f"ipc://{tmp_path}/npud"


@pytest.fixture
def wire(endpoint):
    wire = Wire(endpoint)
    yield wire
    wire.close()


def connected(wire, *cameras, status=True, **options):
    """A subscriber that is known to be connected, with the first status already sent."""
    subscriber = npud.subscribe(wire.endpoint, cameras or None, **options)
    for camera in cameras or ("front",):
        until_heard(wire, subscriber, camera)
        if status:
            wire.send(wire.make_status(camera))
    return subscriber


def until_heard(wire, subscriber, camera):
    end = time.monotonic() + 5
    while camera not in subscriber.status:
        assert time.monotonic() < end
        wire.send(wire.make_status(camera, state="starting", model="", labels=()))
        assert subscriber.recv(0.01) is None or "status" in subscriber._selection.kinds


def test_messages_come_in_order_with_labels(wire):
    with connected(wire) as subscriber:
        for _ in range(50):
            wire.send(wire.make_detections())
        got = [subscriber.recv(2) for _ in range(50)]
        assert [message.seq for message in got] == list(range(50))
        assert all(message.labels == LABELS for message in got)
        assert subscriber.labels("front") == LABELS
        assert subscriber.labels("nobody") == ()
        assert subscriber.status["front"].model == MODEL
        assert subscriber.lost == {"front": 0}
        assert subscriber.recv(0) is None


def test_the_readme_example(wire):
    with connected(wire) as subscriber:
        wire.send(wire.make_detections())
        for message in subscriber:
            lines = [
                f"{message.camera} {label} {score:.2f} {box.round()}"
                for label, score, box in message
            ]
            break
    assert lines[0] == "front person 0.90 [ 0.  1. 20. 40.]"


def test_detections_wait_for_their_labels(wire):
    with connected(wire, status=False) as subscriber:
        wire.send(wire.make_detections())
        wire.send(wire.make_detections())
        assert subscriber.recv(0.1) is None
        wire.send(wire.make_status())
        assert subscriber.recv(2).labels == LABELS
        assert subscriber.recv(0).seq == 1


def test_detections_wait_for_labels_only_so_long(wire):
    with connected(wire, status=False, wait_for_labels_s=0.2) as subscriber:
        start = time.monotonic()
        wire.send(wire.make_detections())
        message = subscriber.recv(2)
        assert 0.15 < time.monotonic() - start < 1
        assert message.labels == ()
        assert next(iter(message)).label == "class 0"
        wire.send(wire.make_detections())
        assert subscriber.recv(0.1).seq == 1  # waits once, not for every message


def test_holding_back_is_bounded(wire):
    with connected(wire, status=False, wait_for_labels_s=60) as subscriber:
        for _ in range(300):
            wire.send(wire.make_detections())
        got = []
        while (message := subscriber.recv(0.2)) is not None:
            got.append(message.seq)
        assert got == list(range(300 - 256))


def test_another_models_labels_are_not_used(wire):
    with connected(wire, wait_for_labels_s=0.1) as subscriber:
        wire.send(wire.make_detections(model="other@ba9876543210"))
        assert subscriber.recv(2).labels == ()
        wire.send(wire.make_detections())
        assert subscriber.recv(2).labels == LABELS


def test_gaps_are_counted(wire):
    with connected(wire) as subscriber:
        for seq in (5, 6, 9, 10, 20):
            wire.send(wire.make_detections(seq=seq))
        assert [subscriber.recv(2).lost for _ in range(5)] == [0, 0, 2, 0, 9]
        assert subscriber.lost == {"front": 11}


def test_a_restart_is_no_gap(wire):
    with connected(wire) as subscriber:
        wire.send(wire.make_detections(seq=100))
        assert subscriber.recv(2).lost == 0
        wire.session += 1
        wire.send(wire.make_status(labels=("cat", "dog", "cow")))
        wire.send(wire.make_detections(seq=7))
        message = subscriber.recv(2)
        assert (message.seq, message.lost, message.labels) == (7, 0, ("cat", "dog", "cow"))
        assert subscriber.lost == {"front": 0}


def test_a_real_overflow_is_a_counted_gap(endpoint, wire):
    wire.socket.setsockopt(npud.subscriber.zmq.SNDHWM, 10)
    with connected(wire, receive_buffer=10) as subscriber:
        for _ in range(5000):
            wire.send(wire.make_detections())
        got = 0
        while subscriber.recv(0.2) is not None:
            got += 1
        wire.send(wire.make_detections())
        assert subscriber.recv(2).lost == subscriber.lost["front"] == 5000 - got > 0


def test_cameras_are_matched_exactly(wire):
    with connected(wire, "front") as subscriber:
        for camera in ("front2", "front", "rear", "fron"):
            wire.send(wire.make_detections(camera))
        wire.send(wire.make_detections("front"))
        assert [subscriber.recv(2).camera for _ in range(2)] == ["front", "front"]
        assert subscriber.recv(0.1) is None
        assert set(subscriber.lost) == {"front"}


def test_several_cameras(wire):
    with connected(wire, "front", "rear") as subscriber:
        for camera in ("front", "side", "rear"):
            wire.send(wire.make_detections(camera))
        assert [subscriber.recv(2).camera for _ in range(2)] == ["front", "rear"]


def test_topics_are_yielded_when_asked_for(wire):
    with connected(wire, topics=("status", "frames"), status=False) as subscriber:
        while isinstance(subscriber.recv(0.1), StatusMessage):
            pass
        wire.send(wire.make_detections())
        wire.send(wire.make_frame())
        wire.send(wire.make_status())
        assert [subscriber.recv(2).kind for _ in range(2)] == ["frames", "status"]


def test_silence_is_noticed_and_iteration_can_go_on(wire):
    with connected(wire, heartbeat_timeout_s=0.3) as subscriber:
        start = time.monotonic()
        for _ in range(2):
            with pytest.raises(HeartbeatLost, match=rf"{wire.endpoint}: no message for 0\.\d s: "):
                next(subscriber)
        assert 0.5 < time.monotonic() - start < 2
        wire.send(wire.make_detections())
        assert next(subscriber).seq == 0


def test_polling_notices_silence_too(wire):
    with connected(wire, heartbeat_timeout_s=0.3) as subscriber:
        polls = iter(lambda: subscriber.recv(0.02), "never")
        with pytest.raises(HeartbeatLost):
            list(polls)


def test_a_status_alone_is_a_heartbeat(wire):
    with connected(wire, heartbeat_timeout_s=0.3) as subscriber:
        for _ in range(3):
            assert subscriber.recv(0.15) is None
            wire.send(wire.make_status())


def test_no_heartbeat_no_error(endpoint):
    with npud.subscribe(endpoint, heartbeat_timeout_s=None) as subscriber:
        assert subscriber.recv(0.2) is None


def test_a_missing_camera_is_named(endpoint):
    subscriber = npud.subscribe(endpoint, "front", heartbeat_timeout_s=0.1)
    with subscriber, pytest.raises(HeartbeatLost, match=r"from camera front .*does not exist"):
        next(subscriber)


def test_a_daemon_that_comes_later_is_found(endpoint):
    with npud.subscribe(endpoint) as subscriber:
        assert subscriber.recv(0.1) is None
        wire = Wire(endpoint)
        until_heard(wire, subscriber, "front")
        wire.close()


def test_each_bad_message_is_one_error(wire):
    with connected(wire) as subscriber:
        topic, payload = encode(wire.make_detections(seq=0))
        good = wire.make_detections(seq=1)
        version_2 = msgpack.packb(msgpack.unpackb(payload) | {"v": 2})
        bad = [
            [topic, payload[:40]],
            [topic, version_2],
            [topic],
            [topic, payload, b"more"],
            [topic, b"\xdd\xff\xff\xff\xff"],
            [b"detections/a b", payload],
            [b"detections/rear", payload],
        ]
        for parts in bad:
            wire.socket.send_multipart(parts)
            wire.send(good)
        for _ in bad:
            with pytest.raises(SubscribeError, match="expected"):
                next(subscriber)
            assert next(subscriber).seq == 1
        assert subscriber.recv(0.05) is None


def test_endless_camera_names_do_not_fill_the_memory(wire):
    with connected(wire) as subscriber:
        for n in range(300):
            wire.send(wire.make_status(f"made-up-{n}"))
        with pytest.raises(SubscribeError, match="at most 256 cameras"):
            subscriber.recv(1)


@pytest.mark.parametrize(
    ("endpoint", "options"),
    [
        ("front", {}),
        ("tcp://nowhere", {}),
        ("ipc://", {}),
        ("ipc:///x", {"cameras": "a/b"}),
        ("ipc:///x", {"cameras": []}),
        ("ipc:///x", {"topics": "detections"}),
        ("ipc:///x", {"topics": ("detection",)}),
        ("ipc:///x", {"topics": ()}),
        ("ipc:///x", {"receive_buffer": 0}),
        ("ipc:///x", {"heartbeat_timeout_s": 0}),
    ],
)
def test_wrong_arguments_are_named(endpoint, options):
    with pytest.raises(SubscribeError, match="expected"):
        npud.subscribe(endpoint, **options)


def test_closing_ends_iteration(wire):
    subscriber = connected(wire)
    wire.send(wire.make_detections())
    for _ in subscriber:
        subscriber.close()
    subscriber.close()
    with pytest.raises(SubscribeError, match="closed"):
        subscriber.recv()


def test_a_shared_context_is_left_open(wire):
    context = npud.subscriber.zmq.Context()
    npud.subscribe(wire.endpoint, context=context).close()
    assert not context.closed
    context.term()


def test_ctrl_c_works_at_once(endpoint):
    code = f"import npud\nprint('go', flush=True)\nnext(npud.subscribe({endpoint!r}))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    process.stdout.readline()
    time.sleep(0.3)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=5)
    assert time.monotonic() - start < 1
    assert b"KeyboardInterrupt" in errors
