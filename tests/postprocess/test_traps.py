"""Traps that published decoders fell into.  01, 02, 04, 10 and 11: also in test_decode, test_nms."""

from fractions import Fraction

import numpy as np
import pytest
from heads import Model, grid_model, overlap, single_model
from zoo import Form, quantize, store

from npud.detections import Detections
from npud.errors import ModelError
from postprocess.decoder import make_decoder
from postprocess.detect_head import Hints, recognise
from postprocess.reference import sigmoid
from postprocess.tensor import Quantization, TensorSpec
from runtime.frame import Frame
from runtime.preprocess import InputSpec, Letterbox, Preprocessor


def stored_model(
    cls: np.ndarray,
    quantization: Quantization | None,
    dtype: str = "int8",
    activation: str = "probabilities",
    sums: tuple[np.ndarray, Quantization, str] | None = None,
) -> Model:
    """One 8x8 level of unit boxes with these class values (8, 8, C), stored as `dtype`."""
    specs, tensors = [], []
    parts = [("box", np.full((8, 8, 4), 0.4), Form(), None)]
    parts += [("cls", cls, Form(dtype), quantization)]
    if sums:
        parts += [("sum", sums[0], Form(sums[2]), sums[1])]
    for name, values, form, q in parts:
        spec, tensor = store(name, values, form, q)
        specs.append(spec)
        tensors.append(tensor)
    hints = Hints(head="ltrb", activation=activation, num_classes=cls.shape[-1], order="box,cls")
    return Model(recognise(specs, (64, 64), hints), specs, tensors)


def test_trap_01_double_sigmoid_raises_an_alarm(kernels):
    """Logits taken for probabilities: never switched, but counted."""
    cls = np.random.default_rng(1).normal(-3, 2, (8, 8, 20))
    wrong = stored_model(cls, None, "float32").decoder(kernels)
    right = stored_model(cls, None, "float32", "logits").decoder(kernels)
    calm = stored_model(sigmoid(cls), None, "float32").decoder(kernels)
    for decoder, alarms in ((wrong, 3), (right, 0), (calm, 0)):
        for _ in range(3):
            decoder(stored_model(cls if alarms else sigmoid(cls), None, "float32").tensors)
        assert decoder.contradictions == alarms
    slightly_negative = Quantization.per_tensor(1 / 255, -127)  # real values from -1/255
    near = stored_model(sigmoid(cls), slightly_negative)
    decoder = near.decoder(kernels)
    assert len(decoder(near.tensors)) > 0
    assert decoder.contradictions == 0


def test_trap_02_suppression_compares_the_classes_of_the_ordered_boxes(kernels):
    model = grid_model("ltrb", "nchw", (64, 64), (8,), 2, "probabilities", background=0.0)
    cls, rng = model.by_role["cls_8"], np.random.default_rng(2)
    model.by_role["box_8"][...] = 2.0
    cls[rng.integers(0, 2, 64), np.arange(64) // 8, np.arange(64) % 8] = rng.permutation(64) / 64
    found = model.decode(kernels, iou_threshold=0.3, score_threshold=0.01)
    matrix = overlap(found.boxes, found.boxes)
    same = found.class_ids[:, None] == found.class_ids[None]
    assert not ((matrix > 0.3) & same & ~np.eye(len(found), dtype=bool)).any()
    assert ((matrix > 0.3) & ~same).any()


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", -127), ("int8", -128), ("uint8", 0)])
def test_trap_03_background_at_any_zero_point_is_no_box(kernels, dtype, zero_point):
    q = Quantization.per_tensor(1 / 255, zero_point)
    model = stored_model(np.zeros((8, 8, 80)), q, dtype)
    assert len(model.decode(kernels, score_threshold=0.01)) == 0
    lowest = Quantization.per_tensor(24 / 255, zero_point)
    model = stored_model(np.full((8, 8, 80), -20.0), lowest, dtype, "logits")
    assert len(model.decode(kernels, score_threshold=0.55)) == 0


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "float16"])
@pytest.mark.parametrize("threshold", [0.25, 0.2, 0.3, 0.45, 0.5, 0.001, 0.9])
def test_trap_04_quantized_threshold_loses_no_score(kernels, dtype, threshold):
    """Every stored value in turn: it passes iff its exact real value is ≥ the threshold.

    Exact but for what float32 makes of the scale: a relative 2^-22 is forgiven.
    """
    if dtype == "float16":
        values = np.arange(0, 1, 1 / 64)
        values[::2] = np.float16(threshold) + np.arange(32) * 2.0**-13
        q = None
    else:
        scale = np.float32(threshold / 51)  # the threshold is 51 steps
        q = Quantization.per_tensor(scale, {"int8": -100, "uint8": 7}.get(dtype, -3))
        values = (np.arange(64) + 20) * float(scale)
    model = stored_model(values.reshape(8, 8, 1), q, dtype)
    found = model.decode(kernels, score_threshold=threshold, nms="none")
    stored = model.tensors[1].reshape(-1)
    if q is None:
        real = [Fraction(float(x)) for x in stored]
    else:
        real = [(int(x) - int(q.zero_point)) * Fraction(float(q.scale)) for x in stored]
    limit = Fraction(float(np.float32(threshold))) * (1 - Fraction(1, 1 << 21))
    surely = sum(x >= Fraction(threshold) for x in real)
    assert surely <= len(found) <= sum(x >= limit for x in real)
    assert len(found) == sum(x >= limit for x in real)
    assert (found.scores >= np.float32(threshold)).all()


@pytest.mark.parametrize("cls_dtype", ["float32", "float16", "int8", "uint8"])
@pytest.mark.parametrize("sum_dtype", ["float32", "float16", "int8", "uint8"])
@pytest.mark.parametrize("top", [0.3, 1.0, 1.6, 8.0, 600.0])
@pytest.mark.parametrize("truncate", [False, True])
def test_trap_05_score_sums_never_hide_an_object(kernels, cls_dtype, sum_dtype, top, truncate):
    """Sums that saturate at `top`, are coarse or truncated: the detections are those without sums."""
    rng = np.random.default_rng(5)
    cls = sigmoid(rng.normal(-6, 3, (8, 8, 30))).astype(np.float32)
    total = np.clip(cls.sum(-1, keepdims=True, dtype=np.float32), 0, 1)
    q_cls = (
        None
        if "float" in cls_dtype
        else Quantization.per_tensor(1 / 255, -128 if cls_dtype == "int8" else 0)
    )
    q_sum = (
        None
        if "float" in sum_dtype
        else Quantization.per_tensor(top / 255, -128 if sum_dtype == "int8" else 0)
    )
    if truncate and q_sum:
        total = np.floor(total / float(q_sum.scale)) * float(q_sum.scale)
    model = stored_model(cls, q_cls, cls_dtype, sums=(total, q_sum, sum_dtype))
    for threshold in (0.01, 0.25, 0.45, 0.9, 0.99):
        options = {"score_threshold": threshold, "nms": "none"}
        with_sums = model.decode(kernels, **options)
        without = model.decode(kernels, **options, use_score_sum=False)
        assert len(without) > 0 or threshold > 0.5
        np.testing.assert_array_equal(with_sums.scores, without.scores)
        np.testing.assert_array_equal(with_sums.boxes, without.boxes)


def test_trap_05_sums_do_skip_cells():
    """… and they are used: a sum of zero hides what the classes say."""
    cls = np.full((8, 8, 30), 0.9)
    q = Quantization.per_tensor(1 / 255, -128)
    model = stored_model(cls, q, "int8", sums=(np.zeros((8, 8, 1)), q, "int8"))
    assert len(model.decode("native", nms="none")) == 0
    assert len(model.decode("native", nms="none", use_score_sum=False)) == 64


@pytest.mark.parametrize("head", ["flat", "end2end"])
def test_trap_06_pixels_and_scores_of_one_int8_scale_are_refused(kernels, head):
    shape = (1, 84, 84) if head == "flat" else (1, 20, 6)
    q = Quantization.per_tensor(2.5, -128)
    specs = [TensorSpec("out", shape, np.dtype(np.int8), "", q)]
    hints = Hints(head=head, layout="nchw", num_classes=80 if head == "flat" else None)
    with pytest.raises(ModelError, match=r"out .* int8: its scores are multiples of 2\.5"):
        make_decoder(recognise(specs, (64, 64), hints), specs, kernels=kernels)
    channels = 84 if head == "flat" else 6
    scales = np.full(channels, 1 / 255, np.float32)
    scales[:4] = 2.5
    per_channel = Quantization(scales, np.full(channels, -128, np.int32))
    specs = [TensorSpec("out", shape, np.dtype(np.int8), "", per_channel)]
    make_decoder(recognise(specs, (64, 64), hints), specs, kernels=kernels)


def frame(pixels: np.ndarray) -> Frame:
    return Frame(pixels)


def test_trap_07_padding_is_grey_and_repeats_nothing():
    pixels = np.random.default_rng(7).integers(0, 100, (30, 64, 3), np.uint8)
    tensor, _ = Preprocessor(InputSpec((64, 64), pad_value=114))(frame(pixels))
    np.testing.assert_allclose(tensor[0, :, :17], 114 / 255, rtol=1e-6)
    np.testing.assert_allclose(tensor[0, :, 47:], 114 / 255, rtol=1e-6)


@pytest.mark.parametrize("fit", ["center", "topleft", "stretch"])
def test_trap_08_boxes_come_back_with_offsets_and_both_scales(kernels, fit):
    """A box around a known place of a 100x40 picture, decoded from a 64x64 model."""
    box = Letterbox.fit(100, 40, (64, 64), fit)
    wanted = np.array([10.0, 4.0, 90.0, 39.0])
    inside = wanted.copy()
    inside[0::2] = wanted[0::2] * box.scale_x + box.pad_x
    inside[1::2] = wanted[1::2] * box.scale_y + box.pad_y
    model = single_model((1, 20, 6), (64, 64), head="end2end")
    model.tensors[0][0, 0] = [*inside, 0.9, 2]
    model.tensors[0][0, 1] = [-50, -50, 200, 200, 0.8, 1]  # reaches out: clipped to the picture
    found = box.to_source(model.decode(kernels))
    np.testing.assert_allclose(found.boxes[0], wanted, atol=1e-3)
    np.testing.assert_array_equal(found.boxes[1], [0, 0, 100, 40])


@pytest.mark.parametrize(("color", "first"), [("rgb", 30), ("bgr", 10)])
def test_trap_09_colour_order_scale_and_padding_are_applied_once(color, first):
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[...] = 10, 20, 30  # B, G, R
    for std, scale in (((255.0,) * 3, 255.0), ((1.0,) * 3, 1.0)):
        for pad in (0, 114, 127):
            spec = InputSpec((64, 64), color=color, std=std, pad_value=pad)
            tensor, _ = Preprocessor(spec)(frame(pixels))
            centre = tensor[0, :, 32, 32] * scale
            np.testing.assert_allclose(centre, [first, 20, 40 - first], rtol=1e-6)
            np.testing.assert_allclose(tensor[0, :, 0, 0] * scale, pad, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "int8", "int16", "float16"])
def test_trap_10_equal_scores_have_one_order(kernels, dtype):
    """Few levels, many ties: score, then class, then cell; levels of other scales in between."""
    values = np.round(np.random.default_rng(10).random((8, 8, 5)) * 4) / 4
    q = None if "float" in dtype else Quantization.per_tensor(0.25 / 4, 0)
    found = stored_model(values, q, dtype).decode(kernels, nms="none", score_threshold=0.5)
    cells = np.rint(found.boxes[:, 1] / 8) * 8 + np.rint(found.boxes[:, 0] / 8)
    keys = list(zip((-found.scores).tolist(), found.class_ids.tolist(), cells.tolist()))
    assert keys == sorted(keys)
    best = values.max(-1).reshape(-1)
    assert len(found) == (best >= 0.5).sum()
    np.testing.assert_array_equal(
        found.class_ids[np.argsort(cells)], values.reshape(64, 5).argmax(1)[best >= 0.5]
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 6e4, -6e4, 1e-7])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("activation", ["logits", "probabilities"])
def test_trap_11_whole_tensors_of_one_value(kernels, value, dtype, activation):
    cls = np.full((8, 8, 3), value)
    decoder = stored_model(cls, None, dtype, activation).decoder(kernels, nms="none")
    found = decoder(stored_model(cls, None, dtype, activation).tensors)
    logits = activation == "logits"
    passing = not np.isnan(value) and (value > 1 or (logits and value > 0))
    assert len(found) == (64 if passing else 0)
    assert (found.scores <= 1).all()
    assert (found.scores >= 0.25).all()


def test_trap_12_a_collapsed_quantization_shows_beside_the_float_model(kernels):
    """[-229, 82] squeezed into [-14.5, -0.2]: a sane range by itself, but nothing passes."""
    rng = np.random.default_rng(12)
    logits = rng.normal(-60, 40, (8, 8, 4)).clip(-229, -3)
    logits[2, 3, 1], logits[6, 6, 2] = 82.0, 5.0
    healthy = Quantization.per_tensor((82 + 229) / 255, 60)
    collapsed = Quantization.per_tensor((14.5 - 0.2) / 255, 131)
    found = {
        name: stored_model(logits, q, dtype, "logits").decode(kernels, score_threshold=0.45)
        for name, q, dtype in (
            ("float", None, "float32"),
            ("healthy", healthy, "int8"),
            ("collapsed", collapsed, "int8"),
        )
    }
    assert classes(found["float"]) == classes(found["healthy"]) == [1, 2]
    assert classes(found["collapsed"]) == []
    assert quantize(logits, collapsed, Form("int8")).max() == 127


def classes(found: Detections) -> list[int]:
    return sorted(found.class_ids.tolist())
