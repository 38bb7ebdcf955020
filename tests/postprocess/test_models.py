"""Real models in every form that boards use, against an independent decode of the uncut model."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from heads import overlap

from npud.detections import Detections
from postprocess.decoder import make_decoder
from postprocess.detect_head import Hints, recognise
from postprocess.options import Options
from postprocess.tensor import TensorSpec

pytestmark = [pytest.mark.shared, pytest.mark.timeout(300)]

RAW = ("heads", "heads_sigmoid", "rknn9", "bpu")
CASES = [("yolov8n", ""), ("yolo26n", ""), ("yolov5n", "")]
CASES += [(model, form) for model in ("yolov8n", "yolo26n") for form in RAW]


@pytest.fixture(scope="module")
def variants(shared, tmp_path_factory):
    """Folder with the variants of yolov8n and yolo26n."""
    pytest.importorskip("onnx")
    source, target = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("variants")
    for name in ("yolov8n", "yolo26n"):
        (source / f"{name}.onnx").symlink_to(shared / "models" / f"{name}.onnx")
    tool = shared / "tools" / "make_variants.py"
    subprocess.run([sys.executable, str(tool), str(source), str(target)], check=True)
    return target


@pytest.fixture(scope="module")
def picture(shared):
    """bus.jpg as a letterboxed (1, 3, 640, 640) RGB tensor in [0, 1]."""
    cv2 = pytest.importorskip("cv2")
    image = cv2.imread(str(shared / "data" / "bus.jpg"))
    height, width = image.shape[:2]
    scale = 640 / max(height, width)
    small = cv2.resize(image, (round(width * scale), round(height * scale)))
    top, left = (640 - small.shape[0]) // 2, (640 - small.shape[1]) // 2
    canvas = np.full((640, 640, 3), 114, np.uint8)
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.ascontiguousarray(canvas[..., ::-1].transpose(2, 0, 1)[None], np.float32) / 255


def run(path: Path, picture: np.ndarray) -> tuple[list[TensorSpec], list[np.ndarray]]:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    tensors = session.run(None, {session.get_inputs()[0].name: picture})
    names = [output.name for output in session.get_outputs()]
    return [TensorSpec(n, t.shape, t.dtype) for n, t in zip(names, tensors)], tensors


def greedy(boxes, scores, class_ids, iou_threshold):
    """Plain NMS in float64, sharing nothing with the code under test."""
    order, kept = list(np.argsort(-scores, kind="stable")), []
    matrix = overlap(boxes, boxes)
    while order:
        best = order.pop(0)
        kept.append(best)
        order = [
            i for i in order if class_ids[i] != class_ids[best] or matrix[best, i] <= iou_threshold
        ]
    return kept


def expected_of(name, tensor):
    """(boxes, scores, class_ids) above 0.25 of the uncut model's output."""
    if name == "yolo26n":
        rows = tensor[0][tensor[0][:, 4] >= 0.25]
        return rows[:, :4], rows[:, 4], rows[:, 5].astype(int)
    rows = tensor[0].T if name == "yolov8n" else tensor[0]
    classes = rows[:, 4:] if name == "yolov8n" else rows[:, 5:] * rows[:, 4:5]
    rows, classes = rows[classes.max(1) >= 0.25], classes[classes.max(1) >= 0.25]
    corners = np.hstack([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2])
    kept = greedy(corners, classes.max(1), classes.argmax(1), 0.45)
    return corners[kept], classes.max(1)[kept], classes.argmax(1)[kept]


def assert_equal_detections(found: Detections, expected) -> None:
    boxes, scores, class_ids = expected
    assert len(found) == len(scores)
    matrix = overlap(found.boxes, boxes) * (found.class_ids[:, None] == class_ids[None])
    partner = matrix.argmax(1)
    assert len(set(partner.tolist())) == len(found)
    assert matrix.max(1).min() >= 0.99
    assert np.abs(found.scores - scores[partner]).max() <= 0.002


@pytest.mark.parametrize(("name", "form"), CASES)
def test_equals_the_uncut_model(shared, variants, picture, kernels, name, form):
    uncut = shared / "models" / f"{name}.onnx"
    specs, tensors = run(variants / f"{name}.{form}.onnx" if form else uncut, picture)
    activation = None
    if form:
        activation = "logits" if form in ("heads", "bpu") else "probabilities"
    plan = recognise(specs, (640, 640), Hints(activation=activation))
    nms = "none" if name == "yolo26n" else "class"
    found = make_decoder(plan, specs, Options(nms=nms), kernels)(tensors)
    assert len(found) >= 4
    assert_equal_detections(found, expected_of(name, run(uncut, picture)[1][0]))


@pytest.mark.parametrize(
    ("file", "activation", "people_and_bus"),
    [
        ("rknn/yolov8n_rk3588_i8.rknn.sim_bus.npz", "probabilities", [4, 1]),
        ("bin/yolo26n_float_bus.npz", "logits", [4, 1]),
        ("bin/yolo26n_int8_bus.npz", "logits", [4, 1]),
        ("bin/yolo26n_int8_calibrated_twice_scaled_bus.npz", "logits", [0, 0]),  # a dead model
    ],
)
def test_vendors_simulators(shared, kernels, file, activation, people_and_bus):
    """What the vendors' own int8 simulators return for bus.jpg."""
    with np.load(shared / "models" / file) as arrays:
        tensors = [arrays[name].astype(np.float32) for name in arrays.files]
        specs = [TensorSpec(n, t.shape, t.dtype) for n, t in zip(arrays.files, tensors)]
    plan = recognise(specs, (640, 640), Hints(activation=activation))
    found = make_decoder(plan, specs, Options(), kernels)(tensors)
    assert [(found.class_ids == class_id).sum() for class_id in (0, 5)] == people_and_bus
