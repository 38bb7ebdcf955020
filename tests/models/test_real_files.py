"""The real models: figures equal to what the vendors' own tools and simulators gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from runtime import models
from runtime.cli.inspect import read_subject
from runtime.models import findings

pytestmark = pytest.mark.shared
RKNN = "models/rknn/yolov8n_rk3588_i8.rknn"
BINS = ("yolo26n_int8", "yolo26n_int8_calibrated_twice_scaled")


def test_rknn_versions_target_and_input(shared: Path) -> None:
    info = models.describe(shared / RKNN)
    assert (info.target, info.versions.toolkit, info.versions.format) == ("rk3588", "2.5.0", "6")
    assert info.versions.compiler.startswith("2.5.0 (")
    assert (info.metadata["npu"], info.metadata["framework"]) == ("RKNPU v2", "ONNX")
    assert info.inputs[0].shape == (1, 640, 640, 3)
    pixels = info.pixels["images"]
    assert (pixels.color, pixels.mean, pixels.std) == ("rgb", (0, 0, 0), (255, 255, 255))


def test_rknn_outputs_of_the_vendors_simulator_lie_on_the_grid_read(shared: Path) -> None:
    info = models.describe(shared / RKNN)
    recorded = np.load(shared / (RKNN + ".sim_bus.npz"))
    assert len(info.outputs) == len(recorded.files) == 9
    for number, spec in enumerate(info.outputs):
        values = recorded[f"arr_{number}"]
        assert spec.shape == values.shape
        assert spec.quantization is not None
        scale, zero = float(spec.quantization.scale), int(spec.quantization.zero_point)
        steps = np.round(values.astype(np.float64) / scale)
        assert (steps + zero).min() >= -128
        assert (steps + zero).max() <= 127
        np.testing.assert_array_equal((steps * scale).astype(np.float16), values)  # as recorded
        grid = info.grids[spec.name]
        assert grid.range is not None
        np.testing.assert_allclose((-128 - zero) * scale, grid.range[0], atol=scale)
        np.testing.assert_allclose((127 - zero) * scale, grid.range[1], atol=scale)


@pytest.mark.parametrize("name", BINS)
def test_bin_outputs_of_the_vendors_simulator_lie_on_the_grid_read(shared: Path, name: str) -> None:
    info = models.describe(shared / f"models/bin/{name}.bin")
    recorded = np.load(shared / f"models/bin/{name}_bus.npz")
    assert {spec.name for spec in info.outputs} == set(recorded.files)
    for spec in info.outputs:
        values, grid = recorded[spec.name], info.grids[spec.name]
        assert spec.shape == values.shape
        assert spec.dtype == values.dtype
        scale = grid.quantization.scale
        assert scale.shape == (spec.shape[-1],)
        steps = np.round(values.astype(np.float64) / scale)
        np.testing.assert_allclose(values, steps * scale, rtol=1e-5)
        np.testing.assert_array_equal(values, steps.astype(np.float32) * scale)


@pytest.mark.parametrize("name", BINS)
def test_bin_versions_and_build_options(shared: Path, name: str) -> None:
    info = models.describe(shared / f"models/bin/{name}.bin")
    made = info.versions
    assert (info.target, made.toolkit, made.compiler) == ("bayes-e", "1.24.3", "3.49.15")
    assert made.runtime == "3.15.55.0" == info.metadata["HBDK_RUNTIME_VERSION"].strip()
    assert info.metadata["HBDK_VERSION"] == made.compiler
    assert info.calibration == "default"
    pixels = info.pixels["images"]
    assert (pixels.feed, pixels.color, pixels.std) == ("nv12", "rgb", (255, 255, 255))


@pytest.mark.parametrize("name", ["yolov8n", "yolo26n", "yolov5n"])
def test_onnx_is_what_the_onnx_package_reads(shared: Path, name: str) -> None:
    path = shared / f"models/{name}.onnx"
    info, model = models.describe(path), onnx.load(path, load_external_data=False)
    constants = {tensor.name for tensor in model.graph.initializer}
    for specs, theirs in (
        (info.inputs, [v for v in model.graph.input if v.name not in constants]),
        (info.outputs, list(model.graph.output)),
    ):
        assert [s.name for s in specs] == [v.name for v in theirs]
        for spec, value in zip(specs, theirs):
            tensor = value.type.tensor_type
            assert spec.shape == tuple(d.dim_value for d in tensor.shape.dim)
            assert spec.dtype == onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    made = f"{model.producer_name} {model.producer_version}".strip()
    assert info.versions.toolkit == made
    assert info.versions.opset == str(model.opset_import[0].version)
    assert info.versions.format == str(model.ir_version)


@pytest.mark.parametrize(
    ("path", "head", "activation"),
    [
        (RKNN, "dfl", "probabilities"),
        (f"models/bin/{BINS[0]}.bin", "ltrb", "logits"),
        (f"models/bin/{BINS[1]}.bin", "ltrb", "logits"),
        ("models/yolov8n.onnx", "flat", "probabilities"),
        ("models/yolo26n.onnx", "end2end", "probabilities"),
        ("models/yolov5n.onnx", "flat", "probabilities"),
    ],
)
def test_heads_and_findings_of_the_real_models(
    shared: Path, path: str, head: str, activation: str
) -> None:
    subject = read_subject(shared / path)
    assert subject.plan is not None, subject.refusal
    assert (subject.plan.head, subject.plan.activation) == (head, activation)
    assert subject.plan.num_classes in (80, 0)
    results = {f.name: f for f in findings.check(subject)}
    assert not [f for f in results.values() if f.level == "problem"]
    unnamed = path.endswith((".rknn", ".bin"))
    assert {n for n, f in results.items() if f.level == "warning"} == (
        {"labels"} if unnamed else set()
    )
