"""Property tests: the native decoder returns what the reference returns."""

import numpy as np
import pytest
from heads import Model, grid_model, single_model
from hypothesis import given, settings
from hypothesis import strategies as st

from postprocess import reference

OPTIONS = {"max_examples": 120, "deadline": None}
TABLE_ERROR = (20 / 1024) ** 2 * 0.0962 / 8 + 4.54e-5 + 2e-7


@st.composite
def grid_models(draw: st.DrawFn) -> Model:
    head = draw(st.sampled_from(["dfl", "ltrb"]))
    strides = draw(st.sampled_from([(8, 16, 32), (8,), (4, 8), (16, 32, 64), (8, 16, 32, 64)]))
    activation = draw(st.sampled_from(["logits", "probabilities"]))
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    model = grid_model(
        head,
        draw(st.sampled_from(["nchw", "nhwc"])),
        (rows * strides[-1], columns * strides[-1]),
        strides,
        draw(st.one_of(st.integers(1, 40), st.sampled_from([64, 80, 333, 1000]))),
        activation,
        draw(st.sampled_from([2, 8, 15, 16, 17, 32])),
        draw(st.booleans()),
        draw(st.sampled_from(["box,cls", "cls,box"])),
    )
    fill(model, np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.integers(0, 4)))
    return model


def fill(model: Model, rng: np.random.Generator, style: int) -> None:
    """Random tensors; style 1: few levels (ties); 2: specials; 3: all pass; 4: hardly any."""
    for name, tensor in model.by_role.items():
        if name.startswith("cls"):
            values = rng.normal({3: 2.0, 4: -9.0}.get(style, -2.5), 2.0, tensor.shape)
            values = np.round(values * 2) / 2 if style == 1 else values
            tensor[...] = values
            if model.plan.activation == "probabilities":
                tensor[...] = reference.sigmoid(tensor)
        elif name.startswith("box"):
            tensor[...] = rng.uniform(-1, 5, tensor.shape)
        if style == 2:
            mask = rng.random(tensor.shape) < 0.01
            tensor[mask] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42], mask.sum())


def assert_same(native, expected, atol):
    np.testing.assert_array_equal(native.class_ids, expected.class_ids)
    np.testing.assert_allclose(native.scores, expected.scores, atol=TABLE_ERROR, rtol=0)
    np.testing.assert_allclose(native.boxes, expected.boxes, atol=atol, rtol=2e-6)


def compare(model: Model, threshold: float, iou: float, limit: int, nms: str) -> None:
    options = {"score_threshold": threshold, "iou_threshold": iou, "max_detections": limit}
    raw = [model.decoder(k, **options | {"nms": "none"}) for k in ("native", "reference")]
    atol = 1e-4 * max(level.stride for level in model.plan.levels)
    assert_same(raw[0](model.tensors), raw[1](model.tensors), atol)
    assert raw[0].nonfinite == raw[1].nonfinite
    # NMS decides on boxes that differ in the last bits: judge it on the native boxes
    every = model.decode("native", **options | {"nms": "none", "max_detections": 100_000})
    if model.plan.head == "end2end":
        nms = "none"
    ranks = np.arange(len(every), 0, -1).astype(np.float32)
    kept = reference.nms(every.boxes, ranks, every.class_ids, iou, limit, nms)
    found = model.decode("native", **options, nms=nms)
    np.testing.assert_array_equal(found.boxes, every.boxes[kept])
    np.testing.assert_array_equal(found.scores, every.scores[kept])
    np.testing.assert_array_equal(found.class_ids, every.class_ids[kept])


choices = {
    "threshold": st.sampled_from([0.0, 0.001, 0.25, 0.5, 0.9, 1.0]),
    "iou": st.sampled_from([0.0, 0.3, 0.45, 0.7, 1.0]),
    "limit": st.sampled_from([1, 20, 300, 5000]),
    "nms": st.sampled_from(["class", "agnostic", "none"]),
}


@settings(**OPTIONS)
@given(model=grid_models(), **choices)
def test_heads_per_stride(model, threshold, iou, limit, nms):
    compare(model, threshold, iou, limit, nms)


@settings(**OPTIONS)
@given(
    seed=st.integers(0, 2**32),
    style=st.integers(0, 2),
    orientation=st.sampled_from(["nchw", "nhwc"]),
    objectness=st.booleans(),
    classes=st.integers(1, 90),
    **choices,
)
def test_flat(seed, style, orientation, objectness, classes, threshold, iou, limit, nms):
    cells, channels = 336 * (3 if objectness else 1), 4 + classes + objectness
    shape = (1, channels, cells) if orientation == "nchw" else (1, cells, channels)
    model = single_model(shape, (128, 128), num_classes=classes, layout=orientation)
    rng = np.random.default_rng(seed)
    planes = model.tensors[0][0] if orientation == "nchw" else model.tensors[0][0].T
    planes[:4] = rng.uniform(0, 128, (4, cells))
    planes[4:] = rng.random(planes[4:].shape) ** 4
    if style == 1:
        planes[4:] = np.round(planes[4:] * 8) / 8
    if style == 2:
        mask = rng.random(planes.shape) < 0.01
        planes[mask] = rng.choice([np.nan, np.inf, -np.inf, 0.0], mask.sum())
    compare(model, threshold, iou, limit, nms)


@settings(**OPTIONS)
@given(seed=st.integers(0, 2**32), special=st.booleans(), batch=st.booleans(), **choices)
def test_end2end(seed, special, batch, threshold, iou, limit, nms):
    model = single_model((1, 100, 6 + batch), (640, 640))
    rng = np.random.default_rng(seed)
    rows = model.tensors[0][0][:, int(batch) :]
    rows[:, :4] = rng.uniform(-10, 650, (100, 4))
    rows[:, 4] = np.round(rng.random(100), 1)
    rows[:, 5] = rng.integers(0, 80, 100)
    if special:
        mask = rng.random(rows.shape) < 0.05
        rows[mask] = rng.choice([np.nan, np.inf, -np.inf, -1.0, 1e9], mask.sum())
    compare(model, threshold, iou, limit, nms)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 5), (15, 17), (16, 16), (1, 257), (31, 33)])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_sizes_around_vector_widths(size, layout):
    for classes in (1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33):
        model = grid_model("ltrb", layout, (size[0] * 8, size[1] * 8), (8,), classes)
        fill(model, np.random.default_rng(classes), 0)
        compare(model, 0.25, 0.45, 300, "class")
