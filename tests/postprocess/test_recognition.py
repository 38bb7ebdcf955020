"""Which head a set of shapes is."""

import itertools

import pytest
from heads import spec

from npud.errors import ModelError
from postprocess.detect_head import Hints, recognise

LOGITS = Hints(activation="logits", activation_evidence="manifest")


def head(box, classes, layout="nchw", size=(640, 640), strides=(8, 16, 32), score_sum=False):
    outputs = []
    for s in strides:
        for name, c in (("box", box), ("cls", classes), ("sum", 1))[: 3 if score_sum else 2]:
            rows, columns = size[0] // s, size[1] // s
            shape = (1, c, rows, columns) if layout == "nchw" else (1, rows, columns, c)
            outputs.append(spec(f"{name}_{s}", *shape))
    return outputs


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("score_sum", [False, True])
@pytest.mark.parametrize(
    ("box", "name", "bins"), [(4, "ltrb", 0), (64, "dfl", 16), (68, "dfl", 17)]
)
@pytest.mark.parametrize("classes", [1, 2, 3, 5, 16, 20, 40, 80, 81, 1000])
def test_heads_per_stride(layout, score_sum, box, name, bins, classes):
    outputs = head(box, classes, layout, score_sum=score_sum)
    hints = LOGITS
    if score_sum and (box, classes) == (4, 1):  # might be YOLOX
        hints = Hints(head="ltrb", activation="logits")
    plan = recognise(outputs, (640, 640), hints)
    assert (plan.head, plan.num_classes, plan.levels[0].bins) == (name, classes, bins)
    assert [level.stride for level in plan.levels] == [8, 16, 32]
    for level in plan.levels:
        assert level.layout == layout
        assert outputs[level.box].name == f"box_{level.stride}"
        assert outputs[level.cls].name == f"cls_{level.stride}"
        if score_sum:
            assert outputs[level.score_sum].name == f"sum_{level.stride}"


def test_any_order_of_outputs():
    outputs = head(64, 80, strides=(8, 16), size=(64, 96), score_sum=True)
    for order in itertools.permutations(range(6)):
        shuffled = [outputs[i] for i in order]
        for level in recognise(shuffled, (64, 96), LOGITS).levels:
            assert shuffled[level.box].name == f"box_{level.stride}"
            assert shuffled[level.cls].name == f"cls_{level.stride}"
            assert shuffled[level.score_sum].name == f"sum_{level.stride}"


@pytest.mark.parametrize("strides", [(8,), (16, 32), (4, 8, 16), (4, 8, 16, 32), (8, 16, 32, 64)])
def test_other_strides_and_non_square(strides):
    plan = recognise(head(64, 7, strides=strides, size=(384, 640)), (384, 640), LOGITS)
    assert tuple(level.stride for level in plan.levels) == strides
    assert plan.levels[0].grid == (384 // strides[0], 640 // strides[0])


def test_channels_equal_to_the_grid_are_no_problem():
    """[1, 80, 80, 80] alone could be either layout; the other levels decide."""
    for layout in ("nchw", "nhwc"):
        assert recognise(head(64, 80, layout), (640, 640), LOGITS).levels[0].layout == layout


@pytest.mark.parametrize(
    ("box", "classes"), [(64, 4), (68, 4), (4, 64), (68, 64), (64, 64), (4, 4)]
)
def test_ambiguous_channels(box, classes):
    outputs = head(box, classes)
    with pytest.raises(ModelError, match=r"2 ways: .* or .*boxes in cls_8, classes in box_8"):
        recognise(outputs, (640, 640), LOGITS)
    by_order = recognise(outputs, (640, 640), Hints(activation="logits", order="box,cls"))
    assert outputs[by_order.levels[0].box].name == "box_8"
    other = recognise(outputs, (640, 640), Hints(activation="logits", order="cls,box"))
    assert outputs[other.levels[0].box].name == "cls_8"
    if box != classes:
        plan = recognise(outputs, (640, 640), Hints(activation="logits", num_classes=classes))
        assert plan.num_classes == classes
        assert outputs[plan.levels[0].box].name == "box_8"


def test_unusual_bins_need_no_hint_when_only_one_reading_fits():
    plan = recognise(head(32, 7), (640, 640), LOGITS)
    assert (plan.head, plan.levels[0].bins, plan.num_classes) == ("dfl", 8, 7)


def test_square_ambiguity_of_the_layout():
    outputs = head(4, 4, size=(32, 32), strides=(8,))
    with pytest.raises(ModelError, match=r"NCHW.*NHWC"):
        recognise(outputs, (32, 32), Hints(activation="logits", order="box,cls"))
    hints = Hints(activation="logits", order="box,cls", layout="nhwc")
    assert recognise(outputs, (32, 32), hints).levels[0].layout == "nhwc"


def test_different_channel_counts_per_level_are_no_head():
    outputs = head(64, 80)[:4] + head(64, 81)[4:]
    with pytest.raises(ModelError, match=r"no known head .*cls_32 \[1, 81, 20, 20\]"):
        recognise(outputs, (640, 640), LOGITS)


@pytest.mark.parametrize(
    ("shape", "classes", "objectness", "layout"),
    [
        ((1, 84, 8400), 80, False, "nchw"),
        ((1, 8400, 84), 80, False, "nhwc"),
        ((1, 8400, 6), 2, False, "nhwc"),
        ((1, 6, 8400), 2, False, "nchw"),
        ((1, 5, 8400), 1, False, "nchw"),
        ((1, 25200, 85), 80, True, "nhwc"),
        ((1, 85, 25200), 80, True, "nchw"),
        ((1, 25200, 6), 1, True, "nhwc"),
        ((1, 84, 8400, 1), 80, False, "nchw"),
        ((1, 1, 8400, 84), 80, False, "nhwc"),
        ((84, 8400), 80, False, "nchw"),
        ((1, 84, 34000), 80, False, "nchw"),  # with P2
        ((1, 84, 8500), 80, False, "nchw"),  # with P6
    ],
)
def test_flat(shape, classes, objectness, layout):
    plan = recognise([spec("out", *shape)], (640, 640))
    assert (plan.head, plan.num_classes, plan.objectness) == ("flat", classes, objectness)
    assert plan.levels[0].layout == layout
    assert (plan.activation, plan.evidence) == ("probabilities", "by definition of flat")


def test_flat_hint_overrides_the_count():
    """YOLOX exports decoded boxes with an objectness and one anchor per cell."""
    plan = recognise([spec("out", 1, 8400, 85)], (640, 640), Hints(num_classes=80))
    assert plan.objectness
    assert plan.num_classes == 80


def test_flat_square_is_ambiguous():
    with pytest.raises(ModelError, match=r"2 ways: .*84 columns.*84 rows"):
        recognise([spec("out", 1, 84, 84)], (64, 64))
    plan = recognise([spec("out", 1, 84, 84)], (64, 64), Hints(layout="nhwc"))
    assert plan.levels[0].layout == "nhwc"


@pytest.mark.parametrize(
    ("shape", "batch"),
    [((1, 300, 6), False), ((1, 100, 6), False), ((300, 7), True), ((1, 1, 6), False)],
)
def test_end2end(shape, batch):
    plan = recognise([spec("out", *shape)], (640, 640))
    assert (plan.head, plan.batch_column) == ("end2end", batch)
    assert plan.activation == "probabilities"


def test_raw_heads_need_evidence_of_the_activation():
    with pytest.raises(ModelError, match=r"cls_8.*logits or probabilities.*manifest"):
        recognise(head(64, 80), (640, 640))


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 1000)],
        [(1, 5, 80, 80), (1, 5, 40, 40), (1, 5, 20, 20)],
        [(1, 255, 80, 80), (1, 85, 40, 40), (1, 85, 20, 20)],
        [(1, 8400, 4), (1, 8401, 80)],
        [(1, 84, 8401)],
        [(1, 32, 160, 160), (1, 116, 8400)],
        [(2, 84, 8400)],
        [],
    ],
)
def test_unknown_heads_are_listed(shapes):
    outputs = [spec(f"o{i}", *shape) for i, shape in enumerate(shapes)]
    with pytest.raises(ModelError, match="no known head") as caught:
        recognise(outputs, (640, 640), LOGITS)
    for output in outputs:
        assert str(output) in str(caught.value)
    assert "[1,4+C,N]" in str(caught.value)


def test_dynamic_shapes_and_wrong_hints_are_refused():
    with pytest.raises(ModelError, match="dynamic"):
        recognise([spec("out", 1, 84, -1)], (640, 640))
    with pytest.raises(ModelError, match="with 3 classes"):
        recognise(head(64, 80), (640, 640), Hints(activation="logits", num_classes=3))
    with pytest.raises(ModelError, match="no dfl head"):
        recognise([spec("out", 1, 84, 8400)], (640, 640), Hints(head="dfl", activation="logits"))
    with pytest.raises(ModelError, match="probabilities"):
        recognise([spec("out", 1, 300, 6)], (640, 640), LOGITS)
    with pytest.raises(ModelError, match="objectness"):
        recognise([spec("out", 1, 25200, 85)], (640, 640), LOGITS)


def test_a_plan_reads_as_one_line():
    text = str(recognise(head(64, 80), (640, 640), LOGITS))
    assert text == (
        "dfl head, 640x640 input, 80 classes, strides 8/16/32, NCHW, 16 bins, logits (manifest)"
    )
