"""`npud prepare`: the head is found in graphs whose names tell nothing, and cut where it begins."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from runtime import models
from runtime.frame import Frame
from runtime.golden.judge import judge
from runtime.golden.reference import load
from runtime.models import manifest as manifests
from runtime.prepare.verify import open_model
from tests.conftest import ROOT
from tests.prepare import build

Command = Callable[..., tuple[int, str, str]]
BUILDERS: dict[str, Callable[[Path], tuple[Path, build.Net]]] = {
    "dfl": build.dfl,
    "ltrb": build.end2end,
    "anchor": build.anchors,
    "yolox": build.yolox,
}


def picture() -> Frame:
    """Soft noise: something for random weights to find."""
    coarse = np.random.default_rng(1).integers(0, 256, (12, 9, 3), np.uint8)
    return Frame(cv2.resize(coarse, (90, 120), interpolation=cv2.INTER_CUBIC), name="noise")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "noise.png"
    cv2.imwrite(str(path), picture().pixels)
    return path


def outputs_of(path: Path, names: list[str] | None = None) -> dict[str, np.ndarray]:
    """What a model (or these tensors of it) gives for a fixed picture."""
    model = onnx.load(path)
    if names:
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    tensor = np.random.default_rng(2).random((1, 3, build.SIZE, build.SIZE), np.float32)
    return dict(zip(names, session.run(None, {"images": tensor})))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


@pytest.mark.parametrize("layout", ["rockchip", "drobotics"])
@pytest.mark.parametrize("head", BUILDERS)
def test_the_cut_models_give_the_tensors_of_the_head(
    command: Command, tmp_path: Path, image: Path, head: str, layout: str
) -> None:
    path, net = BUILDERS[head](tmp_path / "m.onnx")
    folder = tmp_path / "out"
    code, out, err = command(
        "prepare", path, "--layout", layout, "--image", image, "-o", folder, "--json"
    )
    assert (code, err) == (0, "")
    done = json.loads(out)
    assert [part["tensor"] for part in done["head"]] == list(net.heads.values())
    inner = outputs_of(path, list(net.heads.values()))
    expected = {title: inner[name] for title, name in net.heads.items()}
    order = {"anchor": ["raw"], "yolox": ["box", "obj", "cls"]}.get(head, ["box", "cls"])
    if layout == "drobotics":
        order.sort(key=["cls", "box", "obj", "raw"].index)
    for variant in done["variants"]:
        got = outputs_of(Path(variant["model"]))
        assert list(got) == [f"{role}_{stride}" for stride in build.STRIDES for role in order]
        for title, tensor in got.items():
            raw = expected[title]
            if variant["sigmoid"] == "npu" and not title.startswith("box"):
                raw = sigmoid(raw)
            if layout == "drobotics":
                raw = raw.transpose(0, 2, 3, 1)
            assert tensor.shape == raw.shape
            np.testing.assert_allclose(tensor, raw, rtol=1e-5, atol=1e-6)
        assert variant["head"] == head
        assert variant["difference"]["count"] >= 5
        assert variant["difference"]["box_px"] <= 0.001
        manifest = manifests.read(Path(variant["manifest"]))
        assert manifest.labels == ("cat", "dog", "bird")
        assert manifest.activation == {"cpu": "logits", "npu": "probabilities"}[variant["sigmoid"]]
        assert manifest.anchors == (build.ANCHORS if head == "anchor" else None)
        one_to_one = head == "ltrb"
        assert (manifest.nms, manifest.multi_label) == (
            ("none", True) if one_to_one else (None, False)
        )
    assert len(list(folder.iterdir())) == 4  # nothing else is left


def test_detections_of_the_cut_models_are_those_of_the_uncut(
    command: Command, tmp_path: Path, image: Path
) -> None:
    """Through `npud detect`, a model that was cut, and cut again in the other layout."""
    path, _ = build.dfl(tmp_path / "m.onnx")

    def detect(model: Path) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(command("detect", model, image, "--json")[1])
        return found[0]["detections"]

    expected = detect(path)
    assert len(expected) >= 5
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert command("prepare", path, "--image", image, "-o", once)[0] == 0
    again = ["prepare", once / "m.npu-sigmoid.onnx", "--image", image, "-o", twice]
    code, out, err = command(*again, "--layout", "drobotics", "--sigmoid", "cpu")
    assert (code, err) == (0, "")
    assert "nothing: its outputs are raw heads already" in out
    for cut in [*once.glob("*.onnx"), *twice.glob("*.onnx")]:
        got = detect(cut)
        assert [one["label"] for one in got] == [one["label"] for one in expected]
        for a, b in zip(got, expected):
            np.testing.assert_allclose(a["box"], b["box"], atol=0.0015)  # printed to 0.001
            assert a["score"] == pytest.approx(b["score"], abs=2e-5)


def test_boxes_and_scores_apart_are_followed_back_as_well(
    command: Command, tmp_path: Path, image: Path
) -> None:
    path, net = build.dfl(tmp_path / "m.onnx", apart=True)
    code, out, err = command("prepare", path, "--image", image, "-o", tmp_path, "--json")
    assert (code, err) == (0, "")
    done = json.loads(out)
    assert done["read_as"].startswith("boxes_scores head")
    assert [part["tensor"] for part in done["head"]] == list(net.heads.values())


def test_a_dynamic_input_becomes_fixed(command: Command, tmp_path: Path, image: Path) -> None:
    path, _ = build.dfl(tmp_path / "m.onnx", sides=("height", "width"))
    code, _, err = command("prepare", path, "--image", image, "-o", tmp_path)
    assert (code, err) == (0, "")
    for made in tmp_path.glob("m.*-sigmoid.onnx"):
        dims = onnx.load(made).graph.input[0].type.tensor_type.shape.dim
        assert [dim.dim_value for dim in dims] == [1, 3, build.SIZE, build.SIZE]


@pytest.mark.parametrize("head", ["dfl", "anchor"])  # random ltrb has inverted boxes
def test_a_golden_sample_judges_its_own_variants_healthy(
    command: Command, tmp_path: Path, image: Path, head: str
) -> None:
    """The golden sample that is written is one that npud's judge accepts, for either variant."""
    path, _ = BUILDERS[head](tmp_path / "m.onnx")
    code, out, err = command("prepare", path, "--golden", image, "-o", tmp_path / "out", "--json")
    assert (code, err) == (0, "")
    done = json.loads(out)
    assert Path(done["golden"]).read_bytes()[1:4] == b"PNG"
    for variant in done["variants"]:
        manifest = manifests.read(Path(variant["manifest"]))
        assert manifest.golden is not None
        assert manifest.conversion.source_digest == models.digest(path)
        folder = Path(variant["manifest"]).parent
        sample = load(folder / manifest.golden.image, folder / manifest.golden.reference)
        detector = open_model(Path(variant["model"]))
        assert judge(detector, sample, manifest.golden).level == "ok"


def test_the_score_sum_is_rockchips(command: Command, tmp_path: Path, image: Path) -> None:
    path, _ = build.dfl(tmp_path / "m.onnx")
    code, _, err = command("prepare", path, "--image", image, "-o", tmp_path, "--score-sum")
    assert (code, err) == (0, "")
    got = outputs_of(tmp_path / "m.npu-sigmoid.onnx")
    assert list(got)[:3] == ["box_8", "cls_8", "score_sum_8"]
    np.testing.assert_allclose(
        got["score_sum_8"], got["cls_8"].sum(1, keepdims=True).clip(0, 1), atol=1e-6
    )
    assert len(outputs_of(tmp_path / "m.cpu-sigmoid.onnx")) == 6


def test_the_bundled_model_is_raw_already(command: Command, tmp_path: Path) -> None:
    code, out, err = command("prepare", "bundled", "-o", tmp_path)
    assert (code, err) == (0, "")
    assert "nothing: its outputs are raw heads already" in out
    assert manifests.read(tmp_path / "street.npu-sigmoid.toml").activation == "probabilities"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"widen": 1.05}, "m.cpu-sigmoid.onnx was not written: expected the same detections"),
    ({"last": "Softmax"}, "expected the sigmoid of its class tensors as scores"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_npud_would_decode_otherwise_is_refused(
    command: Command, tmp_path: Path, image: Path, changes: dict[str, Any], message: str
) -> None:
    path, _ = build.dfl(tmp_path / "m.onnx", **changes)
    code, out, err = command("prepare", path, "--image", image, "-o", tmp_path / "out")
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1
    assert not list((tmp_path / "out").glob("*"))


def test_nms_in_the_graph_is_refused(command: Command, tmp_path: Path, image: Path) -> None:
    path = build.with_nms(tmp_path / "m.onnx")
    code, _, err = command("prepare", path, "--image", image, "-o", tmp_path / "out")
    assert code == 1
    assert "expected a model without NMS in its graph: export it without" in err
    assert err.count("\n") == 1


def test_a_model_without_a_grid_says_what_was_expected(
    command: Command, tmp_path: Path, image: Path
) -> None:
    net = build.Net()
    flat = net.op("Flatten", net.op("Sigmoid", "images"), axis=1)
    size = 7 * build.cells()
    out = net.op("Slice", flat, net.ints(0), net.ints(size), net.ints(1))
    out = net.op("Reshape", out, net.ints(1, 7, build.cells()))
    path = net.save(tmp_path / "m.onnx", out, [1, 7, build.cells()])
    code, _, err = command("prepare", path, "--image", image, "-o", tmp_path / "out")
    assert code == 1
    assert "expected per stride a box and a class convolution" in err
    assert err.count("\n") == 1


def test_mistakes_are_one_line(command: Command, tmp_path: Path, image: Path) -> None:
    path, _ = build.dfl(tmp_path / "m.onnx")
    (tmp_path / "m.rknn").write_bytes(b"x")
    assert command("prepare", path, "--image", image, "-o", tmp_path)[0] == 0
    for arguments, code, message in (
        ([path], 1, "m.cpu-sigmoid.onnx: it exists; give another folder, or --force"),
        ([tmp_path / "m.rknn"], 1, "expected an .onnx file"),
        ([tmp_path / "none.onnx"], 1, "expected a model file, got no such file"),
        ([path, "--score-sum", "--sigmoid", "cpu"], 2, "--score-sum needs"),
        ([path, "-o", "/proc/nowhere"], 2, "/proc/nowhere: cannot write there"),
        ([path, "--layout", "intel"], 2, "'intel' is not one of"),
    ):
        got, out, err = command("prepare", "-o", tmp_path, "--image", image, *arguments)
        assert (got, out) == (code, "")
        assert message in err
        assert err.count("\n") == 1
    assert command("prepare", path, "--image", image, "-o", tmp_path, "--force")[0] == 0


def test_without_onnx_the_error_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['onnx'] = None; sys.argv[1:] = ['prepare', 'bundled']; "
        "from runtime.cli import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "pip install 'npud[workbench]'" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.shared
@pytest.mark.parametrize("name", ["yolov8n", "yolo26n", "yolov5n"])
def test_real_models_are_cut_where_their_weights_say(
    command: Command, shared: Path, tmp_path: Path, name: str
) -> None:
    """The oracle knows the head by the names of its weights."""
    model, image = shared / f"models/{name}.onnx", shared / "data/bus.jpg"
    code, out, err = command("prepare", model, "--image", image, "-o", tmp_path, "--json")
    assert (code, err) == (0, "")
    done = json.loads(out)
    made_by = {n.output[0]: n.input[1] for n in onnx.load(model).graph.node if n.op_type == "Conv"}
    detect = max(int(w.split(".")[1]) for w in made_by.values() if w.startswith("model."))
    prefix = f"model.{detect}."
    for part in done["head"]:
        level = {8: 0, 16: 1, 32: 2}[part["stride"]]
        branch = {"box": "cv2", "cls": "cv3"}.get(part["role"], "")
        end = f"m.{level}.weight" if name == "yolov5n" else f"{branch}.{level}.2.weight"
        end = f"one2one_{end}" if name == "yolo26n" else end
        assert made_by[part["tensor"]] == prefix + end
    if name == "yolov5n":
        stated = next(p.value for p in onnx.load(model).metadata_props if p.key == "anchors")
        assert done["anchors"] == json.loads(stated)
    assert done["one_to_one"] == (name == "yolo26n")
    for variant in done["variants"]:
        assert variant["difference"]["count"] >= 5
        assert variant["difference"]["box_px"] <= 0.001
        assert variant["difference"]["score"] <= 1e-4
