"""Each check: what sets it off, what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.cli.inspect import read_subject
from runtime.models import findings, versions
from runtime.models.finding import Finding
from runtime.models.info import ModelInfo, Versions
from tests.models import build

LABELS = 'labels = ["a", "b", "c", "d", "e"]\n'


def found(
    tmp_path: Path, name: str, data: bytes, manifest: str = LABELS, target: str = ""
) -> dict[str, Finding]:
    path = tmp_path / name
    path.write_bytes(data)
    path.with_suffix(".toml").write_text(manifest)
    return {f.name: f for f in findings.check(read_subject(path, target))}


def levels(results: dict[str, Finding], level: str) -> set[str]:
    return {name for name, finding in results.items() if finding.level == level}


def heads(
    scale: float = 1 / 255, zero: int = -128, dtype: int = 3, op: str = "ConvSigmoid"
) -> bytes:
    outputs = []
    for stride, side in ((8, 8), (16, 4), (32, 2)):
        grid = () if dtype == 10 else scale
        outputs.append(
            build.rknn_tensor(
                f"box_{stride}", [1, 64, side, side], grid, zero if grid else (), dtype=dtype
            )
        )
        outputs.append(
            build.rknn_tensor(
                f"cls_{stride}", [1, 5, side, side], grid, zero if grid else (), dtype=dtype
            )
        )
    return build.rknn(outputs, ["Conv", op] * 3)


def test_healthy_models_have_only_good_findings(tmp_path: Path) -> None:
    for name, data, target in (
        ("m.rknn", build.rknn_heads(), "rk3588"),
        ("m.bin", build.bin_heads(), "rdkx5"),
        ("m.onnx", build.onnx_heads(), ""),
    ):
        results = found(tmp_path, name, data, target=target)
        assert set(results) == levels(results, "ok"), name
        assert "head" in results
        assert ("target" in results) == bool(target)


@pytest.mark.parametrize(
    ("name", "data", "target", "message"),
    [
        ("m.rknn", build.rknn_heads(), "rdkx5", "made for rk3588; rdkx5 needs one for bayes-e"),
        (
            "m.rknn",
            build.rknn_heads(target="rk3566"),
            "rk3588",
            "made for rk3566; rk3588 needs one for rk3588",
        ),
        ("m.bin", build.bin_heads({"MARCH": "bernoulli2"}), "rdkx5", "made for bernoulli2; rdkx5"),
        (
            "m.onnx",
            build.onnx_heads(),
            "rk3588",
            "an .onnx file, made for no board; rk3588 needs one for rk3588",
        ),
    ],
)
def test_a_model_for_another_chip(
    tmp_path: Path, name: str, data: bytes, target: str, message: str
) -> None:
    finding = found(tmp_path, name, data, target=target)["target"]
    assert finding.level == "problem"
    assert message in finding.text
    assert finding.remedy


@pytest.mark.parametrize(
    ("scale", "level", "words"),
    [
        (2.512, "problem", "of step 2.51: every score is exactly 0"),
        (0.5, "problem", "of step 0.5: scores move in steps of 0.5"),
        (0.0194, "warning", "scores move in steps of 0.0194"),
        (1 / 255, "", ""),
    ],
)
def test_boxes_and_scores_in_one_tensor(
    tmp_path: Path, scale: float, level: str, words: str
) -> None:
    data = build.rknn([build.rknn_tensor("out", [1, 9, 84], scale, -128, (0, 640))], ["Concat"])
    finding = found(tmp_path, "m.rknn", data).get("shared_tensor")
    assert (finding.level if finding else "") == level
    assert words in (finding.text if finding else "")


def test_calibration_that_was_skipped_and_pixels_without_scale(tmp_path: Path) -> None:
    data = build.bin_heads({"CALI_TYPE": "skip", "SCALE_VALUE": ";", "NORM_TYPE": "no_preprocess;"})
    assert levels(found(tmp_path, "m.bin", data), "problem") == {"calibration", "scaling"}
    assert (
        found(tmp_path, "m.bin", build.bin_heads({"CALI_TYPE": "kl"}))["calibration"].level
        == "warning"
    )
    unscaled = repr({"attrs": {"images": {"mean": [0], "std": [1], "rgb2bgr": False}}})
    results = found(tmp_path, "m.rknn", build.rknn_heads(config=unscaled))
    assert results["scaling"].level == "warning"
    no_ranges = found(tmp_path, "m.rknn", heads())
    assert no_ranges["calibration"].level == "warning"


def test_scores_that_cannot_reach_the_threshold(tmp_path: Path) -> None:
    low = found(tmp_path, "m.rknn", heads(scale=0.0005))["reachable_scores"]
    assert low.level == "problem"
    assert "0.13, 0.13, 0.13 at strides 8/16/32: not the threshold of 0.25" in low.text
    dead = found(tmp_path, "m.rknn", heads(scale=0.06, zero=127, op="Conv"))
    assert dead["reachable_scores"].level == "ok"  # logits up to 0: scores up to 0.5
    assert dead["score_steps"].text == "scores near 0.5 move in steps of 0.015"
    assert (
        found(tmp_path, "m.rknn", heads(scale=0.5, zero=0, op="Conv"))["score_steps"].level
        == "warning"
    )


def test_a_float16_sigmoid_on_rk3588(tmp_path: Path) -> None:
    assert found(tmp_path, "m.rknn", heads(dtype=10))["half_sigmoid"].level == "warning"
    assert "half_sigmoid" not in found(tmp_path, "m.rknn", heads(dtype=10, op="Conv"))
    assert "half_sigmoid" not in found(tmp_path, "m.rknn", build.rknn_heads())


def test_dynamic_sizes(tmp_path: Path) -> None:
    results = found(tmp_path, "m.onnx", build.onnx_heads(image=["n", 3, "h", "w"]))
    assert results["fixed_size"].level == "warning"
    assert "images" in results["fixed_size"].text


def test_heads_that_are_not_known_or_not_decided(tmp_path: Path) -> None:
    odd = build.rknn([build.rknn_tensor("out", [1, 9, 9], 0.1, 0)])
    assert found(tmp_path, "m.rknn", odd)["head"].level == "problem"
    mute = found(tmp_path, "m.onnx", build.onnx_heads(last="Mul"))["head"]
    assert mute.level == "problem"
    assert "logits or probabilities" in mute.text
    told = found(tmp_path, "m.onnx", build.onnx_heads(last="Mul"), LABELS + 'activation = "logits"')
    assert told["head"].level == "ok"
    torn = found(tmp_path, "m.rknn", heads(op="Conv"))["head"]  # a convolution, on a grid of 0 to 1
    assert torn.level == "problem"
    assert "contradictory" in torn.text


def test_anchors_that_are_assumed(tmp_path: Path) -> None:
    sides = ((8, 8), (16, 4), (32, 2))
    outputs = [build.rknn_tensor(f"raw_{s}", [1, 30, n, n], 0.1, 0, (-9, 5)) for s, n in sides]
    data = build.rknn(outputs, ["Conv"] * 3)
    assert found(tmp_path, "m.rknn", data)["anchors"].level == "warning"
    rows = "[[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 9], [9, 9]], [[9, 9], [9, 9], [9, 9]]]"
    results = found(tmp_path, "m.rknn", data, f"{LABELS}anchors = {rows}")
    assert set(results) == levels(results, "ok")
    assert "shared_tensor" not in results


def test_labels(tmp_path: Path) -> None:
    assert found(tmp_path, "m.bin", build.bin_heads(), "")["labels"].level == "warning"
    assert found(tmp_path, "m.bin", build.bin_heads())["labels"].text == "5 labels: a, b, c, …"
    wrong = found(tmp_path, "m.bin", build.bin_heads(), 'labels = ["a"]')
    assert levels(wrong, "problem") == {"labels"}
    assert wrong["labels"].text == "expected 5 labels, one per class, got 1"


def test_an_input_that_is_no_picture(tmp_path: Path) -> None:
    results = found(tmp_path, "m.bin", build.bin_heads(image=(1, 80)))
    assert results["one_picture"].level == "problem"
    assert "images [1, 80] int8" in results["one_picture"].text


@pytest.mark.parametrize(
    ("form", "toolkit", "level", "words"),
    [
        ("rknn", "2.5.0", "ok", "tested with"),
        ("rknn", "1.6.0", "ok", "tested with"),
        ("rknn", "1.5.2", "ok", "tested with"),
        ("rknn", "1.5.1", "warning", "older"),
        ("rknn", "3.0", "warning", "newer"),
        ("rknn", "2.5.0b7", "ok", "tested with"),
        ("rknn", "", "warning", "names no rknn-toolkit2 version"),
        ("bin", "1.24.3", "ok", "tested with"),
        ("bin", "1.23.8", "warning", "older than what npud was tested with (1.24.3)"),
    ],
)
def test_versions(form: str, toolkit: str, level: str, words: str) -> None:
    verdict = versions.verdict(ModelInfo(form, versions=Versions(toolkit=toolkit)))
    assert verdict is not None
    assert verdict[0] == level
    assert words in verdict[1]
    assert versions.needs(ModelInfo("onnx")) == ""


def test_problems_come_first(tmp_path: Path) -> None:
    results: Any = found(tmp_path, "m.bin", build.bin_heads({"CALI_TYPE": "skip"}), "")
    assert [f.level for f in results.values()][:3] == ["problem", "warning", "ok"]
