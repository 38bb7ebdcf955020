"""`npud probe` as a user meets it, and the figures it judges by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from npud.detections import Detections
from postprocess.plan import HeadPlan
from postprocess.tensor import Quantization, TensorSpec
from runtime import bundled
from runtime.models import recording
from runtime.probe import bench, ranges, readings
from runtime.probe.bench import Bench, Outputs
from runtime.probe.outputs import BINS, histogram, rows_of
from runtime.sources.images import write_image
from tests.golden.samples import detector

Command = Callable[..., tuple[int, str, str]]
IMAGE = bundled.MODEL.with_name("street.golden.png")


@pytest.fixture(scope="module")
def street() -> Bench:
    from runtime.sources.images import read_image

    return Bench(detector(), [read_image(IMAGE)])


def detections(*rows: tuple[float, ...]) -> Detections:
    array = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(array[:, :4], array[:, 4], array[:, 5].astype(np.int32))


def test_the_bundled_model_is_healthy_by_its_golden_sample(command: Command) -> None:
    code, out, err = command("probe", "bundled")
    assert (code, err) == (0, "")
    assert "healthy: 10 detections, 10 of the reference's 10 found again" in out


def test_json_has_every_output_and_everything_tried(command: Command) -> None:
    code, out, _ = command("probe", "bundled", IMAGE, "--json")
    page = json.loads(out)
    assert (code, page["healthy"], page["cause"], page["golden"]) == (0, True, None, "ok")
    rows = {(row["role"], row["stride"]): row for row in page["outputs"]}
    assert set(rows) == {(role, s) for role in ("box", "cls") for s in (8, 16, 32)}
    seen = detector()
    outputs = seen.observe(bench.Frame(_pixels())).outputs
    names = [spec.name for spec in seen.backend.outputs]
    scores = outputs[names.index("cls_8")]
    assert rows["cls", 8]["max"] == pytest.approx(scores.max(), rel=1e-5)
    assert rows["cls", 8]["mean"] == pytest.approx(scores.mean(), rel=1e-4)
    assert rows["cls", 8]["top"] == pytest.approx(1 / (1 + np.exp(-scores.max())), rel=1e-5)
    passing = (1 / (1 + np.exp(-scores.max(axis=1))) >= 0.25).mean()
    assert rows["cls", 8]["above"] == pytest.approx(passing)
    assert sum(rows["box", 8]["histogram"]) == 4 * 40 * 40
    assert {"swapped_channels", "double_sigmoid", "wrong_letterbox"} <= {
        one["cause"] for one in page["tried"]
    }


def _pixels() -> np.ndarray:
    from runtime.sources.images import read_image

    return read_image(IMAGE)


def test_the_forum_users_figures(command: Command) -> None:
    code, out, _ = command("probe", "--range", "float=-229,82", "--range", "int8=-14.5,-0.2")
    assert code == 1
    said = " ".join(out.split())
    assert "float [-229, 82]: logits" in said
    assert "pixels of 0..255 reached the network unscaled" in said
    assert "σ(-0.2) = 0.45" in said
    assert "calibration data divided by 255 twice [-28, -7.9]" in said
    _, out, _ = command("probe", "--range", "float=-229,82", "--range", "int8=-14.5,-0.2", "--json")
    names = [finding["name"] for finding in json.loads(out)["findings"]]
    assert names == ["not_scaled", "collapsed_logits", "scaled_twice"]


@pytest.mark.parametrize(
    ("said", "names"),
    [
        (["float=-107,4.2"], ["range"]),
        (["float=-107,4.2", "int8=-100,3.9"], ["range", "range", "pair"]),
        (["float=-107,4.2", "int8=-28,-7.9"], ["range", "collapsed_logits", "collapsed_logits"]),
        (["x=0.5,0.731"], ["double_sigmoid"]),
        (["x=0,0"], ["concatenated_int8"]),
        (["x=0,0.93"], ["range"]),
    ],
)
def test_ranges(said: list[str], names: list[str]) -> None:
    read = [ranges.Range(n, *map(float, v.split(","))) for n, v in (s.split("=") for s in said)]
    assert [finding.name for finding in ranges.judge(read)] == names


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "expected a MODEL, or --range"),
        (("bundled", "--range", "a=0,1"), 2, "expected no MODEL beside it"),
        (("--range", "a=1"), 2, "expected NAME=LOW,HIGH"),
        (("--range", "a=2,1"), 2, "expected NAME=LOW,HIGH"),
        (("--range", "a=0,nan"), 2, "expected NAME=LOW,HIGH"),
        (("none.onnx", "x.png"), 1, "x.png"),
        (("bundled", "--reference", "none.onnx"), 1, "none.onnx: expected a model file"),
    ],
)
def test_mistakes_are_one_line(
    command: Command, arguments: tuple[str, ...], code: int, message: str
) -> None:
    got, out, err = command("probe", *arguments)
    assert (got, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_model_without_a_golden_sample_needs_an_image(command: Command, tmp_path: Path) -> None:
    path = _recorded(tmp_path / "r.npz", np.float32, None)
    code, _, err = command("probe", path)
    assert code == 1
    assert "expected an image to probe it on" in err


def test_an_int8_tensor_of_boxes_and_scores_is_named(command: Command, tmp_path: Path) -> None:
    path = _recorded(tmp_path / "r.npz", np.int8, Quantization.per_tensor(2.5, -128))
    code, out, _ = command("probe", path, IMAGE, "--json")
    page = json.loads(out)
    assert (code, page["cause"], page["head"]) == (1, "concatenated_int8", "refused")
    assert page["outputs"][0]["role"] == "?"
    assert command("probe", path, IMAGE)[0] == 1  # the page for people, too


def _recorded(path: Path, dtype: type, quantization: Quantization | None) -> Path:
    """A flat head at 320×320 with two classes."""
    output = TensorSpec("o", (1, 6, 2100), np.dtype(dtype), "", quantization)
    image = TensorSpec("i", (1, 3, 320, 320), np.dtype(np.float32), "nchw")
    recording.save(path, [image], [output], [[np.zeros(output.shape, dtype)]])
    return path


def test_a_silent_recording_is_not_judged_alone(command: Command, tmp_path: Path) -> None:
    image = TensorSpec("i", (1, 3, 320, 320), np.dtype(np.float32), "nchw")
    rng = np.random.default_rng(3)
    specs, arrays = [], []
    for stride in (8, 16, 32):
        side = 320 // stride
        for name, channels, middle in (("box", 4, 2.0), ("cls", 6, -12.0)):
            specs.append(TensorSpec(f"{name}{stride}", (1, channels, side, side), np.dtype("f4")))
            arrays.append(rng.normal(middle, 0.5, specs[-1].shape).astype(np.float32))
    path = tmp_path / "quiet.npz"
    recording.save(path, [image], specs, [arrays])
    path.with_suffix(".toml").write_text('head = "ltrb"\nactivation = "logits"\n')
    code, out, _ = command("probe", path, IMAGE, "--json")
    page = json.loads(out)
    assert (code, page["cause"]) == (0, None)
    (finding,) = page["findings"]
    assert (finding["name"], finding["level"]) == ("nothing_found", "warning")
    assert "without a reference" in finding["text"]


def test_readings_as_floats_are_exact(street: Bench) -> None:
    (expected,) = street.found(street.deployed)
    (got,) = street.found(street.deployed, readings.as_floats)
    assert np.array_equal(expected.boxes, got.boxes)
    assert np.array_equal(expected.scores, got.scores)


def test_a_reading_turned_twice_is_the_same(street: Bench) -> None:
    outputs, _ = street.run(street.deployed)[0]
    for reading in (readings.in_order(1, 0, 3, 2), readings.in_other_layout):
        again = reading(reading(outputs))
        for a, b in zip(readings.as_floats(outputs).tensors, readings.as_floats(again).tensors):
            assert np.array_equal(a, b)


def test_one_sigmoid_is_undone() -> None:
    rng = np.random.default_rng(1)
    likely = rng.uniform(0.01, 0.99, (1, 400, 3)).astype(np.float32)
    twice = (1 / (1 + np.exp(-likely))).astype(np.float32)
    level = detector().plan.levels[1]
    plan = HeadPlan("ltrb", (320, 320), 3, "logits", "", (_with(level, box=0, cls=1),))
    boxes = np.ones((1, 20, 20, 4), np.float32)
    specs = tuple(
        TensorSpec(name, shape, np.dtype(np.float32))
        for name, shape in (("b", (1, 20, 20, 4)), ("c", (1, 20, 20, 3)))
    )
    seen = Outputs(plan, specs, (boxes, twice.reshape(1, 20, 20, 3)))
    undone = readings.without_sigmoid(seen)
    assert undone.plan.activation == "probabilities"
    assert undone.tensors[1].reshape(-1) == pytest.approx(likely.reshape(-1), abs=1e-5)


def _with(level: object, **changed: int) -> object:
    import dataclasses

    return dataclasses.replace(level, layout="nhwc", **changed)  # type: ignore[type-var]


def test_closeness_counts_boxes_and_scores() -> None:
    a = detections((0, 0, 10, 10, 0.8, 0), (20, 20, 30, 30, 0.6, 1))
    assert bench.closeness([a], [a]) == 1.0
    b = detections((0, 0, 10, 10, 0.6, 0))  # half of them, 0.2 off
    assert bench.closeness([a], [b]) == pytest.approx(2 * 0.8 / 3)
    assert bench.f1([a], [b]) == pytest.approx(2 / 3)
    assert np.isnan(bench.f1([detections()], [detections()]))


def test_tightness_is_the_overlap_of_what_nms_drops() -> None:
    kept = detections((0, 0, 10, 10, 0.9, 0))
    every = detections((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 8, 0.5, 0), (0, 0, 10, 10, 0.4, 1))
    assert bench.tightness([every], [kept]) == pytest.approx(0.8 / 3)  # of the same class only
    assert bench.tightness([kept], [kept]) == 0.0


def test_mirrored_twice_is_the_same() -> None:
    one = detections((1, 2, 11, 12, 0.9, 0))
    there = bench.mirrored(one, 100)
    assert there.boxes.tolist() == [[89, 2, 99, 12]]
    assert bench.mirrored(there, 100).boxes.tolist() == one.boxes.tolist()


def test_histogram_counts_finite_values() -> None:
    assert histogram(np.array([np.nan, np.inf])) == (0,) * BINS
    counts = histogram(np.array([0.0, 0.0, 1.0, np.nan]))
    assert (counts[0], counts[-1], sum(counts)) == (2, 1, 3)


def test_rows_of_a_head_with_a_score_sum(tmp_path: Path) -> None:
    seen = detector()
    write_image(tmp_path / "x.png", _pixels())
    outputs, _ = Bench(seen, [_pixels()]).run(bench.Feed(seen.input))[0]
    rows = rows_of(outputs, 0.25)
    assert [row.role for row in rows] == ["box", "cls"] * 3
    assert all(row.above is None for row in rows if row.role == "box")
