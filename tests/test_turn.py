"""Two lanes of one context take turns, and the second takes its frame only when it will be needed."""

from __future__ import annotations

import threading
import time

from runtime.detector import Timing
from runtime.workers.turn import Turn

LONG = Timing(preprocess=0, inference=60_000_000, postprocess=0)  # a minute: never due in a test
SHORT = Timing(preprocess=0, inference=0, postprocess=0)


def test_one_lane_at_a_time_waits_for_a_frame() -> None:
    turn = Turn()
    assert turn.take("a", 0)
    assert turn.take("a", 0)  # it has it still: its mailbox was empty
    assert not turn.take("b", 0.01)
    turn.sent()
    assert turn.take("b", 0)  # how long the NPU takes is not known yet


def test_the_next_frame_is_not_taken_before_the_npu_is_nearly_done() -> None:
    turn = Turn()
    assert turn.take("a", 0)
    turn.sent()
    turn.answered(LONG)
    assert turn.take("a", 0)
    turn.sent()  # the NPU is busy for a minute
    assert not turn.take("b", 0.01)
    assert not turn.take("a", 0.01)
    turn.answered(LONG)
    assert turn.take("b", 0)


def test_when_one_is_done_the_other_one_s_inference_begins() -> None:
    turn = Turn()
    for lane in "ab":
        assert turn.take(lane, 0)
        turn.sent()
    turn.answered(LONG)  # a's; b's frame is in the NPU now
    assert not turn.take("a", 0.01)
    turn.answered(SHORT)
    assert turn.take("a", 0)


def test_a_lost_frame_does_not_hold_up_the_next() -> None:
    turn = Turn()
    assert turn.take("a", 0)
    turn.sent()
    turn.answered(LONG)
    assert turn.take("a", 0)
    turn.sent()
    turn.answered(None)
    assert turn.take("b", 0)


def test_a_waiting_lane_is_woken() -> None:
    turn = Turn()
    assert turn.take("a", 0)
    taken: list[bool] = []
    waiting = threading.Thread(target=lambda: taken.append(turn.take("b", 60)))
    waiting.start()
    time.sleep(0.01)
    turn.sent()
    waiting.join(30)
    assert taken == [True]
