"""Real models on real pictures, through `npud detect`, against a reference that shares no code.

The reference letterboxes with OpenCV, runs the uncut ONNX with onnxruntime and decodes with a few
lines of NumPy.  Needs the shared folder of models and images; skipped without it.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import pytest

from benchmarks.accuracy import coco_map

pytestmark = [pytest.mark.shared, pytest.mark.timeout(600)]
Command = Callable[..., tuple[int, str, str]]
Found = tuple[np.ndarray, np.ndarray, np.ndarray]  # boxes (N, 4), scores (N,), class ids (N,)


@pytest.fixture(scope="module")
def variants(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models cut into the head forms that boards use."""
    folder = tmp_path_factory.mktemp("variants")
    arguments = sys.argv
    sys.argv = ["make_variants.py", str(shared / "models"), str(folder)]
    try:
        runpy.run_path(str(shared / "tools" / "make_variants.py"), run_name="__main__")
    finally:
        sys.argv = arguments
    return folder


def session(path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def reference(
    model: ort.InferenceSession, image: Path, score: float, iou: float, one_label: bool
) -> Found:
    """Detections of an uncut model, boxes in source pixels.

    An end-to-end model may give one box with two labels; one_label keeps only the better.
    """
    pixels = cv2.imread(str(image))
    height, width = pixels.shape[:2]
    scale = min(640 / width, 640 / height)
    w, h = round(width * scale), round(height * scale)
    left, top = (640 - w) // 2, (640 - h) // 2
    canvas = np.full((640, 640, 3), 114, np.uint8)
    canvas[top : top + h, left : left + w] = cv2.resize(pixels, (w, h))
    tensor = canvas[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    (out,) = model.run(None, {"images": tensor})
    if out.shape[2] == 6:  # end to end
        boxes, scores, ids = out[0, :, :4], out[0, :, 4], out[0, :, 5].astype(int)
        first = np.unique(boxes, axis=0, return_index=True)[1]  # rows come best first
        if one_label:
            boxes, scores, ids = boxes[first], scores[first], ids[first]
        iou = 1.0
    else:
        rows = out[0].T if out.shape[1] == 84 else out[0]
        classes = rows[:, 5:] * rows[:, 4:5] if rows.shape[1] == 85 else rows[:, 4:]
        scores, ids = classes.max(1), classes.argmax(1)
        half = rows[:, 2:4] / 2
        boxes = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], 1)
    keep = np.flatnonzero(scores >= score)
    keep = keep[np.argsort(-scores[keep], kind="stable")]
    keep = np.array(greedy(boxes[keep], ids[keep], keep, iou)[:300], int)
    boxes = (boxes[keep] - [left, top, left, top]) / [w / width, h / height, w / width, h / height]
    return boxes.clip(0, [width, height, width, height]), scores[keep], ids[keep]


def greedy(boxes: np.ndarray, ids: np.ndarray, index: np.ndarray, limit: float) -> list[int]:
    kept: list[int] = []
    for i in range(len(boxes)):
        same = [k for k in kept if ids[k] == ids[i]]
        if not same or overlap(boxes[i], boxes[same]).max() <= limit:
            kept.append(i)
    return [int(index[k]) for k in kept]


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    side = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    inter = side.clip(0).prod(1)
    area = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - inter
    return inter / np.maximum(area, 1e-9)


def assert_same(got: list[dict[str, Any]], expected: Found, threshold: float) -> None:
    """Each side's detections are the other's; those within 0.002 of the threshold may differ."""
    boxes, scores, ids = expected
    left = list(range(len(scores)))
    for one in got:
        match = [
            i for i in left
            if ids[i] == one["class_id"] and abs(scores[i] - one["score"]) <= 0.002
            and overlap(np.array(one["box"]), boxes[i : i + 1])[0] >= 0.99
        ]  # fmt: skip
        if match:
            left.remove(match[0])
        else:
            assert one["score"] < threshold + 0.002, f"extra: {one}"
    assert all(scores[i] < threshold + 0.002 for i in left), "missing"


NAMES = [f"{m}{cut}" for m in ("yolov8n", "yolo26n") for cut in ("", ".heads", ".bpu")]
EXTRA = [
    "yolov8n.heads_sigmoid",
    "yolo26n.heads_sigmoid",
    "yolov8n.rknn9",
    "yolo26n.rknn9",
    "yolov5n",
]


@pytest.mark.parametrize("name", NAMES + EXTRA)
def test_detections_equal_an_independent_reference(
    command: Command, shared: Path, variants: Path, name: str
) -> None:
    base, _, cut = name.partition(".")
    path = (variants if cut else shared / "models") / f"{name}.onnx"
    photos = sorted((shared / "data/coco_val/images").glob("*.jpg"))[:10]
    images = [shared / "data/bus.jpg", *photos]
    iou = 1.0 if base == "yolo26n" else 0.45
    code, out, err = command("detect", path, *images, "--json", "--iou", iou)
    assert (code, err) == (0, "")
    uncut = session(shared / "models" / f"{base}.onnx")
    results = json.loads(out)
    assert sum(len(r["detections"]) for r in results) > 20
    for image, result in zip(images, results):
        assert_same(result["detections"], reference(uncut, image, 0.25, iou, bool(cut)), 0.25)


@pytest.mark.parametrize(
    ("name", "iou", "expected"), [("yolov8n", 0.7, 0.447), ("yolo26n", 0.7, 0.465), ("yolov5n", 0.6, 0.320)]
)  # fmt: skip
def test_map_is_the_models_published_one(
    command: Command, shared: Path, name: str, iou: float, expected: float
) -> None:
    model, photos = shared / f"models/{name}.onnx", shared / "data/coco_val/images"
    code, out, _ = command("detect", model, photos, "--json", "--score", "0.001", "--iou", iou)
    assert code == 0
    assert coco_map(shared / "data/coco_val/instances.json", json.loads(out)) == pytest.approx(
        expected, abs=0.003
    )
