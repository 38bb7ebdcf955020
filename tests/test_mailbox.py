"""Mailboxes: latest wins, no camera starves, and a lossless one loses nothing."""

from __future__ import annotations

import threading

import numpy as np

from runtime.frame import Frame
from runtime.mailbox import Mailboxes

PIXELS = np.zeros((8, 8, 3), np.uint8)


def frame(camera: str, index: int) -> Frame:
    return Frame(PIXELS, camera, index)


def test_the_latest_frame_wins_and_the_drop_is_told() -> None:
    boxes = Mailboxes()
    first = frame("a", 0)
    assert boxes.put(first) is None
    assert boxes.put(frame("a", 1)) is first
    taken = boxes.take(0)
    assert taken is not None
    assert taken.index == 1
    assert boxes.take(0) is None
    assert boxes.idle()


def test_a_fast_camera_does_not_starve_a_slow_one() -> None:
    boxes = Mailboxes()
    boxes.put(frame("slow", 0))
    order = []
    for index in range(6):
        boxes.put(frame("fast", index))
        if taken := boxes.take(0):
            order.append(taken.camera)
            if taken.camera == "slow":
                boxes.put(frame("slow", index))
    assert order == ["slow", "fast"] * 3


def test_a_priority_is_a_share() -> None:
    boxes = Mailboxes({"a": 1, "b": 3})
    order = []
    for index in range(400):
        boxes.put(frame("a", index))
        boxes.put(frame("b", index))
        taken = boxes.take(0)
        assert taken is not None
        order.append(taken.camera)
    assert order.count("a") == 100
    assert max(len(run) for run in "".join(order).split("a")) <= 4


def test_a_camera_that_was_quiet_is_not_owed_the_past() -> None:
    boxes = Mailboxes()
    for index in range(50):
        boxes.put(frame("busy", index))
        boxes.take(0)
    order = []
    for index in range(10):
        boxes.put(frame("late", index))
        boxes.put(frame("busy", index))
        taken = boxes.take(0)
        assert taken is not None
        order.append(taken.camera)
    assert abs(order.count("late") - order.count("busy")) <= 1


def test_lossless_gives_every_frame_in_order_to_many_takers() -> None:
    boxes = Mailboxes(lossless=True)
    seen: dict[str, list[int]] = {"a": [], "b": []}
    count, lock = 300, threading.Lock()

    def put(camera: str) -> None:
        for index in range(count):
            assert boxes.put(frame(camera, index)) is None

    def take() -> None:
        while (taken := boxes.take(0.5)) is not None:
            with lock:
                seen[taken.camera].append(taken.index)
            boxes.done(taken.camera)

    threads = [threading.Thread(target=put, args=(c,)) for c in seen]
    threads += [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == {"a": list(range(count)), "b": list(range(count))}
    assert boxes.idle()


def test_closing_wakes_everybody() -> None:
    boxes = Mailboxes(lossless=True)
    boxes.put(frame("a", 0))
    waiting = [
        threading.Thread(target=boxes.put, args=(frame("a", 1),)),
        threading.Thread(target=Mailboxes().take, args=(0.1,)),
    ]
    for thread in waiting:
        thread.start()
    boxes.close()
    for thread in waiting:
        thread.join(5)
        assert not thread.is_alive()
    assert boxes.take(0) is None


def test_a_camera_is_settled_when_its_last_frame_is_done_with() -> None:
    boxes = Mailboxes()
    assert boxes.settled("a", 0)
    boxes.put(frame("a", 0))
    assert not boxes.settled("a", 0)
    boxes.take(0)
    assert not boxes.settled("a", 0)
    assert not boxes.returned(0)
    assert boxes.settled("b", 0)
    boxes.done("a")
    assert boxes.settled("a", 0)
    assert boxes.returned(0)


def test_only_the_taker_that_is_served_gets_frames() -> None:
    boxes = Mailboxes()
    boxes.put(frame("a", 0))
    boxes.serve("first")
    assert boxes.take(0, "second") is None
    taken = boxes.take(0, "first")
    assert taken is not None
    boxes.done("a")
    boxes.put(frame("a", 1))
    assert boxes.remove("a") is not None
    assert boxes.idle()
