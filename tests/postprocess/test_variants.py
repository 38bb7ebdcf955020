"""Every variant of the kernels returns the same bytes, and reads nothing but the tensors."""

import ctypes
import mmap

import numpy as np
import pytest
import zoo
from heads import Model
from heads import grid_model as plain_model
from hypothesis import given, settings
from hypothesis import strategies as st
from test_nms import scene

from npud.errors import ConfigError
from postprocess import _native, reference
from postprocess.native import NativeEngine
from postprocess.options import NMS_MODES, Options

VARIANTS = _native.variants()
OPTIMISED = [name for name in VARIANTS if name != "scalar"]
PAGE = mmap.PAGESIZE


def fenced(tensor: np.ndarray, at_end: bool) -> np.ndarray:
    """A copy with the same strides whose last (or first) byte lies beside memory not to be read."""
    extent = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides))
    extent += tensor.itemsize
    room = -(-extent // PAGE) * PAGE
    memory = np.frombuffer(mmap.mmap(-1, room + 2 * PAGE), np.uint8)
    start = PAGE + (room - extent if at_end else 0)
    inside = memory[start : start + extent].view(tensor.dtype)
    copy = np.lib.stride_tricks.as_strided(inside, tensor.shape, tensor.strides)
    copy[...] = tensor
    protect = ctypes.CDLL(None).mprotect
    for fence in (0, PAGE + room):
        assert protect(ctypes.c_void_p(memory.ctypes.data + fence), ctypes.c_size_t(PAGE), 0) == 0
    return copy


def decode(model: Model, kernels: str, tensors: list[np.ndarray], options: Options) -> list[object]:
    """All that comes out, as bytes and counters; the results lie between guard bytes."""
    engine = NativeEngine(model.plan, model.specs, options, kernels)
    limit = min(options.max_detections, model.plan.cells)
    raw = [np.full(limit * size + 64, 0xA5, np.uint8) for size in (16, 4, 4)]
    inside = [array[32:-32] for array in raw]
    boxes = inside[0].view(np.float32).reshape(limit, 4)
    count = engine.decode(tensors, boxes, inside[1].view(np.float32), inside[2].view(np.int32))
    counters = [engine.name, count, engine.nonfinite, engine.contradictions]
    return counters + [array.tobytes() for array in raw]


def compare(model: Model, options: Options) -> int:
    """Decode with all variants; the number of detections."""
    tensors = [fenced(tensor, bool(i % 2)) for i, tensor in enumerate(model.tensors)]
    expected = decode(model, "scalar", tensors, options)
    for kernels in OPTIMISED:
        for at_end in (True, False):
            copies = [fenced(tensor, at_end) for tensor in model.tensors]
            found = decode(model, kernels, copies, options)
            assert found[0] == kernels
            assert found[1:] == expected[1:]
    return int(str(expected[1]))


@settings(max_examples=150, deadline=None)
@given(
    model=zoo.models(),
    threshold=st.sampled_from([0.0, 0.001, 0.25, 0.5, 0.9, 1.0]),
    iou=st.sampled_from([0.0, 0.45, 0.9, 1.0]),
    limit=st.sampled_from([1, 20, 300, 5000]),
    nms=st.sampled_from(NMS_MODES),
)
def test_every_head_in_every_form(model, threshold, iou, limit, nms):
    compare(model, Options(threshold, iou, limit, nms))


CELLS = (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 255, 257, 511, 513, 600)
CLASSES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 129)


@pytest.mark.parametrize("dtype", zoo.DTYPES)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_sizes_around_every_vector(dtype, layout):
    rng = np.random.default_rng(len(dtype))
    for i, cells in enumerate(CELLS):
        for k in range(4):
            classes = CLASSES[(4 * i + 7 * k) % len(CLASSES)]
            forms = {role: zoo.Form(dtype, layout) for role in ("box", "cls")}
            size, logits = (8, 8 * cells), k % 2 == 0
            model = zoo.grid_model(rng, "ltrb", forms, size, (8,), classes, 16, k, logits)
            compare(model, Options(0.3, 1.0, 1000))


@pytest.mark.parametrize("dtype", zoo.DTYPES)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("bins", [2, 3, 4, 8, 15, 16, 17, 18, 19, 32, 64])
def test_bins_around_every_vector(dtype, layout, bins):
    """All cells pass, so blocks of candidates come in every size; ties, NaN and infinity."""
    rng = np.random.default_rng(bins)
    for columns, style, per_channel in ((7, 3, False), (2, 1, True), (5, 2, False)):
        forms = {
            "box": zoo.Form(dtype, layout, per_channel),
            "cls": zoo.Form("float32", layout),
        }
        size = (16, 16 * columns)
        model = zoo.grid_model(rng, "dfl", forms, size, (8, 16), 3, bins, style, True)
        compare(model, Options(0.0, 0.45, 1000))


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("activation", ["logits", "probabilities"])
def test_bits_of_every_kind(threshold, layout, activation):
    """Random bits are numbers of all magnitudes, infinities, quiet and signalling NaN."""
    rng = np.random.default_rng(3)
    model = plain_model("ltrb", layout, (64, 200), (8,), 20, activation)
    cls = model.tensors[1]
    bits = rng.integers(0, 2**32, cls.size, dtype=np.uint32)
    special = np.array(
        [0, 1, 2**31, 2**31 + 1, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F800001,
         0xFF800001, 0x3E800000, 0x3F000000, 0x3EFFFFFF, 0xBF8C9F54],
        np.uint32,
    )  # fmt: skip
    for style in range(4):
        chosen = rng.choice(special, cls.size) if style else bits
        mixed = np.where(rng.random(cls.size) < (0, 1, 0.1, 0.01)[style], chosen, 0xC0A00000)
        cls[...] = (
            (bits if style == 0 else mixed.astype(np.uint32)).view(np.float32).reshape(cls.shape)
        )
        compare(model, Options(threshold, 0.45, 1000))


def test_none_one_and_all():
    rng = np.random.default_rng(5)
    for dtype in zoo.DTYPES:
        for layout in ("nchw", "nhwc"):
            forms = {role: zoo.Form(dtype, layout) for role in ("box", "cls")}
            model = zoo.grid_model(rng, "dfl", forms, (160, 160), classes=80, style=4)
            assert compare(model, Options(1.0, 0.45, 1000)) == 0
            assert compare(model, Options(0.0, 1.0, 1000)) == model.plan.cells


def nms(kernels, boxes, scores, class_ids, iou_threshold, mode="class"):
    kept = np.empty(len(scores), np.int32)
    number = NMS_MODES.index(mode)
    arguments = (boxes, scores, class_ids, kept, iou_threshold, len(scores), number, kernels)
    return kept[: _native.nms(*arguments)].copy()


@pytest.mark.parametrize("kernels", VARIANTS)
@pytest.mark.parametrize("iou_threshold", [0.0, 0.0005, 0.1, 0.45, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("spread", [50.0, 600.0, 1e6])
def test_long_lists(kernels, iou_threshold, spread):
    """Enough boxes of a class for the grid, which may only skip what does not overlap enough."""
    rng = np.random.default_rng(int(1000 * iou_threshold))
    boxes, scores, class_ids = scene(rng, 1500, 2, spread, levels=300)
    boxes[::7] = np.round(boxes[::7] / 8) * 8
    boxes[::50] += rng.choice([-3e3, 1e5], (30, 1)).astype(np.float32)
    boxes[1::97, 2:] = boxes[1::97, :2] + np.float32(1e-4)  # tiny
    boxes[2::97] *= np.float32(1e9)  # beyond what the grid takes
    boxes[3::97, 2] = boxes[3::97, 0]  # no area
    expected = reference.nms(boxes, scores, class_ids, iou_threshold, 10_000)
    np.testing.assert_array_equal(nms(kernels, boxes, scores, class_ids, iou_threshold), expected)
    expected = reference.nms(boxes, scores, class_ids, iou_threshold, 10_000, "agnostic")
    found = nms(kernels, boxes, scores, class_ids, iou_threshold, "agnostic")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kernels", VARIANTS)
@pytest.mark.parametrize("iou_threshold", [0.1, 0.45, 0.5, 0.7])
def test_pairs_as_far_apart_as_they_may_be(kernels, iou_threshold):
    """Boxes at the end of one that is 1 / threshold times as wide or high: the grid's bound."""
    rng = np.random.default_rng(4)
    corners = rng.uniform(0, 4000, (600, 2))
    large = np.hstack([corners, corners + 60])
    small = large.copy()
    side, axis = rng.integers(0, 2, 600), rng.integers(0, 2, 600)
    shorter = 60 * iou_threshold * (1 + rng.choice([-1e-3, 1e-3], 600))
    rows = np.arange(600)
    small[rows, axis + 2 * side] = np.where(
        side, corners[rows, axis] + shorter, corners[rows, axis] + 60 - shorter
    )
    boxes = np.vstack([large, small]).astype(np.float32)
    scores = np.linspace(1, 0.5, 1200, dtype=np.float32)
    expected = reference.nms(boxes, scores, np.zeros(1200, np.int32), iou_threshold, 10_000)
    found = nms(kernels, boxes, scores, np.zeros(1200, np.int32), iou_threshold)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kernels", VARIANTS)
@pytest.mark.parametrize("values", ["ties", "logits", "skewed", "one", "infinite"])
def test_order_of_many(kernels, values):
    rng = np.random.default_rng(2)
    count = 9000
    scores = {
        "ties": np.round(rng.random(count) * 55) / 55,
        "logits": rng.normal(0, 3, count),
        "skewed": 0.001 / rng.uniform(0.001, 1, count),
        "one": np.zeros(count),
        "infinite": rng.choice([np.inf, -np.inf, 1.0, -0.0, 0.0, 1e-42], count),
    }[values].astype(np.float32)
    class_ids = rng.integers(0, 80, count).astype(np.int32)
    boxes = np.zeros((count, 4), np.float32)
    expected = np.lexsort((np.arange(count), class_ids, -scores))
    np.testing.assert_array_equal(nms(kernels, boxes, scores, class_ids, 0.5, "none"), expected)


def test_a_variant_is_chosen_by_name(monkeypatch):
    model = plain_model()
    for name in VARIANTS:
        assert model.decoder(name).kernels == name
        monkeypatch.setenv("NPUD_KERNELS", name)
        assert model.decoder("auto").kernels == name
    assert model.decoder("native").kernels == VARIANTS[0]
    assert VARIANTS[-1] == "scalar"


def test_a_variant_of_another_cpu_is_refused(monkeypatch):
    other = next(name for name in ("avx2", "neon") if name not in VARIANTS)
    monkeypatch.setenv("NPUD_KERNELS", other)
    with pytest.raises(ConfigError, match=f'NPUD_KERNELS: "{other}" does not run on this CPU'):
        plain_model().decoder("auto")
    with pytest.raises(ValueError, match=f'no kernels "{other}"'):
        nms(other, *scene(np.random.default_rng(1), 4, 1), 0.5)
