"""The steps from the float model to the deployed way: each loss in its own row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from npud.errors import ConfigError
from runtime import bundled, config
from runtime.accuracy.dataset import open_dataset
from runtime.accuracy.evaluate import Lane, run
from runtime.accuracy.log import Log
from runtime.accuracy.waterfall import STEPS, as_deployed, seen_by_bpu
from runtime.detector import Detector, read_model
from runtime.frame import Frame
from runtime.input_spec import InputSpec
from runtime.preprocess import Preprocessor
from tests.accuracy import labelled

Command = Callable[..., tuple[int, str, str]]
COUNT = 3


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled.write(tmp_path_factory.mktemp("scenes"), COUNT)


@pytest.fixture(scope="module")
def stretched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model deployed with pictures that are not letterboxed."""
    path = tmp_path_factory.mktemp("model") / "stretched.onnx"
    shutil.copy(bundled.MODEL, path)
    manifest = bundled.MODEL.with_suffix(".toml").read_text().partition("# Street(")[0]
    changed = manifest.replace('letterbox = "center"', 'letterbox = "stretch"')
    assert changed != manifest
    path.with_suffix(".toml").write_text(changed)
    return path


def measured(
    command: Command, log: Path, scenes: Path, model: object, *more: object
) -> dict[str, Any]:
    """The rows by step."""
    options = ("--data", scenes, "--waterfall", "--json", "--log", log)
    code, out, err = command("eval", model, *options, *more)
    assert (code, err) == (0, "")
    rows = {row["step"]: row for row in json.loads(out)["waterfall"]}
    assert list(rows) == list(STEPS)
    return rows


def test_the_last_row_is_the_deployed_way_and_a_loss_is_in_its_row(
    command: Command, scenes: Path, stretched: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    rows = measured(command, log, scenes, stretched, "--float", "bundled")
    whole = json.loads(command("eval", stretched, "--data", scenes, "--json", "--log", log)[1])
    last = rows["postprocessing"]["figures"]
    assert last == {key: whole[key] for key in last}
    assert rows["preprocessing"]["loss"]["map50_95"] < -0.05
    assert rows["preprocessing"]["model"].startswith("street@")
    assert rows["quantized"]["model"].startswith("stretched@")
    for step in ("quantized", "postprocessing"):  # the same network: nothing lost
        assert rows[step]["loss"]["map50_95"] == pytest.approx(0, abs=1e-3)
        assert rows[step]["loss"]["f1"] == pytest.approx(0, abs=1e-3)
    assert rows["npu_sigmoid"]["figures"] is rows["npu_sigmoid"]["loss"] is None
    alone = json.loads(command("eval", "bundled", "--data", scenes, "--json", "--log", log)[1])
    assert rows["float"]["figures"]["map50_95"] == pytest.approx(alone["map50_95"], abs=2e-3)
    total = sum(row["loss"]["map50_95"] for row in rows.values() if row["loss"])
    first = rows["float"]["figures"]["map50_95"]
    assert first + total == pytest.approx(last["map50_95"])


def test_the_sigmoid_on_the_npu_is_a_step(command: Command, scenes: Path, tmp_path: Path) -> None:
    assert command("prepare", bundled.MODEL, "-o", tmp_path)[0] == 0
    variant = tmp_path / "street.npu-sigmoid.onnx"
    log = tmp_path / "log.jsonl"
    rows = measured(command, log, scenes, "bundled", "--npu-sigmoid", variant)
    assert rows["float"]["figures"] is rows["preprocessing"]["figures"] is None
    assert rows["quantized"]["loss"] is None
    assert rows["npu_sigmoid"]["loss"]["map50_95"] == pytest.approx(0, abs=1e-3)
    assert rows["postprocessing"]["model"].startswith("street.npu-sigmoid@")
    assert (tmp_path / "log.npu_sigmoid.jsonl").is_file()


def test_a_config_is_for_all_steps_but_what_it_says_of_the_model(
    command: Command, scenes: Path, stretched: Path, tmp_path: Path
) -> None:
    path, log = tmp_path / "c.toml", tmp_path / "log.jsonl"
    manifest = stretched.with_suffix(".toml")
    path.write_text(f'[model]\niou_threshold = 0.66\nmanifest = "{manifest}"\n')
    more = ("--float", "bundled", "-c", path, "--limit", 1)
    measured(command, log, scenes, stretched, *more)
    digests = set()
    for step in ("float", "preprocessing", "quantized", "postprocessing"):
        header = json.loads((tmp_path / f"log.{step}.jsonl").read_text().splitlines()[0])
        assert header["settings"]["iou_threshold"] == 0.66
        digests.add((header["model"].split("@")[0], header["manifest"]))
    assert len(digests) == 2  # each model's own manifest


def test_table_plot_and_report(
    command: Command, scenes: Path, stretched: Path, tmp_path: Path
) -> None:
    plot, html = tmp_path / "plot.png", tmp_path / "report.html"
    log = tmp_path / "log.jsonl"
    options = ("--data", scenes, "--limit", 1, "--log", log, "--plot", plot, "--html", html)
    code, out, _ = command("eval", stretched, "--waterfall", "--float", "bundled", *options)
    assert code == 0
    assert "sigmoid on the NPU" in out
    assert "not given (--npu-sigmoid)" in out
    assert "…" not in out
    assert cv2.imread(str(plot)).shape[1] > 500
    assert html.read_text().count("<svg") == 1
    assert command("eval", stretched, *options)[0] == 0
    assert "traffic light" in html.read_text()


def test_mistakes_are_one_line(command: Command, scenes: Path, tmp_path: Path) -> None:
    base = ("eval", "bundled", "--data", scenes, "--log", tmp_path / "log.jsonl")
    for more, message in [
        (("--float", "bundled"), "--float, --npu-sigmoid: expected --waterfall with them"),
        (("--waterfall", "--npu-sigmoid-config", "x"), "expected --npu-sigmoid with it"),
        (("--limit", 1, "--plot", "/dev/null/x.png"), "/dev/null/x.png: cannot write a plot"),
        (("--limit", 1, "--plot", tmp_path / "x.abc"), "x.abc: cannot write a plot"),
    ]:
        code, _, err = command(*base, *more)
        assert code == 2
        assert message in err
        assert err.count("\n") == 1


def test_ctrl_c_leaves_all_steps_the_same_pictures(scenes: Path, tmp_path: Path) -> None:
    settings = config.Model()
    detector = Detector(read_model(settings), settings, config.Backend())

    class Interrupted:
        left = 2

        def detect(self, frame: Frame) -> Any:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return detector.detect(frame)

    logs = [Log(tmp_path / f"{n}.jsonl", {}) for n in range(2)]
    pictures = open_dataset(scenes).pictures
    first, second = run([Lane(detector, logs[0]), Lane(Interrupted(), logs[1])], pictures)
    assert first.interrupted
    assert first.pictures == second.pictures == pictures[:2]
    assert len(first.results) == len(second.results) == 2
    assert len(logs[0].done) == 3


def test_a_bpu_sees_what_the_jpeg_standard_says() -> None:
    rng = np.random.default_rng(3)
    nv12 = rng.integers(0, 256, (6, 8), np.uint8)
    bgr = seen_by_bpu(nv12)
    for row in range(4):
        for column in range(8):  # ITU-T T.871, section 7
            y = float(nv12[row, column])
            u, v = (float(nv12[4 + row // 2, column // 2 * 2 + k]) - 128 for k in (0, 1))
            red, green, blue = y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u
            assert bgr[row, column] == pytest.approx([blue, green, red], abs=1e-2)


def test_the_float_model_gets_the_deployed_picture() -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (90, 160, 3), np.uint8)
    pixels = cv2.GaussianBlur(pixels, (0, 0), 6)  # little colour for half-size chroma to lose
    frame, wanted = Frame(pixels), InputSpec((64, 96))
    own = Preprocessor(wanted)(frame)[0].copy()
    same, box = as_deployed(wanted, wanted)(frame)
    assert same == pytest.approx(own, abs=1e-6)
    as_bytes = InputSpec((64, 96), "nhwc", np.dtype(np.uint8), "bgr", pad_value=9, std=(1, 1, 1))
    got, box = as_deployed(wanted, as_bytes)(frame)
    inside = np.s_[:, :, box.pad_y : box.pad_y + box.inner[1], box.pad_x : box.pad_x + box.inner[0]]
    assert got[inside] == pytest.approx(own[inside], abs=1e-6)
    assert got[0, :, 0, 0] == pytest.approx(9 / 255)
    nv12 = InputSpec((64, 96), color="nv12", pad_value=127)
    got, _ = as_deployed(wanted, nv12)(frame)
    assert np.abs(got[inside] - own[inside]).mean() < 0.01
    assert np.abs(got[inside] - own[inside]).max() > 0
    with pytest.raises(ConfigError, match="expected a model with the deployed one's input, got"):
        as_deployed(wanted, InputSpec((64, 64)))
    with pytest.raises(ConfigError, match="expected a model that takes RGB or BGR"):
        as_deployed(nv12, nv12)
