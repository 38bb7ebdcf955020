"""Recordings: what is written, that it is bounded, and that it decodes again to the same bytes."""

from __future__ import annotations

import io
import itertools
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from npud.detections import Detections
from npud.errors import BackendUnavailable, NpudError, RecordError
from npud.messages import STAGES, DetectionsMessage, Message, StatusMessage
from npud.wire import decode
from runtime.cli.replay import _Paced
from runtime.config import Backend, Model
from runtime.detector import Detector, Observation, Timing, read_model
from runtime.frame import Frame
from runtime.preprocess import Letterbox
from runtime.recording import pictures
from runtime.recording.file_sink import FileSink
from runtime.recording.mcap_file import McapFile, Part
from runtime.recording.reader import Reader
from runtime.recording.recorder import Recorder
from runtime.recording.replay import replay
from runtime.recording.setup import Setup
from runtime.scenes import Street
from runtime.workers.channel import Channel
from runtime.workers.messages import Answer
from runtime.workers.outputs import Outputs, arrays, size_of
from tests.conftest import ROOT

Command = Callable[..., tuple[int, str, str]]
STREET = "synthetic:street?seed=3&size=640x480&fps=30"
FRAMES = 12


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras through the daemon's pipeline with worker processes."""
    folder = tmp_path_factory.mktemp("recording")
    config = folder / "c.toml"
    config.write_text('[backend]\nisolation = "process"\ncontexts = 2\ndeadline_ms = 30000\n')
    path = folder / "a.mcap"
    arguments = ["record", "-c", str(config), "-o", str(path), "--every-frame"]
    for camera in ("a", "b"):
        arguments += ["-s", f"{camera}={STREET}&frames={FRAMES}"]
    done = subprocess.run(
        [sys.executable, "-m", "runtime.cli", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"{2 * FRAMES} frames" in done.stdout
    return path


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(read_model(Model()), Model(), Backend())


def test_a_workers_recording_decodes_to_the_recorded_bytes(
    recording: Path, command: Command
) -> None:
    code, out, err = command("replay", recording, "--check")
    assert (code, out, err) == (0, f"{recording}: 24 frames decode to the recorded bytes\n", "")


def test_recorded_outputs_are_the_models(recording: Path, detector: Detector) -> None:
    """The worker's outputs beside those of this process, on the same generated frames."""
    street = Street(3, (640, 480))
    seen = 0
    for recorded in Reader(recording):
        observed = detector.observe(Frame(street.frame(recorded.tensors.frame)[0]))
        arrays = recorded.tensors.arrays(recorded.setup.specs)
        for ours, theirs in zip(observed.outputs, arrays):
            np.testing.assert_allclose(ours, theirs, atol=1e-3)
        assert recorded.picture is not None
        assert len(recorded.published) == len(observed.found)
        seen += 1
    assert seen == 2 * FRAMES


def test_a_changed_detection_is_the_first_difference(recording: Path) -> None:
    for number, one in enumerate(replay(Reader(recording))):
        assert one.difference() == ""
        if number == 3:
            one.message.detections.scores[2] = 0.125
            assert "detection 2: expected scores 0." in one.difference()
            assert one.difference().endswith("got 0.125")
            return


def test_other_thresholds_are_what_they_would_have_been(
    recording: Path, command: Command, detector: Detector
) -> None:
    code, out, _ = command("replay", recording, "--json", "--score", "0.6")
    assert code == 0
    settings = Model(score_threshold=0.6)
    strict = Detector(detector.files, settings, Backend())
    for line in out.splitlines()[:4]:
        message = json.loads(line)
        found, _ = strict.detect(Frame(Street(3, (640, 480)).frame(message["frame"])[0]))
        assert [d["class_id"] for d in message["detections"]] == found.class_ids.tolist()
    strict.close()
    code, _, err = command("replay", recording, "--score", "0.6", "--check")
    assert code == 2
    assert "--check" in err
    assert command("replay", recording, "--score", "7")[0] == 2


def test_other_programs_read_it(recording: Path) -> None:
    """The mcap library's own reader, with the protobuf library's reading of the schema."""
    with recording.open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == 6 * FRAMES
        topics = {c.topic: c.message_encoding for c in summary.channels.values()}
        assert topics == {
            f"{kind}/{camera}": "protobuf" if kind == "frames" else "msgpack"
            for kind in ("frames", "tensors", "detections")
            for camera in "ab"
        }
        assert {m.name for m in reader.iter_metadata()} == {"npud", "npud.setup"}
        times = []
        for schema, channel, message in reader.iter_messages():
            times.append(message.log_time)
            if channel.topic == "frames/a":
                assert schema is not None
                picture = parsed(schema.name, schema.data, message.data)
                stamp = picture.timestamp.seconds * 10**9 + picture.timestamp.nanos
                assert (picture.frame_id, picture.format, stamp) == ("a", "jpeg", message.log_time)
                assert cv2.imdecode(np.frombuffer(picture.data, np.uint8), 1).shape == (480, 640, 3)
            if channel.topic == "detections/b":
                published = decode((b"detections/b", message.data))
                assert isinstance(published, DetectionsMessage)
                assert published.captured_ns == message.log_time
    assert len(times) == 6 * FRAMES


def parsed(name: str, schema: bytes, data: bytes) -> object:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(schema).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name)).FromString(data)


@pytest.mark.parametrize(
    ("form", "shape"), [("bgr", (4, 6, 3)), ("nv12", (6, 6)), ("yuyv", (4, 6, 2))]
)
def test_raw_frames_are_the_pixels(form: str, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    frame = Frame(pixels, "cam", captured_ns=1_700_000_000_123_456_789, format=form)  # type: ignore[arg-type]
    data = pictures.encode(frame, "raw", 80)
    name, schema = pictures.schema("raw")
    picture = parsed(name, schema, data)
    assert (picture.width, picture.height, picture.step) == (6, 4, pixels.strides[0])
    assert picture.encoding == pictures.ENCODINGS[form]  # type: ignore[index]
    assert picture.data == pixels.tobytes()
    np.testing.assert_array_equal(pictures.decode(data, name), frame.bgr())


@pytest.mark.parametrize(("form", "shape"), [("nv12", (6, 6)), ("yuyv", (4, 6, 2))])
def test_raw_frames_keep_their_range_and_matrix(form: str, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(16, 236, shape, np.uint8)
    name, schema = pictures.schema("raw")
    seen = []
    for yuv_range, matrix in itertools.product(("full", "video"), ("bt601", "bt709")):
        frame = Frame(pixels, "c", format=form, yuv_range=yuv_range, yuv_matrix=matrix)  # type: ignore[arg-type]
        data = pictures.encode(frame, "raw", 80)
        picture = parsed(name, schema, data)
        assert (picture.yuv_range, picture.yuv_matrix) == (yuv_range, matrix)  # type: ignore[attr-defined]
        seen.append(pictures.decode(data, name))
        np.testing.assert_array_equal(seen[-1], frame.bgr())
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(seen, 2))
    with pytest.raises(RecordError, match="field 1001: expected one of"):
        pictures.decode(data.replace(b"video", b"vidio"), name)


def test_export_runs_in_place_of_the_model(
    recording: Path, command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "model.npz"
    code, out, err = command("replay", recording, "--to-npz", path)
    assert code == 0, err
    assert "24 frames" in out
    settings = Model(path=str(path))
    again = Detector(read_model(settings), settings, Backend())
    picture = Frame(np.zeros((480, 640, 3), np.uint8))  # what is shown does not matter
    again._canary = lambda: pytest.fail("the manifest says all")  # type: ignore[method-assign]
    for recorded in list(Reader(recording))[:6]:
        found, _ = again.detect(picture)
        then = recorded.published.detections
        np.testing.assert_array_equal(found.boxes, then.boxes)
        np.testing.assert_array_equal(found.scores, then.scores)
    again.close()


def test_pictures_are_saved_with_boxes(recording: Path, command: Command, tmp_path: Path) -> None:
    code, _, _ = command("replay", recording, "--save", tmp_path)
    assert code == 0
    assert len(list(tmp_path.glob("[ab]-0000*.jpg"))) == 2 * FRAMES


# -- bounds ------------------------------------------------------------------------------------


def message(seq: int, found: Detections | None = None) -> DetectionsMessage:
    return DetectionsMessage(
        camera="cam", session=1, seq=seq, frame=seq, captured_ns=10**18 + seq * 10**8,
        published_ns=10**18 + seq * 10**8 + 5, width=640, height=480, model="m@1",
        timing_us=dict.fromkeys(STAGES, 1), dropped=0, detections=found or Detections.empty(),
    )  # fmt: skip


def observation(detector: Detector, noise: int) -> Observation:
    """Outputs that cannot be packed."""
    random_bytes = np.random.default_rng(noise)
    outputs = [
        np.frombuffer(random_bytes.bytes(int(np.prod(s.shape)) * 4), np.float32).reshape(s.shape)
        for s in detector.setup.specs
    ]
    box = Letterbox.fit(640, 480, (320, 320), "center")
    return Observation(np.empty(0), box, outputs, Detections.empty(), Timing(1, 1, 1))


def fill(path: Path, detector: Detector, count: int, limit: int, **options: float) -> Recorder:
    recorder = Recorder(FileSink(path, limit, **options), "none", lossless=True)  # type: ignore[arg-type]
    for seq in range(count):
        frame = Frame(np.zeros((480, 640, 3), np.uint8), "cam", seq)
        recorder.record(frame, observation(detector, seq), detector.setup, message(seq))
    recorder.close()
    return recorder


@pytest.mark.parametrize("limit", [100, 20_000, 300_000, 2_000_000])
def test_no_byte_beyond_the_limit(detector: Detector, tmp_path: Path, limit: int) -> None:
    path = tmp_path / "a.mcap"
    recorder = fill(path, detector, 60, limit)
    size = sum(np.prod(s.shape) * 4 for s in detector.setup.specs)
    assert path.stat().st_size <= max(limit, 2000)  # an empty file has a head and an end
    assert recorder.recorded >= max(0, (limit - 40_000) // (size + 2000))
    assert recorder.recorded < 60
    assert sum(1 for _ in Reader(path)) == recorder.recorded


def test_it_ends_after_its_duration(detector: Detector, tmp_path: Path) -> None:
    recorder = fill(tmp_path / "a.mcap", detector, 20, 10**9, duration_s=1.0)  # frames of 0.1 s
    assert recorder.recorded == 10
    assert recorder.finished


def test_a_full_disk_is_one_error_and_ends_it(detector: Detector) -> None:
    recorder = fill(Path("/dev/full"), detector, 30, 10**9, overwrite=True)
    assert str(recorder.failure) == "/dev/full: cannot be written: No space left on device"
    assert not recorder.wants()


def test_a_slow_disk_drops_frames_and_counts_them(detector: Detector) -> None:
    class Slow:
        taken = 0

        def take(self, setup: Setup, parts: list[Part]) -> bool:
            time.sleep(0.02)
            self.taken += 1
            return True

        def close(self) -> None:
            pass

    slow = Slow()
    recorder = Recorder(slow, "none", queue_bytes=3_000_000)
    for seq in range(40):
        frame = Frame(np.zeros((8, 8, 3), np.uint8), "cam", seq)
        recorder.record(frame, observation(detector, 0), detector.setup, message(seq))
    recorder.close()
    assert recorder.dropped > 0
    assert recorder.dropped + slow.taken == 40


def test_an_existing_file_is_kept(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.write_text("precious")
    code, _, err = command("record", "-o", path, "-s", f"{STREET}&frames=2", "--every-frame")
    assert (code, err) == (1, f"npud: error: {path}: exists; choose another name, or --force\n")
    assert path.read_text() == "precious"
    code, _, err = command("record", "-o", tmp_path / "no/a.mcap")
    assert (code, "No such file" in err) == (1, True)
    for bad in ("10 parsecs", "-3s", "0s", "1e999999s"):
        assert command("record", "-o", tmp_path / "b", "--duration", bad)[0] == 2


def test_without_the_library_one_line_says_so(
    recording: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcap", None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'npud\[record\]'"):
        Reader(recording)
    assert command("replay", recording)[0] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_was_written_before_a_signal_can_be_read(tmp_path: Path, number: int) -> None:
    path = tmp_path / "a.mcap"
    arguments = ["record", "-o", str(path), "-s", f"cam={STREET}"]
    process = subprocess.Popen([sys.executable, "-m", "runtime.cli", *arguments], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size > 1_500_000):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(20) == (0 if number == signal.SIGINT else -number)
    reader = Reader(path)
    count = sum(1 for one in replay(reader) if one.difference() == "")
    assert count >= 5
    assert bool(reader.cut) == (number == signal.SIGKILL)


# -- damage ------------------------------------------------------------------------------------


def outcome(path: Path) -> str:
    """How many frames were read, or the one line that says why none; nothing else may happen."""
    reader = Reader(path)
    try:
        return f"{sum(1 for _ in replay(reader))} frames {reader.cut}"
    except NpudError as error:
        text = str(error)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return f"refused: {text}"


@pytest.fixture(scope="module")
def small(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A few frames of a recording without packing and checksums, so that damage goes deep."""
    out = io.BytesIO()
    writer = Writer(out, compression=CompressionType.NONE, enable_crcs=False, chunk_size=1000)
    with recording.open("rb") as stream:
        reader = make_reader(stream)
        writer.start("npud", "test")
        for data in reader.iter_metadata():
            writer.add_metadata(data.name, data.metadata)
        ids: dict[str, int] = {}
        for _, channel, one in reader.iter_messages(topics=["tensors/a", "detections/a"]):
            if channel.topic not in ids:
                ids[channel.topic] = writer.register_channel(
                    channel.topic, channel.message_encoding, 0
                )
            writer.add_message(
                ids[channel.topic], one.log_time, one.data, one.publish_time, one.sequence
            )
            if len(ids) == 2 and one.sequence == 2:
                break
    writer.finish()
    return out.getvalue()


def test_damage_anywhere_is_one_line_or_harmless(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(small)
    assert outcome(path).startswith("2 frames") or outcome(path).startswith("3 frames")
    generator = random.Random(5)
    places = [i for i in range(len(small)) if i < 6000 or i > len(small) - 2000]
    texts = set()
    for _ in range(300):
        damaged = bytearray(small)
        for _ in range(generator.choice((1, 1, 4))):
            at = (
                generator.choice(places)
                if generator.random() < 0.9
                else generator.randrange(len(small))
            )
            damaged[at] = generator.choice(
                (0, 0xFF, 0x7F, damaged[at] ^ 1 << generator.randrange(8))
            )
        path.write_bytes(damaged)
        texts.add(outcome(path).partition(":")[0])
    assert "refused" in texts


def test_a_file_cut_anywhere_gives_what_is_whole(recording: Path, tmp_path: Path) -> None:
    data = recording.read_bytes()
    path = tmp_path / "a.mcap"
    counts = []
    for part in range(1, 24):
        path.write_bytes(data[: len(data) * part // 24])
        reader = Reader(path)
        counts.append(sum(1 for one in replay(reader) if one.difference() == ""))
        assert reader.cut
    assert counts == sorted(counts)
    assert counts[-1] > FRAMES
    for nothing in (b"", b"\x89MCAP", b"PK\x03\x04" + bytes(100)):
        path.write_bytes(nothing)
        assert outcome(path).startswith(("refused: ",))


def test_a_foreign_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        writer.add_message(writer.register_channel("/imu", "json", 0), 1, b"{}", 1)
        writer.finish()
    assert "expected a recording of npud, got an MCAP file with the topics /imu" in outcome(path)


def test_a_chunk_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.recording.reader.MAX_CHUNK", 1 << 20)
    path = tmp_path / "a.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=1 << 40)
        writer.start()
        writer.add_metadata("npud", {"format": "1"})
        channel = writer.register_channel("tensors/cam", "msgpack", 0)
        writer.add_message(channel, 1, bytes(3 << 20), 1)
        writer.finish()
    assert path.stat().st_size < 1 << 20
    assert "a chunk of 31458" in outcome(path)


def test_a_setup_that_fits_nothing_is_refused(detector: Detector) -> None:
    good = json.loads(detector.setup.encode())
    assert Setup.decode(json.dumps(good)).id == detector.setup.id
    for change in (
        {"plan": good["plan"] | {"num_classes": 100}},
        {"plan": good["plan"] | {"levels": []}},
        {"plan": good["plan"] | {"levels": [good["plan"]["levels"][0] | {"box": 99}]}},
        {"plan": good["plan"] | {"levels": [good["plan"]["levels"][0] | {"grid": [1 << 30, 2]}]}},
        {"options": good["options"] | {"max_detections": -1}},
        {"options": good["options"] | {"score_threshold": "high"}},
        {"outputs": good["outputs"][:1]},
    ):
        with pytest.raises(RecordError, match="its setup cannot be used"):
            Setup.decode(json.dumps(good | change))


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    file = McapFile(tmp_path / "a.mcap", 10**6)
    file.close()
    file.close()
    assert "no frame" not in outcome(tmp_path / "a.mcap")


# -- workers -----------------------------------------------------------------------------------


def test_a_worker_cannot_pull_the_memory_from_under_the_daemon(detector: Detector) -> None:
    memory = Outputs(detector.setup.specs)
    for size in (0, 1 << 30):
        with pytest.raises(PermissionError):
            os.ftruncate(memory.fd, size)
    theirs = mmap.mmap(memory.fd, size_of(detector.setup.specs))  # as a worker maps it
    for number, array in enumerate(arrays(theirs, detector.setup.specs)):
        array[...] = number
    assert [float(array.max()) for array in memory.arrays()] == list(range(6))
    memory.close()


@pytest.mark.parametrize(
    "change",
    [{"scale_x": 0.0}, {"scale_x": "1"}, {"pad_x": -1}, {"width_px": 0}, {"scale_y": float("nan")}],
)
def test_a_worker_that_tells_nonsense_of_the_letterbox_is_found_out(change: dict[str, Any]) -> None:
    fit = {
        "scale_x": 0.5,
        "scale_y": 0.5,
        "pad_x": 0,
        "pad_y": 40,
        "width_px": 640,
        "height_px": 480,
    }
    ours, end = Channel.pair()
    theirs, decode = Channel(end), msgspec.msgpack.Decoder(Answer).decode
    for told in (fit, fit | change):
        theirs.send(["answer", 7, told, b"", b"", b"", [1, 2, 3, 4, 5], 0])
    received = ours.receive(1, decode)
    assert received is not None
    assert received[0].fit.letterbox().pad_y == 40
    with pytest.raises(ValueError, match=next(iter(change))):
        ours.receive(1, decode)
    ours.close()
    theirs.close()


def test_replay_publishes_labels_in_the_recorded_pace(recording: Path) -> None:
    class Kept:
        def __init__(self) -> None:
            self.messages: list[Message] = []

        def send(self, one: Message) -> None:
            self.messages.append(one)

    kept = Kept()
    paced = _Paced(kept)  # type: ignore[arg-type]
    begun, every = time.monotonic(), list(replay(Reader(recording)))
    for one in every:
        paced.send(one)
    paced.end()
    first, last = every[0].message, every[-1].message
    assert time.monotonic() - begun >= (last.captured_ns - first.captured_ns) / 1e9
    assert isinstance(kept.messages[0], StatusMessage)
    assert "bus" in kept.messages[0].labels
    kinds = [one.kind for one in kept.messages]
    assert kinds.count("detections") == kinds.count("frames") == 2 * FRAMES
    ends = kept.messages[-2:]
    assert {(m.camera, getattr(m, "state", "")) for m in ends} == {
        ("a", "stopped"),
        ("b", "stopped"),
    }
