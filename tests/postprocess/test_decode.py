"""What a decoder returns, on both implementations."""

import numpy as np
import pytest
from heads import grid_model, single_model, spec

from npud.detections import label_of
from npud.errors import ConfigError, ModelError
from postprocess.decoder import make_decoder
from postprocess.detect_head import Hints, recognise
from postprocess.options import Options
from postprocess.reference import sigmoid
from postprocess.tensor import Quantization, TensorSpec


def put(model, stride, row, column, class_id, value, ltrb=(1, 1, 1, 1)):
    model.by_role[f"cls_{stride}"][class_id, row, column] = value
    box = model.by_role[f"box_{stride}"]
    if box.shape[0] == 4:
        box[:, row, column] = ltrb
        return
    bins = box.shape[0] // 4
    box[:, row, column] = -30.0
    for side, distance in enumerate(ltrb):
        low = int(distance)
        box[side * bins + low, row, column] = 10 + np.log(max(1 - (distance - low), 1e-9))
        if distance > low:
            box[side * bins + low + 1, row, column] = 10 + np.log(distance - low)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(("head", "bins"), [("ltrb", 0), ("dfl", 16), ("dfl", 17), ("dfl", 5)])
@pytest.mark.parametrize("score_sum", [False, True])
def test_boxes_of_all_levels(kernels, layout, head, bins, score_sum):
    model = grid_model(head, layout, (64, 96), classes=21, bins=bins, score_sum=score_sum)
    put(model, 8, 2, 11, 7, 3.0, (1.5, 2.25, 0.5, 3))
    put(model, 16, 0, 0, 20, 2.0, (0, 0, 1, 2))
    put(model, 32, 1, 2, 0, 1.0, (3, 1, 1.25, 2))
    found = model.decode(kernels)
    expected = [
        [(11.5 - 1.5) * 8, (2.5 - 2.25) * 8, (11.5 + 0.5) * 8, (2.5 + 3) * 8],
        [8, 8, 24, 40],
        [(2.5 - 3) * 32, 0.5 * 32, 3.75 * 32, 3.5 * 32],
    ]
    np.testing.assert_allclose(found.boxes, expected, atol=1e-3)
    np.testing.assert_allclose(found.scores, sigmoid(np.array([3.0, 2, 1])), atol=5e-6)
    assert found.class_ids.tolist() == [7, 20, 0]
    assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)
    assert found.class_ids.dtype == np.int32


@pytest.mark.parametrize("orientation", ["nchw", "nhwc"])
@pytest.mark.parametrize("objectness", [False, True])
def test_flat(kernels, orientation, objectness):
    cells, channels = (84 * 3 if objectness else 84), 4 + 3 + objectness
    shape = (1, channels, cells) if orientation == "nchw" else (1, cells, channels)
    model = single_model(shape)
    rows = model.tensors[0][0].T if orientation == "nchw" else model.tensors[0][0]
    rows[5] = [10, 20, 4, 6, *([0.5] if objectness else []), 0.1, 0.9, 0.3]
    rows[70] = [30, 30, 8, 8, *([0.9] if objectness else []), 0.8, 0.8, 0.3]
    found = model.decode(kernels)
    first, second = ([8, 17, 12, 23], 0.9, 1), ([26, 26, 34, 34], 0.8, 0)
    if objectness:
        first, second = ([26, 26, 34, 34], 0.72, 0), ([8, 17, 12, 23], 0.45, 1)
    np.testing.assert_allclose(found.boxes, [first[0], second[0]], rtol=1e-6)
    np.testing.assert_allclose(found.scores, [first[1], second[1]], rtol=1e-6)
    assert found.class_ids.tolist() == [first[2], second[2]]


@pytest.mark.parametrize("batch", [False, True])
def test_end2end(kernels, batch):
    model = single_model((1, 20, 7) if batch else (1, 20, 6), size=(640, 640))
    rows = model.tensors[0][0][:, int(batch) :]
    rows[3] = [1, 2, 3, 4, 0.5, 17]
    rows[9] = [1, 2, 3, 4, 0.7, 2]
    rows[10] = [1, 2, 3, 4, 0.7, 2]  # the graph has done NMS: equal boxes stay
    rows[11] = [1, 2, 3, 4, 0.2, 2]
    found = model.decode(kernels)
    assert found.class_ids.tolist() == [2, 2, 17]
    np.testing.assert_array_equal(found.scores, np.float32([0.7, 0.7, 0.5]))
    np.testing.assert_array_equal(found.boxes, [[1, 2, 3, 4]] * 3)


def test_end2end_rows_that_are_no_detection(kernels):
    model = single_model((1, 20, 6), size=(640, 640))
    rows = model.tensors[0][0]
    for i, class_id in enumerate([np.nan, -1, 1.5, 4095, np.inf, 3]):
        rows[i] = [1, 2, 3, 4, 0.9, class_id]
    decoder = model.decoder(kernels)
    assert decoder(model.tensors).class_ids.tolist() == [3]
    assert decoder.nonfinite == 5


def test_trap_01_probabilities_are_not_put_through_a_sigmoid_again(kernels):
    model = grid_model(activation="probabilities", background=0.001)
    put(model, 8, 1, 1, 2, 0.9)
    found = model.decode(kernels)
    assert found.scores.tolist() == [np.float32(0.9)]
    logits = grid_model(activation="logits", background=0.001)  # all positive: no reason to switch
    assert logits.decode(kernels).scores[0] == pytest.approx(0.50025, abs=1e-4)


def test_trap_04_scores_exactly_at_the_threshold_pass(kernels):
    for threshold in (0.25, 0.3, 0.45, 0.001, 1.0):
        model = grid_model(activation="probabilities", background=0.0)
        value = np.float32(threshold)
        put(model, 8, 1, 1, 2, value)
        put(model, 16, 1, 1, 2, np.nextafter(value, np.float32(0)))
        found = model.decode(kernels, score_threshold=threshold, nms="none")
        assert found.scores.tolist() == [value], threshold
    model = grid_model()
    put(model, 8, 1, 1, 2, 0.0)
    assert model.decode(kernels, score_threshold=0.5).scores.tolist() == [0.5]


def test_no_score_is_below_the_threshold(kernels):
    rng = np.random.default_rng(4)
    model = grid_model()
    for stride in (8, 16, 32):
        cls = model.by_role[f"cls_{stride}"]
        cls[...] = -1.0986123 + rng.normal(0, 1e-6, cls.shape)
    found = model.decode(kernels, nms="none")
    assert len(found) > 5
    assert (found.scores >= np.float32(0.25)).all()


def test_a_coarse_table_reports_no_score_below_the_threshold(kernels):
    """For positive logits the interpolation lies below the curve."""
    model = grid_model()
    put(model, 8, 1, 1, 2, np.log(0.7 / 0.3) + 1e-6)
    found = model.decode(kernels, score_threshold=0.7, table_size=16)
    assert found.scores.tolist() == [pytest.approx(0.7, abs=1e-6)]
    assert found.scores[0] >= np.float32(0.7)


def test_negative_zero_ties_with_zero(kernels):
    model = grid_model()
    for column, value in ((0, -0.0), (4, 0.0), (7, -0.0)):
        put(model, 8, 1, column, 1, value, (0.1,) * 4)
    assert (np.diff(model.decode(kernels).boxes[:, 0]) > 0).all()


def test_trap_10_ties_are_ordered_by_class_then_cell(kernels):
    model = grid_model("ltrb", "nhwc", (64, 64))
    for stride, row, column, class_id in ((32, 0, 1, 0), (8, 3, 3, 2), (8, 3, 2, 2), (16, 1, 1, 1)):
        put(model, stride, row, column, class_id, 1.0, (0.1,) * 4)
    put(model, 16, 1, 1, 2, 1.0, (0.1,) * 4)  # a tie within the cell: the lower class
    found = model.decode(kernels)
    assert found.class_ids.tolist() == [0, 1, 2, 2]
    assert found.boxes[2, 0] < found.boxes[3, 0]


def test_trap_11_nan_and_infinity(kernels):
    model = grid_model(classes=3)
    put(model, 8, 0, 0, 1, np.nan)
    put(model, 8, 0, 1, 1, 2.0)
    model.by_role["cls_8"][0, 0, 1] = np.nan  # a NaN beside a real score does not hide it
    put(model, 8, 4, 4, 0, 3.0, (np.nan, 1, 1, 1))
    put(model, 16, 2, 2, 0, 3.0, (1, 1, np.inf, 1))
    put(model, 32, 0, 0, 2, np.inf)
    put(model, 32, 1, 1, 2, -np.inf)
    decoder = model.decoder(kernels)
    found = decoder(model.tensors)
    assert found.class_ids.tolist() == [2, 1]
    assert found.scores[0] == pytest.approx(1, abs=5e-5)
    assert decoder.nonfinite == 2
    decoder(model.tensors)
    assert decoder.nonfinite == 4
    for role in ("cls_8", "cls_16", "cls_32"):
        model.by_role[role][...] = np.nan
    assert len(model.decode(kernels, score_threshold=0.0)) == 0


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_trap_11_dfl_bins(kernels, special):
    model = grid_model("dfl")
    put(model, 8, 0, 0, 1, 2.0, (1, 1, 1, 1))
    model.by_role["box_8"][3, 0, 0] = special
    decoder = model.decoder(kernels)
    assert len(decoder(model.tensors)) == (special == -np.inf)  # a bin of -inf just has no weight
    assert decoder.nonfinite == (special != -np.inf)
    model.by_role["box_8"][:, 0, 0] = -np.inf
    assert len(decoder(model.tensors)) == 0


def test_trap_11_zero_one_and_all_candidates(kernels):
    model = grid_model(size=(640, 640), classes=4)
    decoder = model.decoder(kernels, max_detections=100_000, nms="none")
    empty = decoder(model.tensors)
    assert len(empty) == 0
    assert empty.boxes.shape == (0, 4)
    put(model, 32, 19, 19, 3, 5.0)
    assert len(decoder(model.tensors)) == 1
    for stride in (8, 16, 32):
        model.by_role[f"cls_{stride}"][2] = 1.0
    found = decoder(model.tensors)
    assert len(found) == 8400
    assert found.class_ids[0] == 3
    assert len(model.decode(kernels, max_detections=7)) == 7
    assert len(model.decode(kernels, iou_threshold=1.0, max_detections=9000)) == 8400


def test_trap_11_class_id_beyond_the_labels(kernels):
    model = grid_model(classes=9)
    put(model, 8, 1, 1, 8, 5.0)
    assert label_of(("person",), int(model.decode(kernels).class_ids[0])) == "class 8"


def test_threshold_zero_lets_everything_pass(kernels):
    model = grid_model(background=-200.0)
    found = model.decode(kernels, score_threshold=0.0, nms="none", max_detections=1000)
    assert len(found) == 84
    assert (found.scores < 1e-4).all()


def test_best_boxes_survive_the_cut(kernels):
    model = grid_model(classes=1, size=(64, 64))
    values = np.random.default_rng(3).permutation(64).astype(np.float32) / 10
    model.by_role["cls_8"][0] = values.reshape(8, 8)
    model.by_role["box_8"][...] = 0.2
    found = model.decode(kernels, max_detections=10)
    np.testing.assert_allclose(found.scores, sigmoid(np.arange(63, 53, -1) / 10), atol=5e-6)


def test_exact_and_table_sigmoid(kernels):
    model = grid_model()
    put(model, 8, 1, 1, 0, 11.0)
    assert model.decode(kernels, sigmoid="exact").scores[0] == pytest.approx(0.9999833, abs=2e-7)
    assert model.decode(kernels).scores[0] == pytest.approx(0.9999546, abs=2e-7)
    with pytest.raises(ConfigError, match=r'sigmoid: .* got "none", .* logits \(stated\)'):
        model.decoder(kernels, sigmoid="none")
    probabilities = grid_model(activation="probabilities", background=0.0)
    put(probabilities, 8, 1, 1, 0, 0.75)
    for sigmoid_mode in ("none", "exact", "table"):
        assert probabilities.decode(kernels, sigmoid=sigmoid_mode).scores.tolist() == [0.75]


def test_inputs_are_not_changed(kernels):
    model = grid_model("dfl", "nhwc")
    put(model, 8, 1, 1, 0, 4.0)
    before = [tensor.copy() for tensor in model.tensors]
    for tensor in model.tensors:
        tensor.flags.writeable = False
    model.decode(kernels)
    for tensor, copy in zip(model.tensors, before):
        np.testing.assert_array_equal(tensor, copy)


def test_wrong_tensors_name_what_was_expected(kernels):
    model = grid_model()
    decoder = model.decoder(kernels)
    good = model.tensors
    with pytest.raises(ModelError, match="expected 6 output tensors, got 5"):
        decoder(good[:5])
    swapped = [good[0].transpose(0, 2, 3, 1).copy(), *good[1:]]
    with pytest.raises(
        ModelError, match=r'"box_8" expected \(1, 4, 8, 8\) float32, got \(1, 8, 8, 4'
    ):
        decoder(swapped)
    with pytest.raises(
        ModelError, match=r'"cls_8" expected .* float32, got \(1, 3, 8, 8\) float64'
    ):
        decoder([good[0], good[1].astype(np.float64), *good[2:]])
    with pytest.raises(ModelError, match=r'"cls_8" expected .* float32, got \(1, 3, 8, 8\) int32'):
        decoder([good[0], good[1].astype(np.int32), *good[2:]])
    strided = np.zeros((1, 3, 8, 16), np.float32)[..., ::2]
    with pytest.raises(ModelError, match=r'"cls_8" expected .* C-contiguous'):
        decoder([good[0], strided, *good[2:]])
    raw = np.zeros(good[1].nbytes + 1, np.uint8)
    misaligned = raw[1:].view(np.float32).reshape(good[1].shape)
    with pytest.raises(ModelError, match=r'"cls_8" expected .* aligned'):
        decoder([good[0], misaligned, *good[2:]])
    with pytest.raises(ModelError, match=r'"cls_8" expected .* got NoneType'):
        decoder([good[0], None, *good[2:]])
    assert len(decoder(good)) == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("score_threshold", -0.1),
        ("score_threshold", 1.1),
        ("score_threshold", float("nan")),
        ("score_threshold", "0.3"),
        ("iou_threshold", 2),
        ("iou_threshold", True),
        ("max_detections", 0),
        ("max_detections", 2.0),
        ("max_detections", 10**9),
        ("nms", "soft"),
        ("sigmoid", "fast"),
        ("table_size", 1),
        ("table_interpolation", "cubic"),
        ("table_range", 0.0),
        ("table_range", float("inf")),
    ],
)
def test_options_are_checked(key, value):
    with pytest.raises(ConfigError, match=rf"^{key}: expected .*, got "):
        Options(**{key: value})


def test_choice_of_kernels(monkeypatch):
    model = grid_model()
    monkeypatch.setenv("NPUD_KERNELS", "reference")
    assert model.decoder("auto").kernels == "reference"
    assert model.decoder("native").kernels != "reference"
    monkeypatch.setenv("NPUD_KERNELS", "fastest")
    with pytest.raises(ConfigError, match=r"NPUD_KERNELS: expected .*'fastest'"):
        model.decoder("auto")
    monkeypatch.delenv("NPUD_KERNELS")
    assert model.decoder("auto").kernels != "reference"
    with pytest.raises(ConfigError, match="kernels: expected"):
        model.decoder("c")


def test_other_types_and_too_many_classes_are_refused():
    plan = grid_model().plan
    specs = grid_model().specs
    for dtype, message in (("f8", "expected one of float32, "), ("i1", "without a scale")):
        specs[0] = TensorSpec(specs[0].name, specs[0].shape, np.dtype(dtype))
        with pytest.raises(ModelError, match=message):
            make_decoder(plan, specs)
    for scale, zero_point in ((0.0, 0), (np.nan, 0), ([1.0, 1.0], [0, 0]), ([1.0] * 4, [0])):
        quantization = Quantization(np.float32(scale), np.int32(zero_point))
        specs[0] = TensorSpec(specs[0].name, specs[0].shape, np.dtype("i1"), "", quantization)
        with pytest.raises(ModelError, match="scales"):
            make_decoder(plan, specs)
    outputs = [spec("box", 1, 4, 4, 4), spec("cls", 1, 5000, 4, 4)]
    plan = recognise(outputs, (32, 32), Hints(activation="logits"))
    with pytest.raises(ModelError, match="4095 classes"):
        make_decoder(plan, outputs)
