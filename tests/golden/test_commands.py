"""`npud manifest` and `npud verify` as a user meets them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime import bundled, models
from runtime.models import manifest as manifests
from runtime.scenes import LABELS, Street
from runtime.sources.images import write_image
from runtime.validate import load_toml
from tests.golden.samples import GOLDEN, STREET, broken, with_golden
from tests.models import build

Command = Callable[..., tuple[int, str, str]]
ANSWERS = [
    item
    for key, value in {
        "labels": str(LABELS).replace("'", '"').replace("(", "[").replace(")", "]"),
        "nms": "class", "input.color": "rgb", "input.letterbox": "center",
        "input.pad_value": "114", "input.mean": "[0.0, 0.0, 0.0]",
        "input.std": "[255.0, 255.0, 255.0]",
    }.items()
    for item in ("--set", f"{key}={value}")
]  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(bundled.MODEL.read_bytes())
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "street.jpg"
    write_image(path, Street(30, (400, 300)).frame(90)[0])
    return path


def test_what_the_file_does_not_say_is_left_open(command: Command, model: Path) -> None:
    code, out, err = command("manifest", model)
    assert code == 1
    assert "keys, " in out
    target = model.with_suffix(".toml")
    assert err == (
        f"npud: error: {target}: still open: labels, nms, input.color, input.letterbox, "
        "input.pad_value, input.mean, input.std; answer with --set KEY=VALUE, or in the file, "
        "where each has its question\n"
    )
    raw = load_toml(target)
    assert set(raw) == {"digest", "head", "activation", "num_classes", "input", "conversion"}
    assert raw["digest"] == models.digest(model)
    assert raw["head"] == "ltrb"
    assert raw["input"] == {"size": [320, 320], "layout": "nchw"}  # and nothing guessed
    text = target.read_text()
    assert "# ? how were pictures fitted in training: center | topleft | stretch\n" in text
    assert "# letterbox = " in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_open_lines_are_answers_once_the_hash_is_gone(command: Command, model: Path) -> None:
    command("manifest", model)
    target = model.with_suffix(".toml")
    lines = target.read_text().splitlines()
    opened = [line[2:] if line.startswith("# ") and " = " in line and "?" not in line else line
              for line in lines]  # fmt: skip
    target.write_text("\n".join(opened))
    manifest = manifests.read(target)
    assert manifest.input.letterbox == "center"
    assert manifest.conversion.source == "m.onnx"


def test_answers_complete_it(command: Command, model: Path) -> None:
    code, _, err = command("manifest", model, *ANSWERS)
    assert (code, err) == (0, "")
    manifest = manifests.read(model.with_suffix(".toml"))
    assert manifest.labels == LABELS
    assert manifest.num_classes is None
    assert manifest.input.std == (255, 255, 255)
    shipped = manifests.read(bundled.MODEL.with_suffix(".toml"))
    for key in ("color", "letterbox", "pad_value", "mean", "std"):
        assert getattr(manifest.input, key) == getattr(shipped.input, key)


def test_an_existing_manifest_is_kept_and_with_force_its_answers(
    command: Command, model: Path, tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(LABELS) + "\n\n")
    command("manifest", model, *ANSWERS[2:], "--set", f"labels=@{names}")
    target = model.with_suffix(".toml")
    before = target.read_text()
    code, _, err = command("manifest", model)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{target} exists: --force" in err
    assert target.read_text() == before
    code, _, _ = command("manifest", model, "--force", "--set", 'calibration.notes=a "b" \\ é')
    assert code == 0
    manifest = manifests.read(target)
    assert manifest.labels == LABELS
    assert manifest.calibration.notes == 'a "b" \\ é'


def test_questions_are_asked_in_a_terminal(
    command: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    labels = json.dumps(list(LABELS))
    answers = [
        labels,
        "class",
        "rgb",
        "middle",
        "center",
        "114",
        "",
        "[255.0, 255.0, 255.0]",
        "",
        "",
    ]
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(answers) + "\n"))
    code, out, err = command("manifest", model)
    assert code == 1
    assert "input.letterbox: how were pictures fitted in training" in out
    assert "expected one of 'center', 'topleft', 'stretch', got 'middle'" in out
    assert "still open: input.mean;" in err  # the one passed over
    manifest = manifests.read(model.with_suffix(".toml"))
    assert (manifest.input.letterbox, manifest.input.pad_value) == ("center", 114)


def test_board_files_state_their_conversion(command: Command, tmp_path: Path) -> None:
    rknn, hobot = tmp_path / "a.rknn", tmp_path / "b.bin"
    rknn.write_bytes(build.rknn_heads())
    hobot.write_bytes(build.bin_heads())
    for path, toolkit, target in (
        (rknn, "rknn-toolkit2", "rk3588"),
        (hobot, "hb_mapper", "bayes-e"),
    ):
        code, out, _ = command("manifest", path, "-o", "-")
        assert code == 1
        (tmp_path / "draft.toml").write_text(out)
        made = manifests.read(tmp_path / "draft.toml")
        assert (made.conversion.toolkit, made.conversion.target) == (toolkit, target)
        assert made.digest == models.digest(path)
        assert "mean and std are applied by the file itself" in out
        assert made.input.std is None
        assert "# ? number of calibration pictures" in out
    assert not rknn.with_suffix(".toml").exists()


MISTAKES: list[tuple[list[str], int, str]] = [
    (["nothere.onnx"], 1, "model nothere.onnx: expected a model file, got no such file"),
    (["m.onnx", "--set", "nms"], 2, "--set nms: expected KEY=VALUE"),
    (["m.onnx", "--set", "input.colour=rgb"], 2, "input.colour: unknown key; did you mean color?"),
    (["m.onnx", "--set", "nms=soft"], 2, "manifest: nms: expected one of 'class', 'agnostic'"),
    (["m.onnx", "--set", "labels=@nothere"], 2, "@nothere: "),
    (["m.onnx", "--set", "nms.a=1", "--set", "nms=class"], 2, "nms"),
    (["m.onnx", "--set", 'labels=["a"]'], 2, "labels: expected 6, one per class, got 1"),
    (["m.onnx", "--golden", "street.jpg"], 2, "--golden: first answer labels, nms, input.color"),
    (["m.onnx", "--golden", "nothere.jpg", *ANSWERS], 1, "nothere.jpg: No such file"),
    (["m.onnx", "--golden", "street.jpg", "-o", "-"], 2, "--golden: the sample is written beside"),
    (["m.onnx", "--reference", "m.onnx"], 2, "--reference: it makes a golden sample, which needs"),
    (["m.onnx", "-o", "no/where.toml"], 1, "no/where.toml: cannot write it: No such file"),
    (["grey.onnx"], 1, "model grey.onnx"),
    (
        ["a.rknn", "--golden", "street.jpg", "--set", 'labels=["a", "b", "c", "d", "e"]',
         *ANSWERS[2:4], *ANSWERS[6:10]], 2, "--reference: a.rknn is converted",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "message"), MISTAKES)
def test_a_mistake_is_one_line(
    command: Command, model: Path, picture: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(model.parent)
    Path("grey.onnx").write_bytes(b"")
    Path("a.rknn").write_bytes(build.rknn_heads())
    got, out, err = command("manifest", *arguments)
    assert (got, out) == (code, ""), err
    assert err.startswith("npud: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not Path("m.toml").exists()


def test_a_golden_sample_from_picture_to_verdict(
    command: Command, model: Path, picture: Path, tmp_path: Path
) -> None:
    code, out, err = command("manifest", model, *ANSWERS, "--golden", picture)
    assert (code, err) == (0, "")
    assert "golden sample: 10 objects, highest class logit" in out
    code, out, err = command("verify", model)
    assert (code, err) == (0, "")
    assert out.endswith("ok: it finds what the reference has\n")
    assert max(map(len, out.splitlines())) <= 80
    # a model that was broken on the way, with the float one as its reference
    bad = broken(tmp_path, lambda n, b: b - 6 if n.startswith("cls") else b, "bad")
    reference = ["--reference", model, "--golden", picture]
    assert command("manifest", bad, *ANSWERS, *reference)[0] == 0
    code, out, err = command("verify", bad)
    assert (code, err) == (1, "")
    assert "dead: it finds nothing: its highest class logit is -3." in out
    assert "→ most often the calibration data were divided by 255" in out


def test_a_reference_without_a_manifest_is_fed_as_the_model_is(
    command: Command, model: Path, picture: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "float.onnx"
    alone.write_bytes(model.read_bytes())
    bgr = [*ANSWERS[:4], "--set", "input.color=bgr", *ANSWERS[6:]]
    assert command("manifest", model, *bgr, "--golden", picture, "--reference", alone)[0] == 0
    page = json.loads(command("verify", model, "--json")[1])
    (sample,) = page["samples"]
    assert page["healthy"] is True
    assert sample["peak"] == pytest.approx(sample["reference_peak"], abs=1e-4)
    assert sample["notes"] == []
    assert {output["cosine"] > 0.9999 for output in sample["outputs"]} == {True}


def test_verify_checks_the_bundled_model_by_itself(command: Command) -> None:
    code, out, err = command("verify")
    assert (code, err) == (0, "")
    assert "street.golden.npz: 400×300" in out
    page = json.loads(command("verify", "bundled", "--json")[1])
    assert (page["healthy"], page["samples"][0]["matched"]) == (True, 10)


def test_verify_with_samples_of_ones_own(command: Command, tmp_path: Path) -> None:
    """Several, of which the worst counts; in place of the manifest's."""
    good = with_golden(broken(tmp_path, lambda _, bias: bias))
    lower = broken(tmp_path, lambda n, b: b - 6 if n.startswith("cls") else b, "lower")
    lower.with_suffix(".toml").write_text(STREET)
    own = bundled.MODEL.with_name("street.golden.npz")
    code, _, err = command("verify", lower)
    assert code == 1
    assert "expected a golden sample, its manifest has none; make one with: npud manifest" in err
    assert command("verify", lower, "--golden", own)[0] == 1
    code, out, _ = command("verify", good, "--golden", own, "--golden", own.with_suffix(".png"))
    assert code == 0
    assert out.count("golden ") == 2


def test_verify_with_a_sample_that_is_damaged_is_one_line(command: Command, tmp_path: Path) -> None:
    model = with_golden(broken(tmp_path, lambda _, bias: bias))
    (tmp_path / "street.golden.npz").write_bytes(b"PK")
    code, out, err = command("verify", model)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "expected a reference that npud made" in err
    assert GOLDEN in model.with_suffix(".toml").read_text()


def test_inspect_says_what_a_manifest_is_worth(command: Command, tmp_path: Path) -> None:
    model = with_golden(broken(tmp_path, lambda _, bias: bias))
    assert "has a golden sample, checked whenever" in command("inspect", model)[1]
    toml = model.with_suffix(".toml")
    toml.write_text(f'digest = "0123456789ab"\n{STREET}')
    code, out, _ = command("inspect", model)
    assert code == 1
    assert "written for another file, with digest 0123456789ab" in out
    assert "no golden sample" in out
    toml.write_text(f'digest = "{models.digest(model)}"\n{STREET}')
    assert "the file that the manifest was written for" in command("inspect", model)[1]
