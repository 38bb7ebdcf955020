"""What the golden sample says of healthy models, of real dead ones, and of some broken on purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from npud.errors import ModelError
from runtime import models
from runtime.detector import Detector
from runtime.golden import canary
from runtime.golden.judge import judge, measure
from runtime.golden.reference import Reference, make
from runtime.golden.symptoms import diagnose
from runtime.golden.tensors import Key, cosine
from runtime.golden.verdict import Figures, Verdict
from runtime.models.manifest import Input
from runtime.scenes import LABELS
from runtime.sources.images import read_image
from tests.golden.samples import LIMITS, broken, detector, recorded

HEAD = 'head = "ltrb"\nactivation = "logits"\nnms = "none"\nmulti_label = true\n'
Outputs = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def street() -> Reference:
    """The bundled golden sample as it is shipped."""
    one = detector()
    sample = canary.sample_of(one.files)
    assert sample is not None
    return sample


def verdict_of(one: Detector, sample: Reference) -> Verdict:
    verdict = judge(one, sample, LIMITS)
    one.close()
    return verdict


def test_the_bundled_model_is_as_its_reference(street: Reference) -> None:
    verdict = verdict_of(detector(), street)
    assert verdict.level == "ok"
    assert verdict.figures.matched == verdict.figures.reference == street.objects >= 8
    assert verdict.figures.extra == 0
    assert abs(verdict.figures.peak_shift) < 1e-3
    assert verdict.figures.least_cosine > 0.9999  # float16 is what was kept
    assert verdict.notes == ()


def test_the_users_thresholds_do_not_matter(street: Reference) -> None:
    usual = measure(detector(), street)
    assert measure(detector(score_threshold=0.9, max_detections=1), street) == usual


def test_pixels_that_are_scaled_wrongly_are_found_out(street: Reference) -> None:
    flood = verdict_of(detector(input=Input(std=(1.0, 1.0, 1.0))), street)
    assert flood.level == "dead"
    assert "the reference has 10" in flood.reason
    assert "unscaled (0..255)" in flood.remedy
    twice = verdict_of(detector(input=Input(std=(65025.0,) * 3)), street)
    assert (twice.level, twice.figures.found) == ("dead", 0)
    assert "divided by 255" in twice.remedy
    assert twice.figures.peak < -1.1 < twice.figures.reference_peak  # logit(0.25) = -1.1


def test_a_lowered_class_branch_is_dead_though_its_cosines_are_high(
    street: Reference, tmp_path: Path
) -> None:
    path = broken(tmp_path, lambda name, bias: bias - 5 if name.startswith("cls") else bias)
    path.with_suffix(".toml").write_text('head = "ltrb"\nactivation = "logits"\n')
    verdict = verdict_of(detector(path), street)
    assert verdict.level == "dead"
    assert verdict.figures.peak_shift == pytest.approx(-5, abs=1e-3)
    assert verdict.figures.least_cosine > 0.95


def test_classes_in_another_order_are_named(street: Reference, tmp_path: Path) -> None:
    path = broken(tmp_path, lambda name, bias: bias)  # as it is
    turned = (*LABELS[1:], LABELS[0])
    path.with_suffix(".toml").write_text(f'labels = {list(turned)}\nactivation = "logits"\n')
    verdict = verdict_of(detector(path), street)
    assert verdict.level == "degraded"
    assert f'label 0 is "{turned[0]}", the reference model\'s "{LABELS[0]}"' in verdict.reason


def test_scores_that_sink_are_degraded(street: Reference, tmp_path: Path) -> None:
    lower = broken(tmp_path, lambda name, bias: bias - 1.5 if name.startswith("cls") else bias)
    lower.with_suffix(".toml").write_text('head = "ltrb"\nactivation = "logits"\n')
    verdict = verdict_of(detector(lower), street)
    assert verdict.level == "degraded"
    assert "its highest class logit is 1.4, the reference's 2.9" in verdict.reason
    seen = figures(score_shift=verdict.figures.score_shift)
    assert "scores of the same objects differ by -0.2" in diagnose(seen, LIMITS)[1]
    assert verdict.figures.score_shift < -0.15


def test_nan_is_dead(street: Reference, tmp_path: Path) -> None:
    path = broken(tmp_path, lambda name, bias: bias * np.nan if name == "cls_32" else bias)
    path.with_suffix(".toml").write_text('head = "ltrb"\nactivation = "logits"\n')
    verdict = verdict_of(detector(path), street)
    assert verdict.level == "dead"
    assert f"{10 * 10 * 6} values of its outputs are NaN" in verdict.reason


def test_the_input_is_compared_with_the_references(street: Reference) -> None:
    verdict = verdict_of(detector(input=Input(letterbox="stretch", color="bgr")), street)
    assert "input.letterbox is stretch, the reference was made with center" in verdict.notes
    assert "input.color is bgr, the reference was made with rgb" in verdict.notes


def test_a_picture_with_nothing_in_it_is_no_golden_sample() -> None:
    with pytest.raises(ModelError, match="expected a picture in which it finds something"):
        make(detector(), np.full((240, 320, 3), 114, np.uint8))


def figures(**changed: float) -> Figures:
    usual: dict[str, float] = {
        "reference": 54, "found": 45, "matched": 43, "weaker": 0, "matched_any": 43, "extra": 2,
        "score_shift": -0.03, "iou": 0.9, "peak": 4.2, "reference_peak": 3.5,
    }  # fmt: skip
    return Figures(**(usual | changed))  # type: ignore[arg-type]


# yolo26n on eight pictures, float: 54 detections above 0.25, highest logit 3.5; measured with the
# RDK X5's toolchain (docs/golden.md): found, matched, highest logit, level
MEASURED = [
    ("healthy, 20 pictures", 45, 43, 4.2, "ok"),
    ("one picture", 44, 43, 3.4, "ok"),
    ("letterboxed pictures", 45, 43, 2.7, "ok"),
    ("all int16", 51, 49, 3.2, "ok"),
    ("scaled twice", 0, 0, -7.9, "dead"),
    ("divided by 255, no scale", 0, 0, -1.3, "dead"),
    ("0..255, no scale", 2400, 0, 33.0, "dead"),
    ("skip", 0, 0, -7.1, "dead"),
    ("all zero", 0, 0, -7.9, "dead"),
    ("noise", 39, 35, 2.2, "degraded"),
    ("NHWC order", 42, 36, 2.4, "degraded"),
    ("max", 42, 39, 1.8, "degraded"),
    ("kl", 31, 31, 2.0, "degraded"),
    ("I420 for NV12", 42, 32, 3.8, "degraded"),
    ("RGB swapped at run time", 43, 40, 4.0, "degraded"),
    ("NV21 for NV12", 45, 40, 4.0, "degraded"),
    ("BGR pictures, not to be seen", 50, 45, 3.9, "ok"),
]


@pytest.mark.parametrize(("name", "found", "matched", "peak", "level"), MEASURED)
def test_the_limits_part_what_was_measured(
    name: str, found: int, matched: int, peak: float, level: str
) -> None:
    extra = found - matched
    seen = figures(found=found, matched=matched, matched_any=matched, extra=extra, peak=peak)
    assert diagnose(seen, LIMITS)[0] == level


def test_an_object_just_below_the_threshold_is_not_missing_and_not_too_many(
    street: Reference, tmp_path: Path
) -> None:
    """Of ten objects the weakest falls from 0.52 to 0.38, and the threshold lies between."""
    lower = broken(tmp_path, lambda name, bias: bias - 0.55 if name.startswith("cls") else bias)
    lower.with_suffix(".toml").write_text('head = "ltrb"\nactivation = "logits"\n')
    strict = make(detector(score_threshold=0.5), street.pixels)
    assert strict.objects == 10
    seen = measure(detector(lower), strict)
    assert (seen.found, seen.matched, seen.weaker, seen.extra) == (9, 10, 1, 0)
    # the other way round: what is new at the threshold was there below it
    back = measure(detector(), make(detector(lower, score_threshold=0.5), street.pixels))
    assert (back.reference, back.found, back.matched, back.extra) == (9, 10, 9, 0)


def test_right_boxes_of_wrong_classes_are_told_apart() -> None:
    level, reason, remedy = diagnose(figures(matched=10, matched_any=50, found=50), LIMITS)
    assert level == "degraded"
    assert "50 boxes are right, but only 10" in reason
    assert "order of the classes" in remedy
    assert diagnose(figures(matched=0, matched_any=50, found=50), LIMITS)[0] == "dead"


def test_too_many_objects_are_degraded() -> None:
    assert diagnose(figures(extra=28), LIMITS)[0] == "degraded"
    assert diagnose(figures(extra=27), LIMITS)[0] == "ok"


# Real outputs: the vendor's bit-exact simulation for bus.jpg


@pytest.fixture(scope="module")
def bus(shared: Path) -> dict[str, Outputs]:
    folder = shared / "models" / "bin"
    names = {
        "float": "yolo26n_float_bus",
        "int8": "yolo26n_int8_bus",
        "dead": "yolo26n_int8_calibrated_twice_scaled_bus",
    }
    return {key: dict(np.load(folder / f"{name}.npz")) for key, name in names.items()}


def replay(path: Path, outputs: Outputs, layout: str = "nhwc") -> Detector:
    return recorded(path, list(outputs.items()), layout, HEAD)


@pytest.fixture
def bus_sample(bus: dict[str, Outputs], shared: Path, tmp_path: Path) -> Reference:
    """The float model's, from NCHW tensors in another order and with other names."""
    turned = {f"x{i}": np.ascontiguousarray(bus["float"][key].transpose(0, 3, 1, 2))
              for i, key in enumerate(sorted(bus["float"]))}  # fmt: skip
    one = replay(tmp_path / "float.npz", turned, "nchw")
    return make(one, read_image(shared / "data" / "bus.jpg"))


@pytest.mark.shared
def test_the_real_int8_model_is_healthy_and_the_twice_scaled_one_dead(
    bus: dict[str, Outputs], bus_sample: Reference, tmp_path: Path
) -> None:
    healthy = verdict_of(replay(tmp_path / "a.npz", bus["int8"]), bus_sample)
    dead = verdict_of(replay(tmp_path / "b.npz", bus["dead"]), bus_sample)
    assert healthy.level == "ok"
    assert healthy.figures.matched == healthy.figures.reference == 5
    assert healthy.figures.peak_shift == pytest.approx(0.29, abs=0.01)
    assert (dead.level, dead.figures.found) == ("dead", 0)
    assert dead.figures.peak == pytest.approx(-9.2, abs=0.1)
    assert "divided by 255" in dead.remedy
    # no class cosine of the dead model is below 0.95, and its best is above the healthy one's worst
    cosines = {
        name: {o.key: o.cosine for o in one.figures.outputs if o.key.role == "cls"}
        for name, one in (("healthy", healthy), ("dead", dead))
    }
    assert min(cosines["dead"].values()) > 0.95
    assert max(cosines["dead"].values()) > min(cosines["healthy"].values())


@pytest.mark.shared
def test_a_dead_model_can_have_higher_cosines_than_the_healthy_one(
    bus: dict[str, Outputs], bus_sample: Reference, tmp_path: Path
) -> None:
    """The float model's own outputs with all class logits 4 lower: it finds nothing."""
    lower = {key: value - 4 if "cls" in key else value for key, value in bus["float"].items()}
    healthy = verdict_of(replay(tmp_path / "a.npz", bus["int8"]), bus_sample)
    dead = verdict_of(replay(tmp_path / "b.npz", lower), bus_sample)
    assert (healthy.level, dead.level) == ("ok", "dead")
    pairs = list(zip(dead.figures.outputs, healthy.figures.outputs))
    higher = [a.key for a, b in pairs if a.cosine > b.cosine]
    assert len(higher) >= 5, [(str(a.key), a.cosine, b.cosine) for a, b in pairs]
    assert dead.figures.least_cosine > healthy.figures.least_cosine


@pytest.mark.shared
def test_the_real_rknn_is_healthy_beside_the_uncut_float_model(
    shared: Path, tmp_path: Path
) -> None:
    """A dfl head of int8 probabilities, and a flat float one: other tensors, the same objects."""
    path = shared / "models" / "rknn" / "yolov8n_rk3588_i8.rknn"
    arrays = np.load(f"{path}.sim_bus.npz")
    names = [spec.name for spec in models.describe(path).outputs]
    outputs = [(name, arrays[f"arr_{number}"]) for number, name in enumerate(names)]
    one = recorded(tmp_path / "a.npz", outputs, "nchw", 'activation = "probabilities"\n')
    sample = make(
        detector(shared / "models" / "yolov8n.onnx"), read_image(shared / "data" / "bus.jpg")
    )
    verdict = verdict_of(one, sample)
    assert verdict.level == "ok"
    assert verdict.figures.matched == verdict.figures.reference == 5
    known = {str(output.key): output.cosine for output in verdict.figures.outputs}
    assert min(known[f"cls_{stride}"] for stride in (8, 16, 32)) > 0.97
    assert [known[f"box_{stride}"] for stride in (8, 16, 32)] == [None] * 3


@pytest.mark.shared
def test_cosines_are_those_of_plain_numpy(
    bus: dict[str, Outputs], bus_sample: Reference, tmp_path: Path
) -> None:
    seen = measure(replay(tmp_path / "a.npz", bus["int8"]), bus_sample)
    assert len(seen.outputs) == 6
    for output in seen.outputs:
        a = bus["float"][str(output.key)].astype(np.float64).ravel()
        b = bus["int8"][str(output.key)].astype(np.float64).ravel()
        expected = (a / np.linalg.norm(a)) @ (b / np.linalg.norm(b))
        assert output.cosine == pytest.approx(expected, abs=1e-6)


def test_probabilities_and_logits_of_one_model_agree(tmp_path: Path) -> None:
    """A float model with logits as the reference of one with the sigmoid inside."""
    rng = np.random.default_rng(4)
    outputs: list[tuple[str, np.ndarray]] = []
    for stride in (8, 16, 32):
        side = 640 // stride
        cls = rng.normal(-8, 1, (1, side, side, 10)).astype(np.float32)
        cls[0, side // 2, side // 2, 3] = 2.0 + stride / 32
        cls[0, side // 4, side // 4, 5] = 1.5
        box = rng.uniform(1, 3, (1, side, side, 4)).astype(np.float32)
        outputs += [(f"cls_{stride}", cls), (f"box_{stride}", box)]
    head = 'head = "ltrb"\nnum_classes = 10\nactivation = "{}"\n'
    picture = np.full((640, 640, 3), 90, np.uint8)
    sample = make(recorded(tmp_path / "a.npz", outputs, "nhwc", head.format("logits")), picture)
    inside = [(n, 1 / (1 + np.exp(-a)) if "cls" in n else a) for n, a in outputs]
    one = recorded(tmp_path / "b.npz", inside, "nhwc", head.format("probabilities"))
    verdict = verdict_of(one, sample)
    assert verdict.level == "ok"
    assert verdict.figures.matched == sample.objects == 6
    assert abs(verdict.figures.peak_shift) < 1e-3
    assert verdict.figures.least_cosine > 0.99999
    twice = recorded(tmp_path / "c.npz", inside, "nhwc", head.format("logits"))
    assert verdict_of(twice, sample).level == "dead"  # a sigmoid twice: a flood


def test_cosine_of_what_cannot_be_compared() -> None:
    ones = np.ones((4, 2), np.float32)
    assert cosine(ones, ones[:3]) is None
    assert cosine(ones, ones * 0) is None
    assert cosine(ones, -ones) == pytest.approx(-1)
    assert str(Key("cls", 8)) == "cls_8"
    assert str(Key("cls", 0)) == "cls"
