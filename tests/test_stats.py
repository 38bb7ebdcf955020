"""CameraStats: states and percentiles."""

from __future__ import annotations

import time

import numpy as np
import pytest

from runtime import stats
from runtime.stats import CameraStats

TIMING = {"wait": 1, "preprocess": 2, "inference": 30, "postprocess": 4}


def test_states_follow_what_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = CameraStats()
    assert camera.state() == ("starting", "")
    assert camera.capture(640, 480) == 0
    camera.publish(100, TIMING)
    assert camera.state() == ("ok", "")
    camera.source_failed("unplugged")
    assert camera.state() == ("degraded", "unplugged")
    assert camera.capture(640, 480) == 1
    assert camera.state() == ("ok", "")
    for _ in range(stats.FAILURES):
        assert camera.state() == ("ok", "")
        camera.inference_failed("the NPU hangs")
    assert camera.state() == ("degraded", "the NPU hangs")
    assert camera.dropped == stats.FAILURES
    camera.publish(100, TIMING)
    assert camera.state() == ("ok", "")
    monkeypatch.setattr(stats, "SILENCE_S", -1.0)
    assert camera.state("no worker") == ("degraded", "no worker")
    state, reason = camera.state()
    assert state == "degraded"
    assert reason.startswith("no frame from the camera for")
    camera.ended = "the end"
    assert camera.state() == ("stopped", "the end")


def test_latency_and_timing_are_numpy_percentiles_and_means() -> None:
    camera = CameraStats()
    values = np.random.default_rng(0).integers(100, 10_000, 300)
    for value in values:
        camera.publish(int(value), TIMING)
    expected = np.percentile(values, [50, 95, 99, 100]).astype(int).tolist()
    assert list(camera.latency_us().values()) == expected
    assert camera.timing_us() == TIMING


def test_fps_counts_what_was_published_lately() -> None:
    camera = CameraStats()
    start = time.monotonic()
    for _ in range(10):
        camera.publish(1, TIMING)
    time.sleep(0.2)
    assert camera.fps() == pytest.approx(10 / (time.monotonic() - start), rel=0.2)
