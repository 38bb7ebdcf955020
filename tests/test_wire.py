import json
import re
import time
from dataclasses import replace
from pathlib import Path

import msgpack
import numpy as np
import pytest

from npud import Detections, PublishError, SubscribeError
from npud.endpoints import endpoint_problem, silence_hint
from npud.wire import decode, encode, new_session, topic_of, valid_camera_name
from tests.wire_publisher import LABELS, MODEL, Wire, detections


@pytest.fixture(scope="module")
def wire():
    wire = Wire("inproc://test-wire")
    yield wire
    wire.close()


def repacked(message, *, drop=(), **changes):
    """The parts of a message with keys changed, added or left out."""
    topic, payload = encode(message)
    values = msgpack.unpackb(payload) | changes
    for key in drop:
        del values[key]
    return topic, msgpack.packb(values)


def test_detections_survive_the_wire(wire):
    sent = wire.make_detections("cam-1.a_B", variant="b", dropped=4)
    parts = encode(sent)
    assert parts[0] == b"detections/cam-1.a_B"
    got = decode(parts)
    for name in ("camera", "session", "seq", "frame", "captured_ns", "published_ns", "width"):
        assert getattr(got, name) == getattr(sent, name)
    assert (got.height, got.model, got.variant, got.dropped) == (1080, MODEL, "b", 4)
    assert got.timing_us == sent.timing_us
    assert (got.boxes.dtype, got.scores.dtype, got.class_ids.dtype) == ("f4", "f4", "i4")
    np.testing.assert_array_equal(got.boxes, sent.boxes)
    np.testing.assert_array_equal(got.scores, sent.scores)
    np.testing.assert_array_equal(got.class_ids, sent.class_ids)
    assert (got.labels, got.lost) == ((), 0)


def test_the_wire_has_exactly_the_documented_keys(wire):
    keys = {
        message.kind: set(msgpack.unpackb(encode(message)[1]))
        for message in (wire.make_detections(), wire.make_status(), wire.make_frame())
    }
    common = {"v", "session", "camera", "seq"}
    assert keys["detections"] == common | {
        *("frame", "captured_ns", "published_ns", "width", "height", "model", "variant"),
        *("timing_us", "dropped", "boxes", "scores", "class_ids"),
    }
    assert keys["status"] == common | {
        *("published_ns", "state", "reason", "labels", "model", "manifest", "width", "height"),
        *("fps", "captured", "published", "dropped"),
        *("latency_us", "timing_us", "temperatures_c"),
    }
    assert keys["frames"] == common | {"frame", "captured_ns", "width", "height", "jpeg"}


def test_boxes_and_scores_travel_as_float32(wire):
    sizes = [len(encode(wire.make_detections(seq=9, detections=detections(n)))[1]) for n in (0, 10)]
    assert sizes[1] - sizes[0] == 10 * (1 + 4 * 5 + 5 + 1)


def test_an_empty_frame_is_a_message(wire):
    got = decode(encode(wire.make_detections(detections=Detections.empty())))
    assert (got.boxes.shape, got.scores.shape, got.class_ids.shape) == ((0, 4), (0,), (0,))
    assert (got.boxes.dtype, got.class_ids.dtype) == ("f4", "i4")
    assert len(got) == 0
    assert got
    assert list(got) == []


def test_iteration_gives_label_score_box(wire):
    message = replace(wire.make_detections(), labels=LABELS)
    assert [found.label for found in message] == ["person", "person", "car"]
    label, score, box = next(iter(message))
    assert (label, round(score, 3), box.round().tolist()) == ("person", 0.9, [0, 1, 20, 40])
    assert [found.label for found in wire.make_detections()] == ["class 0", "class 0", "class 2"]


def test_age_is_counted_from_capture(wire):
    message = wire.make_detections(captured_ns=1_000_000_000)
    assert message.age_ms(1_012_500_000) == 12.5
    assert wire.make_detections(captured_ns=time.time_ns()).age_ms() < 1000


def test_to_dict_is_json(wire):
    message = replace(wire.make_detections(), labels=LABELS, lost=2)
    plain = json.loads(json.dumps(message.to_dict()))
    assert plain["topic"] == "detections/front"
    assert (plain["lost"], plain["seq"], plain["timing_us"]["inference"]) == (2, message.seq, 9800)
    assert plain["detections"][2] == {
        "label": "car",
        "class_id": 2,
        "score": 0.3,
        "box": [20.0, 21.0, 40.5, 60.25],
    }
    status = json.loads(json.dumps(wire.make_status().to_dict()))
    assert (status["topic"], status["labels"]) == ("status/front", list(LABELS))
    assert json.loads(json.dumps(wire.make_frame().to_dict()))["jpeg"] == "/9j/2Q=="


def test_to_supervision(wire):
    pytest.importorskip("supervision")
    converted = replace(wire.make_detections(), labels=LABELS).to_supervision()
    assert converted.xyxy.shape == (3, 4)
    assert converted.data["class_name"].tolist() == ["person", "person", "car"]


def test_status_and_frame_survive_the_wire(wire):
    for sent in (wire.make_frame(), wire.make_status(labels=())):
        assert decode(encode(sent)) == sent


def test_fields_added_later_are_ignored(wire):
    message = wire.make_detections()
    parts = repacked(message, mask=[[1, 2]], timing_us={**message.timing_us, "encode": "soon"})
    assert decode(parts).timing_us == message.timing_us


@pytest.mark.parametrize("key", ["v", "session", "camera", "seq", "boxes", "scores", "timing_us"])
def test_a_missing_key_is_named(wire, key):
    with pytest.raises(SubscribeError, match=rf'detections/front: key "{key}": .* missing'):
        decode(repacked(wire.make_detections(), drop=[key]))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("v", "1"),
        ("seq", "7"),
        ("seq", -1),
        ("seq", 1.0),
        ("seq", True),
        ("session", None),
        ("camera", 5),
        ("camera", "rear"),
        ("model", b"bytes"),
        ("timing_us", []),
        ("timing_us", {"wait": 1, "preprocess": 2, "inference": 3, "postprocess": "4"}),
        ("boxes", [[0, 0, 1, 1]] * 2),  # scores and class_ids have three
        ("boxes", [[0, 0, 1]] * 3),
        ("boxes", [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1]]),
        ("boxes", [["0", "0", "1", "1"]] * 3),
        ("boxes", [[[0, 0, 1, 1]]] * 3),
        ("boxes", [[0, 0, 1, float("nan")]] * 3),
        ("boxes", [[0, 0, 1, 1e300]] * 3),
        ("boxes", "abc"),
        ("boxes", {}),
        ("scores", [0.5, 0.5]),
        ("scores", [0.5, 0.5, None]),
        ("scores", [0.5, 0.5, float("inf")]),
        ("scores", ["0.5", "0.5", "0.5"]),
        ("scores", [True, False, True]),
        ("class_ids", [0, 1, 2.0]),
        ("class_ids", [0, 1, -1]),
        ("class_ids", [0, 1, 2**31]),
        ("class_ids", [0, 1, 2**64 - 1]),
        ("class_ids", [0, 1, [2]]),
        ("class_ids", [0, 1, msgpack.Timestamp(1)]),
        ("class_ids", [0, 1, msgpack.ExtType(5, b"x")]),
    ],
)
def test_a_wrong_value_is_refused_and_named(wire, key, value):
    with pytest.raises(SubscribeError, match=r'detections/front: key "\w+(\.\w+)?": expected .*'):
        decode(repacked(wire.make_detections(), **{key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("state", "fine"),
        ("state", ["ok"]),
        ("labels", "person"),
        ("labels", ["person", 3]),
        ("fps", "30"),
        ("fps", float("nan")),
        ("latency_us", {"p50": 1}),
        ("temperatures_c", {"soc": "hot"}),
        ("temperatures_c", [51]),
    ],
)
def test_a_wrong_status_is_refused(wire, key, value):
    with pytest.raises(SubscribeError, match=f'status/front: key "{key}'):
        decode(repacked(wire.make_status(), **{key: value}))


def test_another_version_is_refused_by_name(wire):
    with pytest.raises(SubscribeError, match=r'key "v": expected 1, .* got 2'):
        decode(repacked(wire.make_detections(), v=2, boxes="a new layout"))


def test_error_messages_stay_short(wire):
    with pytest.raises(SubscribeError) as caught:
        decode(repacked(wire.make_detections(), model=["x" * 100_000]))
    assert len(str(caught.value)) < 200


def test_every_truncation_is_refused(wire):
    topic, payload = encode(wire.make_detections())
    for length in range(len(payload)):
        with pytest.raises(SubscribeError):
            decode([topic, payload[:length]])
    with pytest.raises(SubscribeError):
        decode([topic, payload + b"\x00"])


def test_random_damage_is_refused_or_well_typed(wire):
    topic, payload = encode(wire.make_detections())
    random = np.random.default_rng(7)
    for _ in range(3000):
        damaged = bytearray(payload)
        for at in random.integers(0, len(payload), random.integers(1, 6)):
            damaged[at] = random.integers(0, 256)
        try:
            got = decode([topic, bytes(damaged)])
        except SubscribeError:
            continue
        assert got.boxes.shape == (len(got.scores), 4)
        assert got.class_ids.shape == got.scores.shape
        json.dumps(got.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b"\xc1",
        b"\x01",
        b"\x90",
        b"\xdd\xff\xff\xff\xff",  # an array of 2**32 - 1
        b"\xdf\xff\xff\xff\xff",  # a map of 2**32 - 1
        b"\xc6\xff\xff\xff\xff",  # 4 GiB of bytes
        b"\x91" * 100_000,  # nested a hundred thousand deep
        b"\x81\x90\x01",  # a list as a key
        b"\x81\xa1\xff\x01",  # a key that is no UTF-8
        b"\x00" * ((1 << 20) + 1),
        msgpack.packb({"boxes": [0] * 20_000}),
    ],
    ids=lambda payload: f"{payload[:4].hex()}x{len(payload)}",
)
def test_hostile_payloads_are_refused(payload):
    with pytest.raises(SubscribeError, match=r"^detections/front: "):
        decode([b"detections/front", payload])


@pytest.mark.parametrize(
    "topic", [b"", b"detections", b"detections/", b"other/x", b"detections/a/b", b"\xff" * 1000]
)
def test_hostile_topics_are_refused(wire, topic):
    with pytest.raises(SubscribeError, match="expected a topic"):
        decode([topic, encode(wire.make_detections())[1]])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_number_of_parts_is_checked(count):
    with pytest.raises(SubscribeError, match=f"2 parts.*got {count}"):
        decode([b"detections/front"] * count)


def test_camera_names():
    assert all(map(valid_camera_name, ("front", "a", "A-1_b.c", "x" * 64)))
    assert not any(map(valid_camera_name, ("", "a/b", "a b", "é", "x" * 65, "a\n")))
    with pytest.raises(PublishError, match="a b"):
        topic_of("status", "a b")


def test_sessions_differ_and_fit_a_javascript_number():
    sessions = {new_session() for _ in range(100)}
    assert len(sessions) == 100
    assert max(sessions) < 2**53


@pytest.mark.parametrize(
    "endpoint",
    ["ipc:///run/x", "ipc://@name", "tcp://127.0.0.1:5555", "tcp://[::1]:1", "tcp://board.local:9"],
)
def test_good_endpoints(endpoint):
    assert endpoint_problem(endpoint) is None


@pytest.mark.parametrize(
    "endpoint",
    [
        *("", "front", "/run/x", "ipc://", "http://x:1", "ipc:///" + "x" * 200, "ipc:///a\0b"),
        *("tcp://x", "tcp://x:0", "tcp://x:70000", "tcp://*:y", "tcp://a b:1"),
    ],
)
def test_bad_endpoints(endpoint):
    assert "expected" in endpoint_problem(endpoint)


def test_silence_hints_look_at_the_socket(tmp_path):
    assert "does not exist" in silence_hint(f"ipc://{tmp_path}/none")
    (tmp_path / "file").touch()
    assert "not a socket" in silence_hint(f"ipc://{tmp_path}/file")
    assert "firewall" in silence_hint("tcp://10.0.0.1:5555")


def test_the_examples_in_the_documentation_are_messages():
    text = (Path(__file__).resolve().parent.parent / "docs" / "wire-format.md").read_text()
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    payloads = [msgpack.packb(block) for block in blocks]
    detections, status = (
        decode([f"{kind}/front".encode(), payload])
        for kind, payload in zip(("detections", "status"), payloads, strict=True)
    )
    assert status.labels[detections.class_ids[0]] == "person"
    for message, block in ((detections, blocks[0]), (status, blocks[1])):
        assert set(message.to_wire()) | {"v"} == set(block)
    for key in {*blocks[0], *blocks[1], "jpeg"}:
        assert f"`{key}`" in text
