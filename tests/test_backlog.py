"""The last seconds in memory: bounded, and written when they should be."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from npud.errors import ConfigError, RecordError
from npud.messages import State, StatusMessage
from runtime.config import Backend, Model, Record
from runtime.detector import Detector, read_model
from runtime.frame import Frame
from runtime.recording.backlog import Backlog
from runtime.recording.reader import Reader
from tests.test_record import message, observation

MIB = 1 << 20


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(read_model(Model()), Model(), Backend())


def feed(backlog: Backlog, detector: Detector, numbers: range) -> None:
    """Frames that cannot be packed, 0.1 s apart."""
    for seq in numbers:
        frame = Frame(np.zeros((8, 8, 3), np.uint8), "cam", seq)
        backlog.recorder.record(frame, observation(detector, seq % 7), detector.setup, message(seq))


def settings(folder: Path, **more: object) -> Record:
    return Record(enabled=True, folder=str(folder), frames="none", **more)  # type: ignore[arg-type]


def seqs(path: Path) -> list[int]:
    return [recorded.published.seq for recorded in Reader(path)]


def test_memory_never_exceeds_its_bound(detector: Detector, tmp_path: Path) -> None:
    backlog = Backlog(settings(tmp_path, max_mib=8, seconds=3600))
    one = sum(int(np.prod(spec.shape)) * 4 for spec in detector.setup.specs)
    noise = [observation(detector, seed) for seed in range(3)]  # made before it is counted
    tracemalloc.start()
    for seq in range(400):
        frame = Frame(np.zeros((8, 8, 3), np.uint8), "cam", seq)
        backlog.recorder.record(frame, noise[seq % 3], detector.setup, message(seq))
        assert backlog._memory.bytes + backlog.recorder._queued <= 8 * MIB
        while seq > 200 and backlog.recorder._queued > MIB:  # the thread need not be quick
            time.sleep(0.001)
    made = backlog.write(3600)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    backlog.close()
    assert peak < 8 * MIB + 4 * MIB + 6 * one  # the chunk and the frame in work
    assert made["frames"] * one > 4 * MIB  # what fits is there
    assert made["frames"] + backlog.state()["dropped"] <= 400
    assert backlog.state()["max_bytes"] == 8 * MIB


def test_the_last_seconds_are_kept_and_written(detector: Detector, tmp_path: Path) -> None:
    backlog = Backlog(settings(tmp_path, max_mib=64, seconds=2.0))
    with pytest.raises(RecordError, match="no frame in memory yet"):
        backlog.write(1)
    feed(backlog, detector, range(40))
    every = backlog.write(3600)
    last = backlog.write(0.5)
    backlog.close()
    assert seqs(Path(every["path"])) == list(range(19, 40))  # 2 s, 0.1 s apart
    assert seqs(Path(last["path"])) == list(range(34, 40))
    assert last["bytes"] == Path(last["path"]).stat().st_size


def status(camera: str, state: State) -> StatusMessage:
    return StatusMessage(camera=camera, session=1, seq=1, published_ns=1, state=state)


@pytest.mark.parametrize("on_alarm", [True, False])
def test_an_alarm_writes_once_for_each_trouble(
    detector: Detector,
    tmp_path: Path,
    on_alarm: bool,
) -> None:
    backlog = Backlog(settings(tmp_path, seconds=1e-6, on_alarm=on_alarm))
    feed(backlog, detector, range(3))
    for states in ("ok ok", "degraded ok", "degraded ok", "ok ok", "ok degraded"):
        a, b = states.split()
        backlog.watch([status("a", a), status("b", b)])  # type: ignore[arg-type]
    backlog.close()
    names = sorted(path.name.partition("Z-")[2] for path in tmp_path.iterdir())
    assert names == (["alarm-a.mcap", "alarm-b.mcap"] if on_alarm else [])


def test_alarms_in_a_row_write_one_file(detector: Detector, tmp_path: Path) -> None:
    backlog = Backlog(settings(tmp_path, seconds=60))
    feed(backlog, detector, range(3))
    for state in ("degraded", "ok", "degraded", "ok", "degraded"):
        backlog.watch([status("a", state)])  # type: ignore[arg-type]
    backlog.close()
    assert len(list(tmp_path.iterdir())) == 1


def test_old_files_are_removed_and_others_stay(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "mine.mcap").write_text("precious")
    backlog = Backlog(settings(tmp_path, keep=2))
    feed(backlog, detector, range(3))
    made = [Path(backlog.write(1)["path"]) for _ in range(4)]
    backlog.close()
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "mine.mcap", *made[2:]])


def test_a_folder_that_goes_away_is_one_error_and_recording_goes_on(
    detector: Detector,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "kept"
    backlog = Backlog(settings(folder))
    feed(backlog, detector, range(2))
    folder.rmdir()
    folder.write_text("a file")
    with pytest.raises(RecordError, match="cannot be written: Not a directory"):
        backlog.write(1)
    folder.unlink()
    folder.mkdir()
    assert backlog.write(1)["frames"] == 2
    assert not backlog.recorder.failure
    backlog.close()
    with pytest.raises(ConfigError, match=r"record\.folder: /dev/null/x: Not a directory"):
        Backlog(settings(Path("/dev/null/x")))
