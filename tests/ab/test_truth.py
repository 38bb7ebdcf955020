"""Known differences are found again, within the intervals, as often as the intervals say."""

from __future__ import annotations

import numpy as np
import pytest

from npud.detections import Detections
from runtime.ab.bootstrap import blocks, ratio, resampled
from runtime.ab.pairs import SUMS
from runtime.ab.summary import Summary
from tests.ab import truth

RUNS, FRAMES, RESAMPLES = 100, 60, 500


def summary(seed: int, **change: float) -> Summary:
    rng = np.random.default_rng(seed)
    one = Summary()
    for _ in range(FRAMES):
        a = truth.scene(rng)
        one.add(truth.pair(a, truth.changed(a, rng, **change)))
    return one


def test_b_that_is_a_has_no_difference() -> None:
    one = summary(0)
    intervals = one.intervals()
    for name in ("score_shift", "boxes", "only_a", "only_b", "lost", "gained", "shift_x", "shift"):
        value = intervals[name]
        assert (value.value, value.low, value.high) == (0, 0, 0), name
    assert intervals["iou"].value == pytest.approx(1)
    assert one.verdict(intervals) == [f"no difference shown yet, n = {FRAMES} frames"]
    assert one.costs(intervals) == []


@pytest.mark.parametrize(
    ("change", "measure", "expected"),
    [
        ({"score": -0.03}, "score_shift", -0.03),
        ({"dropped": 0.08}, "only_a", 8.0),
        ({"moved_px": 3.0}, "shift_x", 3.0),
    ],
)
def test_the_intervals_cover_the_truth_as_often_as_they_say(
    change: dict[str, float], measure: str, expected: float
) -> None:
    covered = shown = 0
    for seed in range(RUNS):
        interval = summary(seed, **change).intervals(seed, RESAMPLES)[measure]
        covered += interval.low <= expected <= interval.high
        shown += interval.excludes_zero
    assert 90 <= covered <= 99
    assert shown == RUNS


def test_flips_are_told_from_boxes_that_are_gone() -> None:
    box = np.array([[0, 0, 50, 50], [100, 0, 150, 50], [200, 0, 250, 50]], np.float32)
    classes = np.zeros(3, np.int32)
    a = Detections(box, np.array([0.9, 0.26, 0.2], np.float32), classes)
    b = Detections(box[:2], np.array([0.9, 0.24], np.float32), classes[:2])
    sums = dict(zip(SUMS, truth.pair(a, b).sums))
    assert (sums["matched"], sums["only_a"], sums["only_b"]) == (1, 1, 0)
    assert (sums["lost"], sums["gained"]) == (1, 0)
    sums = dict(zip(SUMS, truth.pair(b, a).sums))
    assert (sums["only_b"], sums["gained"], sums["lost"]) == (1, 1, 0)


def test_the_bootstrap_of_a_mean_is_what_the_normal_distribution_says() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(5, 2, 400)
    sums = np.stack([values, np.ones(400)], 1)
    interval = ratio(sums.sum(0), resampled(sums, 3, 4000), np.array([1.0, 0]), np.array([0, 1.0]))
    half = 1.96 * values.std(ddof=1) / 20
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_frames_that_are_alike_are_drawn_together() -> None:
    rng = np.random.default_rng(2)
    alike = np.repeat(rng.normal(0, 1, (40, 1)), 25, axis=0)  # each second of a video
    sums = np.concatenate([alike, np.ones_like(alike)], 1)
    above, below = np.array([1.0, 0]), np.array([0, 1.0])
    narrow = ratio(sums.sum(0), resampled(sums, 0), above, below)
    joined = blocks(sums, 25)
    wide = ratio(joined.sum(0), resampled(joined, 0), above, below)
    assert wide.high - wide.low > 4 * (narrow.high - narrow.low)
    assert blocks(sums[:30], 25)[:, 1].tolist() == [25, 5]


def test_nothing_is_said_of_too_few_frames() -> None:
    rng = np.random.default_rng(0)
    one = Summary()
    for _ in range(5):
        a = truth.scene(rng)
        one.add(truth.pair(a, truth.changed(a, rng, score=-0.1)))
    assert one.verdict(one.intervals()) == [
        "no difference shown yet, n = 5 frames; 8 or more are needed"
    ]
    assert Summary().verdict({}) == ["no difference shown yet, n = 0 frames; 8 or more are needed"]


def test_words() -> None:
    one = summary(3, score=-0.05)
    (line, *_) = one.verdict(one.intervals())
    assert line.startswith("b's scores are lower by 0.0")
