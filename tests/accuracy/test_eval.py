"""`npud eval` as a user meets it, against pycocotools on what `npud detect --json` prints."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import coco_map
from runtime import config
from runtime.accuracy.evaluate import at_lowest_score
from runtime.detector import Detector, read_model
from runtime.frame import Frame
from runtime.scenes import Street
from tests.accuracy import labelled
from tests.conftest import ROOT

Command = Callable[..., tuple[int, str, str]]
SAME = 1e-6


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled.write(tmp_path_factory.mktemp("scenes"), 6)


def test_equal_to_pycocotools_on_what_detect_prints(
    command: Command, scenes: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    code, out, err = command("eval", "bundled", "--data", scenes, "--json", "--log", log)
    assert (code, err) == (0, "")
    got = json.loads(out)
    found = json.loads(
        command("detect", "bundled", scenes / "images", "--json", "--score", 0.001)[1]
    )
    expected = coco_map(scenes / "instances.json", found)
    assert got["map50_95"] == pytest.approx(expected, abs=SAME)
    assert got["map50_95"] > 0.5
    assert (got["images"], got["complete"]) == (6, True)
    deployed = json.loads(command("detect", "bundled", scenes / "images", "--json")[1])
    assert got["deployed"]["found"] == sum(len(one["detections"]) for one in deployed)
    assert len(log.read_text().splitlines()) == 7


def test_all_formats_give_the_same_figures(command: Command, scenes: Path, tmp_path: Path) -> None:
    figures = []
    for data in ("instances.json", "data.yaml", "Annotations"):
        log = tmp_path / "log.jsonl"
        code, out, err = command("eval", "bundled", "--data", scenes / data, "--json", "--log", log)
        assert (code, err) == (0, "")
        figures.append(json.loads(out))
    for one in figures[1:]:
        assert one["map50_95"] == pytest.approx(figures[0]["map50_95"], abs=1e-9)
        assert one["deployed"] == figures[0]["deployed"]
        assert one["best"] == figures[0]["best"]


def test_the_table_says_what_the_json_says(command: Command, scenes: Path, tmp_path: Path) -> None:
    arguments = ("eval", "bundled", "--data", scenes, "--log", tmp_path / "log.jsonl")
    document = json.loads(command(*arguments, "--json")[1])
    code, out, _ = command(*arguments)
    assert code == 0
    rows = {line.split("  ")[0].strip(): line for line in out.splitlines()}
    for label, part in [("all", document), *((c["label"], c) for c in document["classes"])]:
        assert f"{part['map50_95']:.4f}" in rows[label]
        assert f"{part['deployed']['f1']:.3f}" in rows[label]
    assert "…" not in out
    only = command(*arguments, "--classes", "car,bus")[1]
    assert "person" not in only
    assert rows["car"].split()[2] in only


def test_an_interrupted_run_goes_on(command: Command, tmp_path: Path) -> None:
    """A real Ctrl-C: what was done is shown, kept, and not done again."""
    scenes, log = labelled.write(tmp_path / "s", 16), tmp_path / "log.jsonl"
    arguments = ["eval", "bundled", "--data", str(scenes), "--log", str(log), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime.cli", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") > 3):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    part = json.loads(out)
    assert 2 <= part["images"] < 16  # the third may be written, and not yet counted
    assert part["complete"] is False
    assert f"those of {part['images']} of 16 pictures; --resume goes on" in err
    kept = log.read_bytes()
    with log.open("ab") as file:
        file.write(b'{"image": "half a li')
    code, out, _ = command(*arguments, "--resume")
    assert code == 0
    assert log.read_bytes().startswith(kept)
    resumed = json.loads(out)
    assert resumed["complete"] is True
    code, out, _ = command(*arguments)
    assert json.loads(out) == resumed


def test_results_of_another_run_are_not_resumed(
    command: Command, scenes: Path, tmp_path: Path
) -> None:
    arguments = ("eval", "bundled", "--data", scenes, "--log", tmp_path / "log.jsonl", "--resume")
    assert command(*arguments, "--limit", 2, "--score", 0.3)[0] == 0
    assert command(*arguments, "--limit", 3, "--score", 0.5)[0] == 0  # the same results serve both
    code, _, err = command(*arguments, "--iou", 0.6)
    assert code == 2
    assert "log.jsonl: expected results with settings" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("nms", ["class", "agnostic", "none"])
@pytest.mark.parametrize("most", [3, 300])
def test_one_run_at_a_low_score_has_the_deployed_one_in_it(nms: str, most: int) -> None:
    """What P, R and F1 at the deployed threshold rest on, also where max_detections is reached."""
    settings = config.Model(score_threshold=0.25, max_detections=most, nms=nms)  # type: ignore[arg-type]
    files = read_model(settings)
    high = Detector(files, settings, config.Backend())
    low = Detector(files, at_lowest_score(settings), config.Backend())
    counts = []
    for seed in range(3):
        frame = Frame(Street(70 + seed, labelled.SIZE).frame(60)[0])
        expected, every = high.detect(frame)[0], low.detect(frame)[0]
        kept = every.scores >= np.float32(0.25)
        assert (every.boxes[kept] == expected.boxes).all()
        assert (every.scores[kept] == expected.scores).all()
        assert (every.class_ids[kept] == expected.class_ids).all()
        counts.append(len(expected))
    assert max(counts) == 3 if most == 3 else max(counts) > 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "none"), "none: expected labels, COCO, YOLO or VOC: no such file"),
        (("--classes", "cat"), "--classes: unknown class cat; did you mean car?"),
        (("--backend", "onix"), "backend.name: unknown backend onix; did you mean onnx?"),
        (("--log", "/dev/null/x"), "/dev/null/x: cannot write results: "),
        (("--score", "2"), "model.score_threshold: expected"),
    ],
)
def test_mistakes_are_one_line(
    command: Command, scenes: Path, tmp_path: Path, arguments: tuple[str, str], message: str
) -> None:
    given = {"--data": str(scenes), "--log": str(tmp_path / "log.jsonl")} | {
        arguments[0]: arguments[1]
    }
    code, out, err = command("eval", "bundled", *(word for pair in given.items() for word in pair))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("module", "more"), [("pycocotools.coco", ()), ("matplotlib.figure", ("--plot", "x.png"))]
)
def test_what_is_not_installed_is_told_first(
    command: Command,
    scenes: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    module: str,
    more: tuple[str, ...],
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    log = tmp_path / "log.jsonl"
    code, _, err = command("eval", "bundled", "--data", scenes, "--log", log, *more)
    assert code == 1
    assert f"expected {module.split('.')[0]}, got" in err
    assert "remedy: pip install 'npud[workbench]'" in err
    assert not log.exists()


def test_a_picture_that_cannot_be_read_is_named(command: Command, tmp_path: Path) -> None:
    scenes = labelled.write(tmp_path / "s", 2)
    (scenes / "images/0002.png").write_bytes(b"no picture")
    code, _, err = command("eval", "bundled", "--data", scenes, "--log", tmp_path / "log.jsonl")
    assert code == 1
    assert err.startswith(f"npud: error: {scenes}/images/0002.png: expected a JPEG, PNG")
    document = json.loads((scenes / "instances.json").read_text())
    document["images"][0] |= {"width": 480, "height": 640}
    (scenes / "instances.json").write_text(json.dumps(document))
    code, _, err = command("eval", "bundled", "--data", scenes, "--log", tmp_path / "log.jsonl")
    assert code == 1
    assert "0001.png: expected 480×640 pixels, as its labels say, got 640×480" in err


@pytest.mark.shared
@pytest.mark.parametrize(("name", "iou"), [("yolov8n", 0.7), ("yolo26n", 1), ("yolov5n", 0.6)])
def test_real_models(command: Command, shared: Path, tmp_path: Path, name: str, iou: float) -> None:
    whole = json.loads((shared / "data/coco_val/instances.json").read_text())
    ids = sorted(image["id"] for image in whole["images"])[:4]
    whole["images"] = [image for image in whole["images"] if image["id"] in ids]
    whole["annotations"] = [one for one in whole["annotations"] if one["image_id"] in ids]
    truth = tmp_path / "instances.json"
    truth.write_text(json.dumps(whole))
    folder = shared / "data/coco_val/images"
    model, log = shared / f"models/{name}.onnx", tmp_path / "log.jsonl"
    common = ("--iou", iou, "--json")
    code, out, _ = command(
        "eval", model, "--data", truth, "--images", folder, "--log", log, *common
    )
    assert code == 0
    images = [folder / image["file_name"] for image in whole["images"]]
    found = json.loads(command("detect", model, *images, "--score", 0.001, *common)[1])
    assert json.loads(out)["map50_95"] == pytest.approx(coco_map(truth, found), abs=SAME)
