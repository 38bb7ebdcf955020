"""Property tests: the native decoder returns what the reference returns."""

import numpy as np
import pytest
from heads import Model
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import DTYPES, Form, flat_model, grid_model, models

from npud.errors import ConfigError
from postprocess import reference

OPTIONS = {"max_examples": 400, "deadline": None}
DFL_CELLS = 1e-4  # the reference takes the softmax in float64


def assert_same(native, expected, atol):
    np.testing.assert_array_equal(native.class_ids, expected.class_ids)
    np.testing.assert_array_equal(native.scores, expected.scores)
    np.testing.assert_allclose(native.boxes, expected.boxes, atol=atol, rtol=2e-6 * (atol > 0))


def compare(model: Model, threshold=0.25, iou=0.45, limit=300, nms="class", **others) -> None:
    options = {
        "score_threshold": threshold,
        "iou_threshold": iou,
        "max_detections": limit,
        **others,
    }
    engines = [model.decoder(k, **options | {"nms": "none"}) for k in ("native", "reference")]
    found = [engine(model.tensors) for engine in engines]
    dfl = model.plan.head == "dfl"
    assert_same(*found, DFL_CELLS * max(level.stride for level in model.plan.levels) * dfl)
    assert engines[0].nonfinite == engines[1].nonfinite
    assert engines[0].contradictions == engines[1].contradictions
    # NMS decides on boxes that may differ in the last bits: judge it on the native boxes
    every = model.decode("native", **options | {"nms": "none", "max_detections": 100_000})
    if model.plan.head == "end2end":
        nms = "none"
    ranks = np.arange(len(every), 0, -1).astype(np.float32)
    kept = reference.nms(every.boxes, ranks, every.class_ids, iou, limit, nms)
    result = model.decode("native", **options, nms=nms)
    np.testing.assert_array_equal(result.boxes, every.boxes[kept])
    np.testing.assert_array_equal(result.scores, every.scores[kept])
    np.testing.assert_array_equal(result.class_ids, every.class_ids[kept])


@settings(**OPTIONS)
@given(
    model=models(),
    threshold=st.sampled_from([0.0, 0.001, 0.25, 0.5, 0.9, 1.0]),
    iou=st.sampled_from([0.0, 0.3, 0.45, 0.7, 1.0]),
    limit=st.sampled_from([1, 20, 300, 5000]),
    nms=st.sampled_from(["class", "agnostic", "none"]),
    sigmoid=st.sampled_from(["table", "exact"]),
    table_interpolation=st.sampled_from(["linear", "nearest"]),
    table_size=st.sampled_from([16, 1000, 1024]),
    table_range=st.sampled_from([8.0, 10.0, 12.5]),
)
def test_any_head(model, threshold, iou, limit, nms, **sigmoid):
    compare(model, threshold, iou, limit, nms, **sigmoid)


@settings(max_examples=150, deadline=None)
@given(
    model=models(),
    threshold=st.sampled_from([0.0, 0.001, 0.25, 0.5, 0.9]),
    limit=st.sampled_from([1, 20, 300]),
    sigmoid=st.sampled_from(["table", "exact"]),
)
def test_all_labels_of_any_head(model, threshold, limit, sigmoid):
    options = {
        "score_threshold": threshold,
        "max_detections": limit,
        "nms": "none",
        "multi_label": True,
        "sigmoid": sigmoid,
    }
    if model.plan.objectness and model.plan.head != "end2end":
        with pytest.raises(ConfigError, match="expected a head without objectness"):
            model.decoder("native", **options)
        return
    found = [model.decode(k, **options) for k in ("native", "reference")]
    dfl = model.plan.head == "dfl"
    assert_same(*found, DFL_CELLS * max(level.stride for level in model.plan.levels) * dfl)


def test_all_labels_need_no_nms():
    forms = dict.fromkeys(("box", "cls"), Form("float32", "nchw"))
    model = grid_model(np.random.default_rng(0), "ltrb", forms, (64, 64), (8,), 3)
    with pytest.raises(ConfigError, match='multi_label: expected nms = "none"'):
        model.decoder("native", multi_label=True)


SIZES = [(1, 1), (1, 7), (3, 5), (15, 17), (16, 16), (1, 257), (31, 33)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "nc1hwc2"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes_around_vector_widths(size, layout, dtype):
    for classes in (1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33):
        rng = np.random.default_rng(classes)
        forms = dict.fromkeys(("box", "cls"), Form(dtype, layout))
        compare(grid_model(rng, "ltrb", forms, (size[0] * 8, size[1] * 8), (8,), classes))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_every_type_of_every_head(dtype, padded, per_channel):
    rng = np.random.default_rng(5)
    for layout in ("nchw", "nhwc", "nc1hwc2"):
        form = Form(dtype, layout, per_channel, padded)
        forms = dict.fromkeys(("box", "cls", "obj", "all"), form)
        for head in ("dfl", "ltrb", "anchor", "yolox", "yolox_split"):
            for logits in (True, False):
                compare(grid_model(rng, head, forms, classes=20, logits=logits))
        if layout != "nc1hwc2" and (per_channel or not dtype.endswith("int8")):
            for head in ("flat", "flat_obj", "boxes_scores", "end2end"):
                compare(flat_model(rng, head, forms, classes=20))
