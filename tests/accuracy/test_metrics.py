"""mAP against pycocotools on its own, precision, recall and F1 against brute force."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from runtime.accuracy.dataset import ClassMap, Picture, make_truth
from runtime.accuracy.metrics import Figures, figures_of
from runtime.accuracy.records import Result

CLASSES = 4
MAP = ClassMap(tuple("abcd"), {k: k for k in range(CLASSES)}, {k: k for k in range(CLASSES)})


def random_set(seed: int, pictures: int = 12) -> tuple[list[Picture], list[Result]]:
    """Objects (some crowds), and detections near them or anywhere, with many equal scores."""
    rng = np.random.default_rng(seed)
    labelled, results = [], []
    for number in range(pictures):
        n = int(rng.integers(0, 7))
        boxes = np.column_stack([rng.uniform(0, 400, (n, 2)), rng.uniform(5, 200, (n, 2))])
        classes = rng.integers(0, CLASSES - 1, n)  # the last class has no object
        crowd = rng.random(n) < 0.15
        truth = make_truth(boxes.tolist(), classes.tolist(), crowd.tolist())
        labelled.append(Picture(Path(f"{number}.jpg"), number, truth))
        near = np.repeat(boxes, 3, 0) * rng.uniform(0.8, 1.25, (3 * n, 4))
        far = np.column_stack([rng.uniform(0, 400, (5, 2)), rng.uniform(5, 200, (5, 2))])
        found = np.concatenate([near, far])
        ids = np.concatenate([np.repeat(classes, 3), rng.integers(0, CLASSES, 5)])
        ids = np.where(rng.random(len(ids)) < 0.1, rng.integers(0, CLASSES, len(ids)), ids)
        scores = np.sort(rng.integers(1, 60, len(ids)) / 64)[::-1]
        corners = np.column_stack([found[:, :2], found[:, :2] + found[:, 2:]])
        results.append(Result(640, 480, corners, scores, ids))
    return labelled, results


def pycocotools_alone(pictures: list[Picture], results: list[Result], path: Path) -> list[float]:
    """mAP50-95 and mAP50 as its documentation shows, through files."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    objects = [
        {"id": 0, "image_id": p.key, "category_id": int(c), "bbox": b.tolist(),
         "area": float(b[2] * b[3]), "iscrowd": int(k)}
        for p in pictures for b, c, k in zip(p.truth.boxes, p.truth.classes, p.truth.crowd)
    ]  # fmt: skip
    for number, one in enumerate(objects, 1):
        one["id"] = number
    categories = [{"id": k, "name": str(k)} for k in range(CLASSES)]
    images = [{"id": p.key} for p in pictures]
    path.write_text(
        json.dumps({"images": images, "annotations": objects, "categories": categories})
    )
    rows = [
        {"image_id": p.key, "category_id": int(c), "score": float(s),
         "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]]}
        for p, r in zip(pictures, results) for b, s, c in zip(r.boxes, r.scores, r.classes)
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(evaluation.stats[0]), float(evaluation.stats[1])]


def iou(a: np.ndarray, b: np.ndarray, crowd: bool) -> float:
    w = min(a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[3], b[1] + b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    own = (a[2] - a[0]) * (a[3] - a[1])
    return inter / (own if crowd else own + b[2] * b[3] - inter)


def brute_force(
    pictures: list[Picture], results: list[Result], class_id: int, threshold: float
) -> tuple[int, int, int]:
    """(detections that count, right ones, objects) of a class, nothing sorted or shared."""
    counted = right = objects = 0
    for picture, result in zip(pictures, results):
        truth = picture.truth
        mine = [k for k in range(len(truth)) if truth.classes[k] == class_id]
        objects += sum(not (truth.crowd[k] or truth.skip[k]) for k in mine)
        free = {k for k in mine if not (truth.crowd[k] or truth.skip[k])}
        passed = {k for k in mine if truth.crowd[k] or truth.skip[k]}
        for score, box, got in zip(result.scores, result.boxes, result.classes):
            if got != class_id or score < threshold:
                continue
            best = max(free, key=lambda k: iou(box, truth.boxes[k], False), default=None)
            if best is not None and iou(box, truth.boxes[best], False) >= 0.5:
                free.discard(best)
                right += 1
                counted += 1
                continue
            over = {k for k in passed if iou(box, truth.boxes[k], bool(truth.crowd[k])) >= 0.5}
            if not over:
                counted += 1
            elif not truth.crowd[min(over)]:
                passed.discard(min(over))
    return counted, right, objects


@pytest.mark.parametrize("seed", range(6))
def test_map_is_pycocotools_own(seed: int, tmp_path: Path) -> None:
    pictures, results = random_set(seed)
    got = figures_of(pictures, results, MAP, 0.25)
    expected = pycocotools_alone(pictures, results, tmp_path / "instances.json")
    assert [got.map50_95, got.map50] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.001, 0.25, 0.5, 33 / 64])
def test_counts_are_those_of_brute_force(seed: int, threshold: float) -> None:
    pictures, results = random_set(seed)
    got = figures_of(pictures, results, MAP, threshold)
    each = [brute_force(pictures, results, k, threshold) for k in range(CLASSES)]
    for one, (found, right, objects) in zip(got.classes, each):
        counted = one.deployed
        assert (counted.found, counted.right, counted.objects) == (found, right, objects)
    found, right, objects = (sum(column) for column in zip(*each))
    assert got.deployed.precision == right / found
    assert got.deployed.recall == right / objects
    p, r = right / found, right / objects
    assert got.deployed.f1 == pytest.approx(2 * p * r / (p + r))


@pytest.mark.parametrize("seed", range(3))
def test_no_threshold_is_better_than_the_best(seed: int) -> None:
    pictures, results = random_set(seed)
    got = figures_of(pictures, results, MAP, 0.25)
    every = sorted({float(s) for r in results for s in r.scores})
    for place, one in enumerate([*got.classes, got]):
        classes = range(CLASSES) if one is got else [place]
        f1 = {}
        for threshold in every:
            counts = [brute_force(pictures, results, k, threshold) for k in classes]
            found, right, objects = (sum(column) for column in zip(*counts))
            f1[threshold] = 2 * right / max(found + objects, 1)
        if max(f1.values()) == 0:
            assert one.best.threshold is None
            continue
        assert one.best.f1 == pytest.approx(max(f1.values()))
        assert one.best.threshold == max(t for t in every if f1[t] == max(f1.values()))


def test_difficult_objects_count_neither_way() -> None:
    box = [[10.0, 10.0, 50.0, 50.0]]
    picture = Picture(Path("a.jpg"), 1, make_truth(box * 2, [0, 1], skip=[True, False]))
    corners = np.array([[10.0, 10, 60, 60]] * 2)
    both = Result(100, 100, corners, np.array([0.9, 0.8]), np.array([0, 1]))
    got = figures_of([picture], [both], MAP, 0.25)
    assert (got.deployed.found, got.deployed.right, got.deployed.objects) == (1, 1, 1)
    assert got.classes[0].map50 is None
    assert got.map50_95 == pytest.approx(1.0)


def test_nothing_found_and_nothing_there() -> None:
    nothing = Result(9, 9, np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    there = Picture(Path("a.jpg"), 1, make_truth([[0, 0, 5, 5]], [2]))
    got: Figures = figures_of([there], [nothing], MAP, 0.25)
    assert (got.map50_95, got.deployed.precision, got.deployed.recall) == (0.0, None, 0.0)
    assert got.best.threshold is None
    got = figures_of([Picture(Path("a.jpg"), 1, make_truth([], []))], [nothing], MAP, 0.25)
    assert (got.map50_95, got.deployed.f1) == (None, None)
    got = figures_of([], [], MAP, 0.25)
    assert (got.images, got.map50, got.deployed.precision, got.classes) == (0, None, None, ())
