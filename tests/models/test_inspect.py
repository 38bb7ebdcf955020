"""`npud inspect` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models import build

Npud = Callable[..., tuple[int, str, str]]


def write(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_the_page_of_an_rknn_file(command: Npud, tmp_path: Path) -> None:
    path = write(tmp_path, "m.rknn", build.rknn_heads())
    code, out, err = command("inspect", path)
    assert (code, err) == (0, "")
    for words in (
        "m.rknn · RKNN format 6 · for rk3588",
        "rknn-toolkit2 2.3.2, compiler 2.3.2 (0123456@2025-01-01T00:00:00), from ONNX",
        "librknnrt 2.3.2",
        "fed as RGB bytes; inside: (pixel - 0) / 255",
        "box_8   [1, 64, 8, 8]  int8  NCHW    0.125     -60   -8…24",
        "dfl head, 64x64 input, 5 classes, strides 8/16/32, NCHW, 16 bins",
        "probabilities: the graph's last operation is ConvSigmoid",
        "stride 8   boxes box_8, classes cls_8",
        "warning    the names of 5 classes are not known",
        '→ list them in the .toml beside the model: labels = ["person", …]',
    ):
        assert words in out
    assert max(map(len, out.splitlines())) <= 100


def test_a_problem_is_exit_code_1_and_stands_first(command: Npud, tmp_path: Path) -> None:
    path = write(tmp_path, "m.bin", build.bin_heads({"CALI_TYPE": "skip"}))
    code, out, err = command("inspect", path, "--target", "rdkx5")
    assert (code, err) == (1, "")
    assert out.split("\n\n")[-1].startswith("problem    calibration was skipped")
    assert command("inspect", path, "--target", "rk3588")[1].count("problem") == 2


def test_json_has_everything(command: Npud, tmp_path: Path) -> None:
    path = write(tmp_path, "m.bin", build.bin_heads())
    code, out, _ = command("inspect", path, "--json")
    page = json.loads(out)
    assert code == 0
    assert list(page) == [
        "path", "bytes", "format", "name", "target", "versions", "needs", "calibration",
        "input_size", "labels", "inputs", "outputs", "head", "refusal", "findings", "metadata",
    ]  # fmt: skip
    assert page["bytes"] == path.stat().st_size
    assert page["versions"] == {
        "format": "", "toolkit": "1.24.3", "compiler": "3.49.15", "runtime": "3.15.55.0", "opset": "",
    }  # fmt: skip
    assert page["inputs"][0]["pixels"]["feed"] == "nv12"
    output = page["outputs"][0]
    assert (output["dtype"], output["quantization"]) == ("float32", None)
    assert output["stored"]["dtype"] == "int32"
    assert output["stored"]["quantization"]["scale"] == pytest.approx([0.001] * 5)
    assert page["head"]["levels"][0] == {
        "stride": 8, "grid": [8, 8], "layout": "nhwc", "outputs": {"box": "box_8", "cls": "cls_8"},
        "anchor": None,
    }  # fmt: skip
    assert {f["name"]: f["level"] for f in page["findings"]}["labels"] == "warning"


def test_a_file_that_is_no_model_is_one_line(command: Npud, tmp_path: Path) -> None:
    for name, words in (
        ("m.rknn", "expected an .rknn file of format 6: got a file that begins with b'hello"),
        ("m.bin", "expected a .bin for RDK X5: got a file that begins with b'hello"),
        ("m.onnx", "expected an ONNX file"),
        ("m.engine", "expected one of .onnx, .rknn, .bin, .npz, got .engine"),
    ):
        path = write(tmp_path, name, b"hello, world")
        code, out, err = command("inspect", path, "--json")
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert err.startswith(f"npud: error: model {path}: ")
        assert words in err
    code, _, err = command("inspect", tmp_path / "gone.rknn")
    assert (code, err.count("\n")) == (1, 1)


def test_names_cannot_take_over_the_terminal(command: Npud, tmp_path: Path) -> None:
    evil = "\x1b[2Jcls"
    data = build.rknn([build.rknn_tensor(evil, [1, 9, 84], 0.1, 0)], target="rk\x07")
    _, out, _ = command("inspect", write(tmp_path, "m.rknn", data))
    assert "?[2Jcls" in out
    assert not [c for c in out if not c.isprintable() and c != "\n"]


def test_the_bundled_model(command: Npud) -> None:
    code, out, _ = command("inspect", "bundled")
    assert code == 0
    assert "ok         known" in out
