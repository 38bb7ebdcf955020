"""What a worker process is told and given: rings of frames, channels, answers."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from npud.errors import InferenceError, ModelError
from runtime.frame import Frame
from runtime.recording.messages import Fit
from runtime.workers.channel import Channel, Closed
from runtime.workers.messages import Answer, Failure
from runtime.workers.process import error_of
from runtime.workers.ring import Ring, view


def test_a_slot_is_free_when_its_last_holder_lets_go() -> None:
    ring = Ring(1000, 2)
    first, second = ring.acquire(), ring.acquire()
    assert first is not None
    assert second is not None
    assert ring.acquire() is None
    first.view((10, 100))[...] = 7
    assert not second.view((10, 100)).any()
    first.retain()
    first.release()
    assert ring.acquire() is None
    frame = Frame(first.view((10, 100)), slot=first)
    frame.release()
    assert ring.held() == 1
    third = ring.acquire()
    assert third is not None
    assert third.offset == first.offset
    with pytest.raises(ValueError, match="is not held"):
        Ring(1000, 1).count(0, -1)
    ring.close()


def test_a_ring_that_is_closed_can_be_shared_until_its_frames_are_done() -> None:
    ring = Ring(1000, 2)
    slot = ring.acquire()
    assert slot is not None
    ring.close()
    assert "memfd" in os.readlink(f"/proc/self/fd/{ring.fd}")  # for the worker that gets it next
    assert ring.acquire() is None
    slot.release()
    assert ring.fd == -1
    ring.close()


def test_a_process_ends_whose_channel_was_closed_before_it_looked() -> None:
    ours, end = Channel.pair()
    code = (
        "import socket, sys, time\n"
        "from runtime.workers.channel import Channel\n"
        "sys.stdin.readline()\n"
        f"Channel(socket.socket(fileno={end.fileno()})).end_with()\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, pass_fds=[end.fileno()], stdin=subprocess.PIPE) as process:
        end.close()
        ours.close()
        process.communicate(b"\n", 50)
    assert process.returncode == -signal.SIGIO


def test_a_ring_can_be_mapped_again_and_has_no_name() -> None:
    ring = Ring(4096, 1)
    slot = ring.acquire()
    assert slot is not None
    slot.view((2, 3))[...] = [[1, 2, 3], [4, 5, 6]]
    other = mmap.mmap(ring.fd, len(ring.memory), prot=mmap.PROT_READ)  # as a worker maps it
    assert view(other, slot.offset, (2, 3)).sum() == 21
    assert "memfd" in os.readlink(f"/proc/self/fd/{ring.fd}")
    for offset, shape in ((-1, (1,)), (0, (4097,)), (4096, (1,))):
        with pytest.raises(ValueError, match="do not lie in"):
            view(ring.memory, offset, shape)


def test_channels_keep_messages_whole_and_carry_descriptors(tmp_path: Path) -> None:
    ours, end = Channel.pair()
    theirs = Channel(end)
    assert ours.receive(0.01) is None
    with (tmp_path / "file").open("w+") as file:
        file.write("hello")
        file.flush()
        theirs.send({"a": 1}, (file.fileno(),))
    theirs.send([2] * 50_000)
    received = ours.receive(1)
    assert received is not None
    message, (fd,) = received
    assert message == {"a": 1}
    assert os.pread(fd, 5, 0) == b"hello"
    os.close(fd)
    assert ours.receive(1) == ([2] * 50_000, [])
    end.send(b"\xc1")
    with pytest.raises(ValueError, match="expected a msgpack message"):
        ours.receive(1)
    theirs.close()
    with pytest.raises(Closed):
        ours.receive(1)
    with pytest.raises(Closed):
        ours.send(1)
    ours.close()


FIT = {"scale_x": 0.5, "scale_y": 0.5, "pad_x": 0, "pad_y": 4, "width_px": 64, "height_px": 48}
GOOD = ["answer", 7, FIT, b"", b"", b"", [1, 2, 3, 4, 5], 100]


@pytest.mark.parametrize(
    "told",
    [
        GOOD[:-1],
        ["reply", *GOOD[1:]],
        [*GOOD[:6], [1, 2], 100],
        [*GOOD[:3], "text", *GOOD[4:]],
        ["failure", 7, 8, "x"],
        {"id": 7},
        7,
    ],
)
def test_an_answer_of_another_form_is_none(told: object) -> None:
    ours, end = Channel.pair()
    theirs, decode = Channel(end), msgspec.msgpack.Decoder(Answer | Failure).decode
    for message in (GOOD, told):
        theirs.send(message)
    received = ours.receive(1, decode)
    assert received is not None
    found, timing = received[0].found()
    assert (len(found), timing.cpu, received[0].fit.pad_y) == (0, 5, 4)
    with pytest.raises(ValueError, match="expected a msgpack message"):
        ours.receive(1, decode)
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("boxes", "scores", "class_ids"), [(16, 8, 4), (16, 4, 8), (20, 4, 4), (16, 3, 4), (0, 4, 4)]
)
def test_an_answer_with_arrays_of_other_lengths_is_none(
    boxes: int, scores: int, class_ids: int
) -> None:
    fit = msgspec.convert(FIT, Fit)
    arrays = bytes(boxes), bytes(scores), bytes(class_ids)
    with pytest.raises(ValueError, match=r"boxes|buffer|reshape"):
        Answer(1, fit, *arrays, (1, 2, 3, 4, 5), 0).found()
    good = Answer(1, fit, bytes(16), bytes(4), bytes(4), (1, 2, 3, 4, 5), 0)
    assert len(good.found()[0]) == 1


def test_errors_keep_their_class_on_the_way() -> None:
    assert type(error_of("ModelError", "x")) is ModelError
    unknown = error_of("SystemExit", "x")
    assert type(unknown) is InferenceError
    assert str(unknown) == "worker: SystemExit: x"
