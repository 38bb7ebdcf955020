"""`npud ab` on pictures, videos and recordings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from runtime import bundled
from runtime.ab import variants
from runtime.ab.offline import run
from runtime.ab.pairs import Found
from runtime.ab.variants import Item, ModelVariant
from runtime.accuracy.dataset import class_map, open_dataset
from runtime.accuracy.metrics import Resampler, figures_of
from runtime.accuracy.records import Result
from runtime.config import Config
from runtime.scenes import LABELS, Street

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(10):
        pixels, _ = Street(number, (640, 360)).frame(60)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    return folder


def told(command: Command, *arguments: str | Path) -> dict[str, Any]:
    """What `npud ab` says of the bundled model as a."""
    code, out, error = command("ab", "bundled", *arguments, "--json")
    assert code == 0, error
    document: dict[str, Any] = json.loads(out)
    assert document["complete"]
    return document


def figures(command: Command, *arguments: str | Path) -> dict[str, Any]:
    document = told(command, *arguments)
    return document["figures"] | {"verdict": document["verdict"]}


def test_a_model_and_itself(command: Command, pictures: Path) -> None:
    found = figures(command, "--images", pictures)
    for name in ("score_shift", "boxes", "only_a", "only_b", "shift"):
        assert set(found[name].values()) == {0.0}
    assert found["verdict"][0] == "no difference shown yet, n = 10 frames"


def test_a_stretched_input_is_told_from_a_letterboxed_one(
    command: Command, pictures: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    stretched = ("--set-b", "model.input.letterbox=stretch")
    found = figures(command, *stretched, "--images", pictures, "--html", report)
    assert found["only_a"]["low"] > 0
    assert any("of a's boxes are missing in b" in line for line in found["verdict"])
    text = report.read_text()
    assert text.count("data:image/jpeg;base64,") >= 4  # the frames that differ most, both sides
    assert "<script" not in text
    assert not re.search(r'(src|href)="http', text)


def test_a_higher_threshold_shows_as_flips(command: Command, pictures: Path) -> None:
    found = figures(command, "--set-b", "model.score_threshold=0.4", "--images", pictures)
    assert found["only_a"]["value"] > 0
    assert found["lost"]["value"] == found["only_a"]["value"]  # all are found, with lower scores
    assert found["score_shift"]["value"] == 0


def changed(path: Path, add: float = 0.0, *, reverse: bool = False) -> Path:
    """The bundled model with class logits that are higher, or in the opposite order of classes."""
    model = onnx.load(bundled.MODEL)
    labels = list(LABELS)
    for output in model.graph.output:
        if not output.name.startswith("cls"):
            continue
        for node in model.graph.node:
            node.output[:] = [f"{n}_before" if n == output.name else n for n in node.output]
        before, moved = f"{output.name}_before", f"{output.name}_moved"
        amount, order = (onnx.numpy_helper.from_array(array, f"{output.name}_{kind}")
                         for kind, array in (("add", np.float32(add)),
                                             ("order", np.arange(len(labels))[::-1].copy())))  # fmt: skip
        model.graph.initializer.extend([amount, order])
        model.graph.node.append(onnx.helper.make_node("Add", [before, amount.name], [moved]))
        kind, inputs = ("Gather", [moved, order.name]) if reverse else ("Identity", [moved])
        axis = {"axis": 1} if reverse else {}
        model.graph.node.append(onnx.helper.make_node(kind, inputs, [output.name], **axis))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    manifest = bundled.MODEL.with_suffix(".toml").read_text().partition("# Street(")[0]
    written = json.dumps(labels), json.dumps(labels[::-1] if reverse else labels)
    assert written[0] in manifest
    path.with_suffix(".toml").write_text(manifest.replace(*written))
    return path


def test_raw_outputs_differ_by_what_was_added(
    command: Command, pictures: Path, tmp_path: Path
) -> None:
    b = changed(tmp_path / "louder.onnx", 0.5)
    document = told(command, b, "--images", pictures)
    outputs = {one["output"]: one for one in document["outputs"]}
    assert len(outputs) == 9  # three strides: boxes, logits, probabilities
    for name, one in outputs.items():
        if name.endswith("logits"):
            assert one["mean_absolute"] == pytest.approx(0.5, abs=1e-5)
            assert one["max_absolute"] == pytest.approx(0.5, abs=1e-4)
        elif name.endswith("probabilities"):
            assert 0 < one["max_absolute"] <= 0.1245  # sigmoid(x + 0.5) - sigmoid(x), at -0.25
        else:
            assert one["max_absolute"] == 0
    assert document["figures"]["score_shift"]["low"] > 0
    assert document["figures"]["shift"]["high"] == 0
    size = 3 * 320 * 320 + 10 * (40 * 40 + 20 * 20 + 10 * 10)  # input and six outputs, float32
    assert document["figures"]["moved"] == {"value": 0, "low": 0, "high": 0}
    code, out, _ = command("ab", "bundled", b, "--images", pictures)
    assert code == 0
    assert out.count(f"{4 * size / 1e6:.3f} MB") == 2


def test_classes_of_another_order_are_matched_by_name(
    command: Command, pictures: Path, tmp_path: Path
) -> None:
    document = told(command, changed(tmp_path / "b.onnx", reverse=True), "--images", pictures)
    for name in ("only_a", "only_b", "score_shift", "shift"):
        assert document["figures"][name]["value"] == 0


def test_ctrl_c_keeps_the_whole_frames_that_were_done(pictures: Path) -> None:
    class Tired(ModelVariant):
        """Ctrl-C comes while it looks at the fifth frame (the first is looked at twice)."""

        looked = 0

        def look(self, item: Item) -> Found:
            self.looked += 1
            if self.looked == 6:
                raise KeyboardInterrupt
            return super().look(item)

    sides = ModelVariant(Config(), "a"), Tired(Config(), "b")
    outcome = run(*sides, variants.images(str(pictures), None), 1)
    assert outcome.interrupted
    counts = len(outcome.summary), len(outcome.names), *map(len, outcome.results)
    assert counts == (4, 4, 4, 4)
    for side in sides:
        side.close()


def test_options_on_recorded_outputs(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "street.mcap"
    source = "synthetic:street?seed=3&size=320x240&frames=12"
    code, _, error = command(
        "record", "--source", source, "--every-frame", "--frames", "none", "--out", path
    )
    assert code == 0, error
    code, out, _ = command("ab", "--recording", path, "--set-b", "model.sigmoid=exact", "--json")
    assert code == 0
    document = json.loads(out)
    assert document["frames"] == 12
    assert document["figures"]["only_a"]["value"] == 0
    assert abs(document["figures"]["score_shift"]["value"]) < 1e-5
    code, _, error = command("ab", "bundled", "--recording", path)
    assert code == 1
    assert "it has no pictures, which models need" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bundled"], "expected one of --images, --video, --recording"),
        (["--images", "x"], "expected a model A, or --recording"),
        (["bundled", "--images", "x", "--set-b", "sigmoid"], "expected KEY=VALUE"),
        (["bundled", "--images", "x", "--set-b", "model.sigmod=exact"], "did you mean sigmoid?"),
        (["bundled", "--images", "/nowhere"], "/nowhere: "),
        (["bundled", "--images", "x", "--html", "/no/x.html"], "there is no folder /no"),
        (["nothing.onnx", "--images", "x"], "nothing.onnx: expected a model file"),
    ],
)
def test_mistakes_are_one_line(command: Command, arguments: list[str], said: str) -> None:
    code, _, error = command("ab", *arguments)
    assert code in (1, 2)
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.shared
def test_figures_of_drawn_pictures_are_those_of_the_whole_evaluation(shared: Path) -> None:
    dataset = open_dataset(shared / "data" / "coco_val" / "instances.json")
    pictures = dataset.pictures[:6]
    rng = np.random.default_rng(0)
    results = []
    for picture in pictures:  # the labels themselves, moved a little, some with another class
        truth = picture.truth
        corners = truth.boxes + rng.normal(0, 4, truth.boxes.shape)
        boxes = np.concatenate([corners[:, :2], corners[:, :2] + np.abs(corners[:, 2:])], 1)
        count = len(boxes)
        classes = np.where(rng.random(count) < 0.8, truth.classes, 0)
        results.append(Result(640, 640, boxes, np.sort(rng.random(count))[::-1], classes))
    mapped = class_map(dataset, dataset.labels, len(dataset.labels), ())
    resampler = Resampler(pictures, results, mapped, 0.25)
    for chosen in ([0, 1, 2, 3, 4, 5], [3, 3, 0, 5, 5, 5]):
        figures = figures_of(
            [pictures[i] for i in chosen], [results[i] for i in chosen], mapped, 0.25
        )
        assert resampler.figures(chosen) == {
            "mAP50-95": pytest.approx(figures.map50_95, abs=1e-12),
            "mAP50": pytest.approx(figures.map50, abs=1e-12),
            "F1": pytest.approx(figures.deployed.f1, abs=1e-12),
        }
