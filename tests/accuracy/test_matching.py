"""One-to-one matching against a brute-force oracle, and where ties decide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from npud.detections import Detections
from runtime.accuracy.matching import match


def found(boxes: object, classes: object = None) -> Detections:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    ids = np.zeros(len(array), np.int32) if classes is None else np.array(classes, np.int32)
    return Detections(array, np.ones(len(array), np.float32), ids)


def exact_iou(p: np.ndarray, q: np.ndarray) -> float:
    if not (np.isfinite(p).all() and np.isfinite(q).all()):
        return 0.0
    (a, b, c, d), (e, f, g, h) = p.tolist(), q.tolist()
    inter = max(min(c, g) - max(a, e), 0) * max(min(d, h) - max(b, f), 0)
    union = max(c - a, 0) * max(d - b, 0) + max(g - e, 0) * max(h - f, 0) - inter
    return inter / union if inter > 0 else 0.0


def brute(a: Detections, b: Detections, limit: float) -> list[tuple[int, int]]:
    """Take the best pair left, one after the other, by looking at all of them every time."""
    free_a, free_b, pairs = set(range(len(a))), set(range(len(b))), []
    while True:
        best = None
        for i in sorted(free_a):
            for j in sorted(free_b):
                iou = exact_iou(a.boxes[i], b.boxes[j])
                if (
                    a.class_ids[i] == b.class_ids[j]
                    and iou >= limit
                    and (not best or iou > best[0])
                ):
                    best = (iou, i, j)
        if not best:
            return sorted(pairs)
        pairs.append((best[1], best[2]))
        free_a.remove(best[1])
        free_b.remove(best[2])


corners = st.integers(0, 6).map(float)  # few values: many ties
boxes = hnp.arrays(np.float32, st.tuples(st.integers(0, 7), st.just(4)), elements=corners)


@given(boxes, boxes, st.integers(1, 3), st.sampled_from([0.3, 0.5, 1.0]))
def test_against_brute_force(p: np.ndarray, q: np.ndarray, classes: int, limit: float) -> None:
    a = found(p, np.arange(len(p)) % classes)
    b = found(q, np.arange(len(q)) * 7 // 3 % classes)
    got = match(a, b, limit)
    assert list(zip(got.a.tolist(), got.b.tolist())) == brute(a, b, limit)
    for i, j, iou in zip(got.a, got.b, got.iou):
        assert iou == exact_iou(a.boxes[i], b.boxes[j])
    assert sorted([*got.a, *got.only_a]) == list(range(len(a)))
    assert sorted([*got.b, *got.only_b]) == list(range(len(b)))
    assert len(set(got.b.tolist())) == len(got) == len(got.a)


def test_the_better_overlap_wins_whatever_the_order() -> None:
    near, exact, target = [0, 0, 10, 9], [0, 0, 10, 10], [0, 0, 10, 10]
    got = match(found([near, exact]), found([target]))
    assert (got.a.tolist(), got.b.tolist(), got.only_a.tolist()) == ([1], [0], [0])


def test_identical_boxes_pair_in_order() -> None:
    same = [[0, 0, 10, 10]] * 5
    got = match(found(same), found(same[:3]))
    assert (got.a.tolist(), got.b.tolist()) == ([0, 1, 2], [0, 1, 2])
    assert got.only_a.tolist() == [3, 4]
    assert got.iou.tolist() == [1, 1, 1]


def test_a_chain_resolves_as_greedy_does() -> None:
    """Each box overlaps its neighbours a little more than the one before."""
    step = [[x, 0, x + 10, 10] for x in (0.0, 2.0, 3.5, 4.5, 5.0)]
    a, b = found(step[0::2]), found(step[1::2])
    got = match(a, b)
    assert list(zip(got.a.tolist(), got.b.tolist())) == brute(a, b, 0.5)


def test_an_iou_at_the_limit_counts_and_the_class_matters() -> None:
    whole, half = [0, 0, 10, 10], [0, 0, 10, 5]
    assert match(found([whole]), found([half])).iou.tolist() == [0.5]
    assert len(match(found([whole]), found([[0, 0, 10, 4.999]]))) == 0
    assert len(match(found([whole], [1]), found([whole], [2]))) == 0


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_boxes_that_are_none_have_no_partner(odd: float) -> None:
    a = found([[0, 0, odd, 10], [5, 5, 5, 9], [9, 9, 1, 1]])
    got = match(a, a)
    assert len(got) == 0
    assert got.only_a.tolist() == got.only_b.tolist() == [0, 1, 2]


def test_nothing_on_either_side() -> None:
    one = found([[0, 0, 1, 1]])
    empty = Detections.empty()
    assert match(empty, empty).only_a.tolist() == []
    assert match(one, empty).only_a.tolist() == [0]
    assert match(empty, one).only_b.tolist() == [0]


def test_many_boxes_of_one_place() -> None:
    """As many candidate pairs as there can be: all of a with all of b."""
    rng = np.random.default_rng(1)
    boxes = np.array([0, 0, 100, 100]) + rng.uniform(0, 5, (300, 4))
    got = match(found(boxes), found(boxes[::-1]))
    assert len(got) == 300
    assert (got.a + got.b == 299).all()
