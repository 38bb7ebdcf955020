"""Heads beside dfl, ltrb, flat and end2end: which shapes they are, and their formulas by hand."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from heads import Model, spec
from zoo import ANCHORS, Form, store

from npud.errors import ModelError
from postprocess.detect_head import Hints, recognise
from postprocess.level_heads import YOLOV5_ANCHORS
from postprocess.tensor import TensorSpec
from runtime.models import manifest

P = Hints(activation="probabilities")
SIZE = (64, 96)
SIGMA = {"probabilities": lambda t: t, "logits": lambda t: 1 / (1 + math.exp(-t))}


def per_stride(channels, layout="nchw", size=(640, 640), strides=(8, 16, 32)):
    outputs = []
    for s in strides:
        rows, columns = size[0] // s, size[1] // s
        for k, c in enumerate(channels):
            shape = (1, c, rows, columns) if layout == "nchw" else (1, rows, columns, c)
            outputs.append(spec(f"out{k}_{s}", *shape))
    return outputs


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("classes", [1, 2, 20, 80, 1000])
def test_anchor_is_recognised_by_its_labels(layout, classes):
    outputs = per_stride([3 * (5 + classes)], layout)
    hints = Hints(activation="logits", num_classes=classes, head=None if classes > 1 else "anchor")
    plan = recognise(outputs, (640, 640), hints)
    assert (plan.head, plan.num_classes, plan.strides) == ("anchor", classes, (8, 16, 32))
    assert "anchors: YOLOv5's of COCO, as none are stated" in plan.evidence
    assert [level.anchor for level in plan.levels] == [a for s in YOLOV5_ANCHORS for a in s]
    assert [level.box_channel for level in plan.levels[:3]] == [0, 5 + classes, 2 * (5 + classes)]
    assert {level.layout for level in plan.levels} == {layout}


def test_255_channels_are_yolov5_and_85_yolox():
    """[1,255,h,w] could be YOLOX with 250 classes: the channel counts of COCO models win."""
    assert recognise(per_stride([255]), (640, 640), P).head == "anchor"
    assert recognise(per_stride([85]), (640, 640), P).head == "yolox"
    with_250 = recognise(per_stride([255]), (640, 640), Hints(activation="logits", num_classes=250))
    assert (with_250.head, with_250.num_classes) == ("yolox", 250)
    plan = recognise(per_stride([255]), (640, 640), P)
    assert str(plan).startswith(
        "anchor head, 640x640 input, 80 classes, strides 8/16/32, NCHW, 3 anchors, probabilities ("
    )


def test_joined_outputs_that_shapes_do_not_tell():
    with pytest.raises(ModelError, match=r"2 ways: yolox, 13 classes.*; or anchor, 1 classes"):
        recognise(per_stride([18]), (640, 640), P)
    with pytest.raises(ModelError, match=r"one way, by shape alone: yolox, 27 classes"):
        recognise([spec("proto", 1, 32, 160, 160)], (640, 640), P)
    for hints in (
        Hints(head="anchor", activation="logits"),
        Hints(anchors=(ANCHORS,) * 3, activation="logits"),
        Hints(num_classes=1, activation="logits"),
    ):
        assert recognise(per_stride([18]), (640, 640), hints).head == "anchor"
    assert recognise(per_stride([18]), (640, 640), Hints(head="yolox", activation="logits"))


def test_anchors_are_needed_where_yolov5s_do_not_fit():
    strides = (8, 16, 32, 64)
    outputs = per_stride([255], strides=strides)
    with pytest.raises(ModelError, match=r"strides \(8, 16, 32, 64\) needs `anchors`"):
        recognise(outputs, (640, 640), P)
    hints = Hints(activation="logits", anchors=(ANCHORS,) * 4, activation_evidence="stated")
    plan = recognise(outputs, (640, 640), hints)
    assert plan.evidence == "stated"
    assert [level.anchor for level in plan.levels] == [*ANCHORS] * 4
    with pytest.raises(ModelError, match="the same number of `anchors`"):
        recognise(outputs, (640, 640), Hints(activation="logits", anchors=(ANCHORS,) * 3))
    two = Hints(activation="logits", anchors=(ANCHORS[:2],) * 4, num_classes=20)
    assert len(recognise(per_stride([50], strides=strides), (640, 640), two).levels) == 8


@pytest.mark.parametrize("classes", [2, 20, 80])
def test_a_third_output_is_told_by_the_order(classes):
    """Box, classes, third: a score sum; box, third, classes and classes, box, third: YOLOX."""
    for channels, head in (
        ([4, classes, 1], "ltrb"),
        ([4, 1, classes], "yolox"),
        ([classes, 4, 1], "yolox"),
    ):
        plan = recognise(per_stride(channels), (640, 640), P)
        assert (plan.head, plan.num_classes) == (head, classes)
        assert (plan.levels[0].obj is None) == (head == "ltrb")
    for channels in ([classes, 1, 4], [1, 4, classes], [1, classes, 4]):
        with pytest.raises(ModelError, match=r"2 ways: .*score sum in .*objectness in "):
            recognise(per_stride(channels), (640, 640), P)


def test_a_third_output_is_told_by_the_manifest():
    for channels in itertools.permutations([4, 20, 1]):
        for hints, head in (
            (Hints(head="yolox", activation="logits"), "yolox"),
            (Hints(objectness=True, activation="logits"), "yolox"),
            (Hints(head="ltrb", activation="logits"), "ltrb"),
            (Hints(objectness=False, activation="logits"), "ltrb"),
        ):
            plan = recognise(per_stride(channels), (640, 640), hints)
            level, names = plan.levels[0], [f"out{k}_8" for k in range(3)]
            assert (plan.head, plan.num_classes) == (head, 20)
            assert channels[names.index(f"out{level.box}_8")] == 4
            third = level.obj if head == "yolox" else level.score_sum
            assert channels[third] == 1
    with pytest.raises(ModelError, match="2 ways"):
        recognise(per_stride([4, 1, 1]), (640, 640), P)


@pytest.mark.parametrize("classes", [1, 3, 4, 80])
def test_boxes_and_scores_in_any_order(classes):
    boxes, scores = spec("boxes", 1, 8400, 4), spec("scores", 1, 8400, classes)
    planes = spec("boxes", 1, 4, 8400), spec("scores", 1, classes, 8400)
    for pair in ((boxes, scores), planes):
        for order in (pair, pair[::-1]):
            hints = None
            if classes == 4:
                with pytest.raises(ModelError, match=r"2 ways: .*boxes in .*boxes in "):
                    recognise(order, (640, 640))
                hints = Hints(order="box,cls" if order[0].name == "boxes" else "cls,box")
            plan = recognise(order, (640, 640), hints)
            assert (plan.head, plan.num_classes) == ("boxes_scores", classes)
            assert order[plan.levels[0].box].name == "boxes"
            assert (plan.activation, plan.evidence) == (
                "probabilities",
                "by definition of boxes_scores",
            )


def test_boxes_and_scores_of_unknown_length_need_the_manifest():
    pair = spec("boxes", 1, 99, 4), spec("scores", 1, 99, 80)
    with pytest.raises(ModelError, match="no known head"):
        recognise(pair, (640, 640))
    assert recognise(pair, (640, 640), Hints(head="boxes_scores")).cells == 99


def test_blocks_of_channels():
    """NC1HWC2: the number of channels comes with the output; blocks of 16 for int8, 8 for halves."""
    outputs = []
    for stride, cells in ((8, 80), (16, 40), (32, 20)):
        for name, c in (("box", 64), ("cls", 80), ("sum", 1)):
            shape = (1, -(-c // 16), cells, cells, 16)
            outputs.append(
                TensorSpec(f"{name}_{stride}", shape, np.dtype("i1"), "nc1hwc2", channels=c)
            )
    plan = recognise(outputs, (640, 640), P)
    assert (plan.head, plan.num_classes, plan.levels[0].layout) == ("dfl", 80, "nc1hwc2")
    assert plan.levels[0].score_sum is not None
    mixed = [*outputs[:2], spec("sum_8", 1, 1, 80, 80)]
    plan = recognise(mixed, (640, 640), Hints(activation="logits", layout="nchw"))
    assert (plan.num_classes, plan.levels[0].layout) == (80, "nchw")
    per_anchor = [spec(f"o{s}", 1, 3, 640 // s, 640 // s, 85) for s in (8, 16, 32)]
    plan = recognise(per_anchor, (640, 640), P)  # as Ultralytics' YOLOv5 has it: anchors in front
    assert (plan.head, plan.num_classes) == ("anchor", 80)


def decode_by_hand(head, activation, stride, row, column, t, anchor):
    """(box, score, class) in float64 from the formulas in docs/postprocess.md."""
    sigma = SIGMA[activation]
    if head == "anchor":
        x, y = (2 * sigma(t[0]) - 0.5 + column) * stride, (2 * sigma(t[1]) - 0.5 + row) * stride
        w, h = (2 * sigma(t[2])) ** 2 * anchor[0], (2 * sigma(t[3])) ** 2 * anchor[1]
    else:
        x, y = (t[0] + column) * stride, (t[1] + row) * stride
        w, h = math.exp(t[2]) * stride, math.exp(t[3]) * stride
    classes = [sigma(value) for value in t[5:]]
    score = sigma(t[4]) * max(classes)
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2], score, int(np.argmax(classes))


@pytest.mark.parametrize("head", ["anchor", "yolox", "yolox_split", "anchor_first"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "nc1hwc2"])
@pytest.mark.parametrize("activation", ["logits", "probabilities"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int16"])
def test_formulas(kernels, head, layout, activation, dtype):
    rng, classes, logits = np.random.default_rng(4), 3, activation == "logits"
    count = 3 if head.startswith("anchor") else 1
    specs, tensors, expected = [], [], []
    for stride in (8, 16, 32):
        grid = SIZE[0] // stride, SIZE[1] // stride
        t = np.full((*grid, count, 5 + classes), -9.0 if logits else 0.001)
        row, column, a = (int(rng.integers(0, n)) for n in (*grid, count))
        values = rng.normal(0, 1, 8) if logits else rng.random(8)
        t[row, column, a] = values
        t[row, column, a, 4:6] = (2.5, 2 + stride / 32) if logits else (0.95, 0.8 + stride / 320)
        at = t[row, column, a].astype(dtype if "float" in dtype else "float32")
        name = "anchor" if count == 3 else "yolox"
        expected.append(
            decode_by_hand(name, activation, stride, row, column, at.tolist(), ANCHORS[a])
        )
        parts = {"all": t.reshape(*grid, -1)}
        if head == "yolox_split":
            parts = {"box": t[..., 0, :4], "obj": t[..., 0, 4:5], "cls": t[..., 0, 5:]}
        for role, value in parts.items():
            one, tensor = store(f"{role}_{stride}", value, Form(dtype, layout))
            if head == "anchor_first":  # [1, A, h, w, 5+C]
                tensor = np.ascontiguousarray(
                    store(role, value, Form(dtype, "nhwc"))[1]
                    .reshape(*grid, count, -1)
                    .transpose(2, 0, 1, 3)[None]
                )
                one = TensorSpec(one.name, tensor.shape, tensor.dtype, "", one.quantization)
            specs.append(one)
            tensors.append(tensor)
    hints = Hints(
        head="anchor" if count == 3 else "yolox",
        activation=activation,
        num_classes=classes,
        layout=None if layout == "nc1hwc2" else layout,
        anchors=(ANCHORS,) * 3 if count == 3 else None,
    )
    found = Model(recognise(specs, SIZE, hints), specs, tensors).decode(kernels, nms="none")
    expected.sort(key=lambda item: -item[1])
    tolerance = {"float32": 1e-4, "float16": 2e-3, "int16": 2e-3}[dtype]
    np.testing.assert_allclose(found.scores, [s for _, s, _ in expected], atol=tolerance)
    boxes = np.array([box for box, _, _ in expected])
    np.testing.assert_allclose(found.boxes, boxes, atol=200 * tolerance, rtol=tolerance)
    assert found.class_ids.tolist() == [c for _, _, c in expected]


def test_the_manifest_in_the_docs(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "postprocess.md").read_text()
    example = text.split("```toml\n")[1].split("```")[0]
    (tmp_path / "yolov7.toml").write_text(example)
    stated = manifest.read(tmp_path / "yolov7.toml")
    hints = Hints(head=stated.head, activation=stated.activation, anchors=stated.anchors)
    plan = recognise(per_stride([255]), (640, 640), hints)
    assert plan.evidence == "stated"
    assert plan.levels[-1].anchor == (459, 401)
