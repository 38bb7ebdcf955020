"""Real models in every form that boards use, against an independent decode of the uncut model."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from heads import overlap
from zoo import Form, store

from npud.detections import Detections
from postprocess.decoder import make_decoder
from postprocess.detect_head import Hints, recognise
from postprocess.options import Options
from postprocess.tensor import TensorSpec
from runtime import models

pytestmark = [pytest.mark.shared, pytest.mark.timeout(300)]

RAW = ("heads", "heads_sigmoid", "rknn9", "bpu")
CASES = [("yolov8n", ""), ("yolo26n", ""), ("yolov5n", "")]
CASES += [(model, form) for model in ("yolov8n", "yolo26n") for form in RAW]
CASES += [("yolov5n", form) for form in RAW[:2]] + [("yolov8n", "nas")]
DTYPES = ("float16", "int8", "int16", "int32")


@pytest.fixture(scope="module")
def variants(shared, tmp_path_factory):
    """Folder with the variants of all models."""
    pytest.importorskip("onnx")
    source, target = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("variants")
    for name in ("yolov8n", "yolo26n", "yolov5n"):
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


RESULTS: dict[Path, tuple[list[TensorSpec], list[np.ndarray]]] = {}  # of the one picture


def run(path: Path, picture: np.ndarray) -> tuple[list[TensorSpec], list[np.ndarray]]:
    if path not in RESULTS:
        RESULTS[path] = infer(path, picture)
    return RESULTS[path]


def infer(path: Path, picture: np.ndarray) -> tuple[list[TensorSpec], list[np.ndarray]]:
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


def cut_model(shared: Path, variants: Path, name: str, form: str) -> Path:
    if form == "nas":
        return variants / f"nas_style.from_{name}.onnx"
    return variants / f"{name}.{form}.onnx" if form else shared / "models" / f"{name}.onnx"


def activation_of(form: str) -> str | None:
    """As a manifest would state it; None where the head defines it."""
    if form in ("", "nas"):
        return None
    return "logits" if form in ("heads", "bpu") else "probabilities"


@pytest.mark.parametrize(("name", "form"), CASES)
def test_equals_the_uncut_model(shared, variants, picture, kernels, name, form):
    uncut = shared / "models" / f"{name}.onnx"
    specs, tensors = run(cut_model(shared, variants, name, form), picture)
    plan = recognise(specs, (640, 640), Hints(activation=activation_of(form)))
    nms = "none" if name == "yolo26n" else "class"
    found = make_decoder(plan, specs, Options(nms=nms), kernels)(tensors)
    assert len(found) >= 4
    assert_equal_detections(found, expected_of(name, run(uncut, picture)[1][0]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "form"), [(n, f) for n, f in CASES if f and f != "nas"])
def test_stored_in_other_types(shared, variants, picture, kernels, name, form, dtype):
    """The same tensors as halves or integers find the same objects in the same places."""
    specs, tensors = run(cut_model(shared, variants, name, form), picture)
    layout = "nhwc" if form == "bpu" else "nchw"
    stored = []
    for spec, tensor in zip(specs, tensors):
        channels_last = tensor[0] if layout == "nhwc" else tensor[0].transpose(1, 2, 0)
        stored.append(store(spec.name, channels_last, Form(dtype, layout)))
    plan = recognise(specs, (640, 640), Hints(activation=activation_of(form)))
    exact = make_decoder(plan, specs, Options(score_threshold=0.4), kernels)(tensors)
    coarse = Options(score_threshold=0.3)
    found = make_decoder(plan, [s for s, _ in stored], coarse, kernels)([t for _, t in stored])
    matrix = overlap(exact.boxes, found.boxes) * (exact.class_ids[:, None] == found.class_ids)
    assert len(exact) >= 4
    assert matrix.max(1).min() >= (0.8 if dtype == "int8" else 0.97)
    assert np.abs(exact.scores - found.scores[matrix.argmax(1)]).max() <= 0.06


def test_rockchips_int8_grid(shared, kernels):
    """The simulator's outputs as the NPU has them: int8 with the .rknn file's own scales."""
    info = models.describe(shared / "models" / "rknn" / "yolov8n_rk3588_i8.rknn")
    with np.load(shared / "models" / "rknn" / "yolov8n_rk3588_i8.rknn.sim_bus.npz") as arrays:
        values = [arrays[name].astype(np.float32) for name in arrays.files]
    tensors = []
    for spec, value in zip(info.outputs, values):
        scale, zero_point = float(spec.quantization.scale), int(spec.quantization.zero_point)
        steps = np.rint(value / scale)
        assert np.abs(steps * scale - value).max() <= 0.01  # halves of the int8 values
        tensors.append(np.clip(steps + zero_point, -128, 127).astype(np.int8))
    plan = recognise(info.outputs, (640, 640), Hints(activation="probabilities"))
    assert plan.head == "dfl"
    assert plan.levels[0].score_sum is not None
    found = make_decoder(plan, info.outputs, Options(), kernels)(tensors)
    assert [(found.class_ids == class_id).sum() for class_id in (0, 5)] == [4, 1]
    ignoring = Options(use_score_sum=False)
    without = make_decoder(plan, info.outputs, ignoring, kernels)(tensors)
    np.testing.assert_array_equal(found.boxes, without.boxes)
    specs = [TensorSpec(s.name, s.shape, v.dtype) for s, v in zip(info.outputs, values)]
    real = make_decoder(plan, specs, Options(), kernels)(values)
    assert real.class_ids.tolist() == found.class_ids.tolist()
    assert overlap(real.boxes, found.boxes).max(1).min() > 0.98


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


def test_trap_12_the_dead_int8_model_shows_beside_the_float_one(shared):
    """Its class logits stay far below what the float model gives; alone they look sane."""
    best = []
    for name in ("float", "int8", "int8_calibrated_twice_scaled"):
        with np.load(shared / "models" / "bin" / f"yolo26n_{name}_bus.npz") as arrays:
            best.append(max(arrays[key].max() for key in arrays.files if key.startswith("cls")))
    assert abs(best[0] - best[1]) < 1
    assert best[0] - best[2] > 8
