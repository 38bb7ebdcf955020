"""The command line as a user meets it: help, results, and one line for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime import bundled
from runtime.cli import COMMANDS
from runtime.scenes import LABELS, Street
from tests.conftest import ROOT
from tests.test_onnx_model import save

Command = Callable[..., tuple[int, str, str]]


SIZE, FRAME = (800, 600), 40
# a scene with something in it, whatever the generator draws
SEED = next(s for s in range(900, 999) if len(Street(s, SIZE).frame(FRAME)[1].boxes) >= 6)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scene.png"
    cv2.imwrite(str(path), Street(SEED, SIZE).frame(FRAME)[0])
    return path


def test_help_of_every_command_has_an_example(command: Command) -> None:
    code, out, _ = command("--help")
    assert code == 0
    for name in COMMANDS:
        assert f"  {name} " in out
        code, page, _ = command(name, "--help")
        assert code == 0
        assert f"npud {name} " in page, "no example"


def test_version(command: Command) -> None:
    import npud as package

    assert command("--version") == (0, f"npud {package.__version__}\n", "")


def test_detect_prints_json_in_source_pixels(command: Command, scene: Path, tmp_path: Path) -> None:
    code, out, err = command("detect", "bundled", scene, "--json", "--save", tmp_path / "out")
    assert (code, err) == (0, "")
    (result,) = json.loads(out)
    assert list(result) == ["image", "width", "height", "detections", "timing_us"]
    assert (result["image"], result["width"], result["height"]) == (str(scene), 800, 600)
    assert result["detections"], "nothing found in the scene"
    for one in result["detections"]:
        assert list(one) == ["label", "class_id", "score", "box"]
        assert one["label"] == LABELS[one["class_id"]]
        assert 0.25 <= one["score"] <= 1
        x1, y1, x2, y2 = one["box"]
        assert 0 <= x1 < x2 <= 800
        assert 0 <= y1 < y2 <= 600
    drawn, plain = cv2.imread(str(tmp_path / "out" / "scene.png")), cv2.imread(str(scene))
    assert drawn.shape == plain.shape
    assert (drawn != plain).any()


def test_detect_finds_what_the_scene_holds(command: Command, scene: Path) -> None:
    _, truth = Street(SEED, SIZE).frame(FRAME)
    (result,) = json.loads(command("detect", "bundled", scene, "--json")[1])
    found = result["detections"]
    hits = 0
    for box, class_id in zip(truth.boxes, truth.class_ids):
        hits += any(o["class_id"] == class_id and iou(o["box"], box) > 0.5 for o in found)
    assert hits >= 0.8 * len(truth.boxes)


def iou(a: list[float], b: np.ndarray) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def test_thresholds_do_what_they_say(command: Command, scene: Path) -> None:
    def count(*options: str) -> int:
        return len(
            json.loads(command("detect", "bundled", scene, "--json", *options)[1])[0]["detections"]
        )

    plain = count()
    assert count("--max-det", "2") == 2
    assert count("--score", "0.95") < plain < count("--score", "0.01")
    assert count("--iou", "1") > plain  # no suppression at all


def test_detect_goes_on_after_a_bad_image(command: Command, scene: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("no image")
    code, out, err = command(
        "detect", "bundled", tmp_path / "bad.jpg", scene, "nothere.png", "--json"
    )
    assert code == 1
    assert [r["image"] for r in json.loads(out)] == [str(scene)]
    assert err.startswith("npud: error: ")
    assert "bad.jpg: expected a JPEG" in err
    assert "nothere.png: No such file" in err
    assert err.count("\n") == 1


MISTAKES: list[tuple[list[str], int, str]] = [
    (
        ["detect", "nothere.onnx", "x.jpg"],
        1,
        "model nothere.onnx: expected a model file, got no such",
    ),
    (["detect", "text.onnx", "x.jpg"], 1, "model text.onnx: expected an ONNX file"),
    (["detect", "cut.onnx", "x.jpg"], 1, "model cut.onnx: expected an ONNX file: truncated"),
    (["detect", "nohead.onnx", "x.jpg"], 1, "model nohead.onnx: "),
    (["detect", "nohead.onnx", "x.jpg"], 1, "[1, 3, 64, 64]"),
    (["detect", "flatten.onnx", "x.jpg"], 1, "[1, 12288]"),
    (["detect", "bundled", "one.png"], 1, "one.png: expected a picture from 8×8 px"),
    (
        ["detect", "bundled", "x.jpg", "--score", "2"],
        2,
        "model.score_threshold: expected float <= 1.0",
    ),
    (["detect", "bundled", "x.jpg", "--score", "high"], 2, "'high' is not a valid float"),
    (["detect", "bundled"], 2, "Missing argument 'IMAGE...'"),
    (["run", "--config", "nothere.toml"], 2, "nothere.toml: No such file"),
    (["run", "--config", "typo.toml"], 2, "typo.toml: model.pth: unknown key; did you mean path?"),
    (["run", "--source", "a=x", "--source", "a=y"], 2, "two cameras are named a"),
    (
        ["run", "--endpoint", "tcp://0.0.0.0:5555"],
        2,
        "publish.endpoint: tcp://0.0.0.0:5555 can be read",
    ),
    (["run", "--endpoint", "carrier:pigeon"], 2, 'expected "ipc:///path"'),
    (["run", "--endpoint", "ipc:///no/where/x"], 1, "cannot bind ipc:///no/where/x: No such file"),
    (
        ["run", "--endpoint", "ipc:///tmp/" + "x" * 120],
        2,
        "expected an ipc path of at most 107 bytes",
    ),
    (["runn"], 2, "No such command 'runn'"),
    (["run", "--sorce", "x"], 2, "No such option '--sorce'"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), MISTAKES)
def test_a_mistake_is_one_line(
    command: Command,
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.onnx").write_text("hello")
    Path("cut.onnx").write_bytes(bundled.MODEL.read_bytes()[:50_000])
    Path("typo.toml").write_text("[model]\npth = 'x'")
    save(Path("nohead.onnx"), ["Sigmoid"], [1, 3, 64, 64])
    save(Path("flatten.onnx"), ["Flatten"], [1, 3, 64, 64])
    cv2.imwrite("one.png", np.zeros((1, 1, 3), np.uint8))
    exit_code, out, err = command(*arguments)
    assert message in err
    assert err.startswith("npud: error: ")
    assert err.count("\n") == 1
    assert (exit_code, out) == (code, "")


def test_a_closed_pipe_ends_quietly(scene: Path) -> None:
    command = f"{sys.executable} -m runtime.cli detect bundled {scene} {scene} | true"
    ended = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""
