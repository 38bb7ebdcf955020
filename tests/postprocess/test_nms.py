"""NMS against oracles that share no code with it."""

import numpy as np
import pytest
from heads import overlap
from hypothesis import given, settings
from hypothesis import strategies as st

from postprocess import _native, reference
from postprocess.options import NMS_MODES


def native_nms(boxes, scores, class_ids, iou_threshold, max_detections=300, mode="class"):
    kept = np.empty(min(max_detections, len(scores)), np.int32)
    count = _native.nms(
        np.ascontiguousarray(boxes, np.float32),
        np.ascontiguousarray(scores, np.float32),
        np.ascontiguousarray(class_ids, np.int32),
        kept,
        iou_threshold,
        max_detections,
        NMS_MODES.index(mode),
    )
    return kept[:count].astype(np.int64)


@pytest.fixture
def nms(kernels):
    return native_nms if kernels == "native" else reference.nms


def scene(rng, count, classes, spread=100.0, levels=None):
    centres, sizes = rng.uniform(0, spread, (count, 2)), rng.uniform(5, 60, (count, 2))
    boxes = np.hstack([centres - sizes / 2, centres + sizes / 2]).astype(np.float32)
    scores = rng.random(count).astype(np.float32)
    if levels:
        scores = np.float32(np.ceil(scores * levels) / levels)
    return boxes, scores, rng.integers(0, classes, count).astype(np.int32)


def onnx_nms(boxes, scores, class_ids, iou_threshold, classes):
    """The kept indices as a set, by onnxruntime's NonMaxSuppression."""
    onnx = pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("NonMaxSuppression", ["b", "s", "m", "i", "t"], ["o"])
    inputs = [
        info("b", onnx.TensorProto.FLOAT, [1, None, 4]),
        info("s", onnx.TensorProto.FLOAT, [1, None, None]),
        info("m", onnx.TensorProto.INT64, [1]),
        info("i", onnx.TensorProto.FLOAT, [1]),
        info("t", onnx.TensorProto.FLOAT, [1]),
    ]
    outputs = [info("o", onnx.TensorProto.INT64, [None, 3])]
    graph = onnx.helper.make_graph([node], "g", inputs, outputs)
    opset = [onnx.helper.make_opsetid("", 11)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    table = np.zeros((1, classes, len(scores)), np.float32)
    table[0, class_ids, np.arange(len(scores))] = scores
    feed = {
        "b": boxes[None],
        "s": table,
        "m": np.array([len(scores)], np.int64),
        "i": np.array([iou_threshold], np.float32),
        "t": np.array([1e-9], np.float32),
    }
    return set(session.run(None, feed)[0][:, 2].tolist())


@pytest.mark.parametrize("classes", [1, 3, 80])
@pytest.mark.parametrize("iou_threshold", [0.1, 0.45, 0.7])
def test_equals_onnxruntime(nms, classes, iou_threshold):
    rng = np.random.default_rng(classes)
    for count in (1, 7, 64, 500):
        boxes, scores, class_ids = scene(rng, count, classes)
        kept = nms(boxes, scores, class_ids, iou_threshold, 10_000)
        assert set(kept.tolist()) == onnx_nms(boxes, scores, class_ids, iou_threshold, classes)
        assert (np.diff(scores[kept]) <= 0).all()


def test_trap_02_class_is_looked_up_through_the_order(nms):
    """Dense scene, classes interleaved: only boxes of the same class may suppress each other."""
    boxes, scores, class_ids = scene(np.random.default_rng(2), 400, 5, spread=40.0)
    kept = nms(boxes, scores, class_ids, 0.45, 1000)
    matrix = overlap(boxes, boxes)
    same = class_ids[:, None] == class_ids[None]
    assert not ((matrix > 0.4501) & same & ~np.eye(400, dtype=bool))[np.ix_(kept, kept)].any()
    better = scores[:, None] > scores[None]
    for dropped in set(range(400)) - set(kept.tolist()):
        assert (
            (matrix[kept, dropped] > 0.4499) & same[kept, dropped] & better[kept, dropped]
        ).any()


def test_modes(nms):
    boxes = np.array([[0, 0, 10, 10]] * 3, np.float32)
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    class_ids = np.array([0, 1, 1], np.int32)
    assert nms(boxes, scores, class_ids, 0.5, mode="class").tolist() == [1, 0]
    assert nms(boxes, scores, class_ids, 0.5, mode="agnostic").tolist() == [1]
    assert nms(boxes, scores, class_ids, 0.5, mode="none").tolist() == [1, 2, 0]
    assert nms(boxes, scores, class_ids, 1.0, mode="class").tolist() == [1, 2, 0]
    assert nms(boxes, scores, class_ids, 0.5, 2, mode="none").tolist() == [1, 2]


def test_trap_10_ties_go_by_class_then_index(nms):
    boxes = np.array([[i * 20, 0, i * 20 + 10, 10] for i in range(6)], np.float32)
    class_ids = np.array([2, 1, 2, 0, 1, 0], np.int32)
    assert nms(boxes, np.full(6, 0.5, np.float32), class_ids, 0.5).tolist() == [3, 5, 1, 4, 0, 2]


def test_exactly_at_the_threshold_is_kept(nms):
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 1]], np.float32)  # IoU 0.5
    scores, class_ids = np.array([0.9, 0.8], np.float32), np.zeros(2, np.int32)
    assert len(nms(boxes, scores, class_ids, 0.5)) == 2
    assert len(nms(boxes, scores, class_ids, 0.499)) == 1


def test_degenerate_boxes_overlap_nothing(nms):
    boxes = np.array(
        [[0, 0, 10, 10], [5, 5, 5, 8], [5, 5, 5, 8], [8, 8, 2, 2], [8, 8, 2, 2]], np.float32
    )
    scores = np.linspace(0.9, 0.5, 5).astype(np.float32)
    assert nms(boxes, scores, np.zeros(5, np.int32), 0.0).tolist() == [0, 1, 2, 3, 4]


def test_huge_boxes_and_nan_scores(nms):
    huge = np.float32(3e38)
    boxes = np.array([[-huge, -huge, huge, huge]] * 2 + [[0, 0, 1, 1]] * 3, np.float32)
    boxes[4, 0] = np.nan
    scores = np.array([0.9, 0.8, 0.7, np.nan, 0.6], np.float32)
    assert nms(boxes, scores, np.zeros(5, np.int32), 0.5).tolist() == [0, 1, 2]


def test_no_boxes(nms):
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    assert len(nms(*empty, 0.5)) == 0


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 300),
    classes=st.sampled_from([1, 2, 7, 80, 4095]),
    levels=st.sampled_from([None, 1, 3, 55]),
    iou_threshold=st.sampled_from([0.0, 0.3, 0.45, 0.7, 0.999, 1.0]),
    limit=st.sampled_from([1, 5, 300, 1000]),
    mode=st.sampled_from(NMS_MODES),
)
def test_native_equals_reference(seed, count, classes, levels, iou_threshold, limit, mode):
    rng = np.random.default_rng(seed)
    boxes, scores, class_ids = scene(rng, count, classes, levels=levels)
    if seed % 3 == 0:
        boxes = np.round(boxes / 8) * 8  # equal and touching boxes
    expected = reference.nms(boxes, scores, class_ids, iou_threshold, limit, mode)
    found = native_nms(boxes, scores, class_ids, iou_threshold, limit, mode)
    np.testing.assert_array_equal(found, expected)


def test_many_boxes_of_one_class():
    boxes, scores, class_ids = scene(np.random.default_rng(8), 3000, 1, spread=500.0, levels=40)
    expected = reference.nms(boxes, scores, class_ids, 0.5, 500)
    np.testing.assert_array_equal(native_nms(boxes, scores, class_ids, 0.5, 500), expected)


def test_wrong_arguments_are_refused():
    boxes, scores, class_ids = scene(np.random.default_rng(1), 4, 2)
    kept = np.empty(4, np.int32)
    with pytest.raises(ValueError, match="class ids"):
        _native.nms(boxes, scores, np.array([0, 1, -1, 0], np.int32), kept, 0.5, 4, 0)
    with pytest.raises(ValueError, match="class ids"):
        _native.nms(boxes, scores, np.array([0, 1, 4095, 0], np.int32), kept, 0.5, 4, 0)
    with pytest.raises(ValueError, match="kept"):
        _native.nms(boxes, scores, class_ids, kept[:3], 0.5, 4, 0)
    with pytest.raises(ValueError, match="float32"):
        _native.nms(boxes.astype(np.float64), scores, class_ids, kept, 0.5, 4, 0)
    with pytest.raises(ValueError, match="mode"):
        _native.nms(boxes, scores, class_ids, kept, 0.5, 4, 3)
