"""One model from its file to its detections: how its head and activation are decided."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from npud.errors import InferenceError, ModelError
from postprocess.tensor import Quantization, TensorSpec
from runtime import bundled, config
from runtime.detector import Detector, read_model
from runtime.frame import Frame
from runtime.models import recording
from runtime.scenes import LABELS, Street

PICTURE = Frame(Street(2, (640, 480)).frame(90)[0])


def detector(path: Path, **settings: object) -> Detector:
    model = config.parse({"model": {"path": str(path), **settings}}).model
    return Detector(read_model(model), model, config.Backend())


def variant(path: Path, ops: list[str], factor: float = 1.0, manifest: str = "") -> Path:
    """The bundled model with operations behind its class outputs, and a manifest of its own."""
    model = onnx.load(bundled.MODEL)
    model.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "factor"))
    for output in model.graph.output:
        if not output.name.startswith("cls"):
            continue
        names = [output.name, *(f"{output.name}_{i}" for i in range(len(ops)))]
        for op, before, after in zip(ops, names, names[1:]):
            inputs = [before, "factor"] if op == "Mul" else [before]
            model.graph.node.append(helper.make_node(op, inputs, [after]))
        output.name = names[-1]
    onnx.save(model, path)
    labels = ", ".join(f'"{label}"' for label in LABELS)
    path.with_suffix(".toml").write_text(manifest or f"labels = [{labels}]\n")
    return path


def test_every_kind_of_evidence_gives_the_same_detections(tmp_path: Path) -> None:
    expected, _ = detector(bundled.MODEL).detect(PICTURE)
    assert len(expected) > 5
    for ops, evidence in {
        (): "Conv",
        ("Sigmoid",): "Sigmoid",
        ("Mul",): "on a canary picture the class outputs hold -",
        ("Sigmoid", "Mul"): "on a canary picture the class outputs hold ",
    }.items():
        one = detector(variant(tmp_path / "m.onnx", list(ops)))
        assert evidence in one.plan.evidence
        assert one.plan.activation == ("probabilities" if "Sigmoid" in ops else "logits")
        found, _ = one.detect(PICTURE)
        assert np.array_equal(found.boxes, expected.boxes)
        assert np.array_equal(found.class_ids, expected.class_ids)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_a_manifest_is_believed_first(tmp_path: Path) -> None:
    path = variant(tmp_path / "m.onnx", ["Sigmoid"], manifest='activation = "logits"\n')
    plan = detector(path).plan
    assert (plan.activation, plan.evidence) == ("logits", "the manifest says so")


def test_what_nothing_decides_is_refused_with_what_to_say(tmp_path: Path) -> None:
    path = variant(tmp_path / "m.onnx", ["Mul"], factor=0.0)
    with pytest.raises(ModelError, match=r"logits or probabilities.*activation") as error:
        detector(path)
    assert str(error.value).startswith(f"model {path}: ")


def test_a_wrong_number_of_labels_is_said(tmp_path: Path) -> None:
    path = variant(tmp_path / "m.onnx", [], manifest='labels = ["a", "b"]\n')
    with pytest.raises(ModelError, match="expected 6 labels, as the head has classes, got 2"):
        detector(path)


def test_a_manifest_somewhere_else_and_keys_of_the_config_win(tmp_path: Path) -> None:
    path = variant(tmp_path / "m.onnx", [])
    other = tmp_path / "other.toml"
    other.write_text('[input]\ncolor = "bgr"\npad_value = 3\n')
    one = detector(path, manifest=str(other), input={"pad_value": 5})
    assert (one.input.color, one.input.pad_value) == ("bgr", 5)
    assert one.files.labels == ()


def test_a_backend_that_goes_wrong_later_is_an_inference_error() -> None:
    one = detector(bundled.MODEL)
    one.backend.infer = lambda tensors: [np.zeros((1, 2, 3), np.float32)] * 6  # type: ignore[method-assign]
    with pytest.raises(InferenceError, match=r'output "box_8" expected \(1, 4, 40, 40\) float32'):
        one.detect(PICTURE)


def test_duplicates_and_partners_find_the_same_at_the_same_time() -> None:
    first = detector(bundled.MODEL)
    twins = [first, first.partner(), first.duplicate(1), first.duplicate(2)]
    expected, _ = first.detect(PICTURE)
    with ThreadPoolExecutor(len(twins)) as pool:
        for results in pool.map(lambda twin: [twin.detect(PICTURE) for _ in range(10)], twins):
            for found, _ in results:
                assert np.array_equal(found.boxes, expected.boxes)
                assert np.array_equal(found.scores, expected.scores)


def test_an_observation_is_kept_while_the_context_works_on(tmp_path: Path) -> None:
    one = detector(bundled.MODEL)
    seen = one.observe(PICTURE)
    assert np.array_equal(seen.found.boxes, one.detect(PICTURE)[0].boxes)
    kept = [seen.inputs.copy(), *(output.copy() for output in seen.outputs)]
    one.detect(Frame(np.zeros_like(PICTURE.pixels)))
    for array, before in zip([seen.inputs, *seen.outputs], kept):
        assert np.array_equal(array, before)
    assert [output.shape for output in seen.outputs] == [o.shape for o in one.backend.outputs]


def test_an_int8_input_is_fed_on_its_own_grid(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    grid = Quantization(np.array(1 / 255, np.float32), np.array(-128, np.int32))
    picture = TensorSpec("images", (1, 96, 128, 3), np.dtype(np.int8), "nhwc", grid)
    output = TensorSpec("output", (1, 5, 252), np.dtype(np.float32))
    recording.save(path, [picture], [output], [[np.zeros(output.shape, np.float32)]])
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    fed = detector(path).observe(Frame(pixels)).inputs[0]
    assert fed.dtype == np.int8
    assert np.array_equal(fed.astype(int), pixels[..., ::-1].astype(int) - 128)  # RGB
    blind = TensorSpec("images", (1, 96, 128, 3), np.dtype(np.int8), "nhwc")
    recording.save(path, [blind], [output], [[np.zeros(output.shape, np.float32)]])
    with pytest.raises(ModelError, match="scale and zero point of an int8 input, got none"):
        detector(path)
