"""The emulated numerics against NumPy's: rounding to float16, sigmoid tables, int8 grids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from npud.errors import ConfigError, ModelError
from runtime import bundled
from runtime.backends import open_backend
from runtime.backends.base import BackendOptions
from runtime.simulate.measure import as_toml, grids_of, measured
from runtime.simulate.options import Simulate
from tests.models import build as files
from tests.prepare import build

Command = Callable[..., tuple[int, str, str]]


def infer(path: Path, tensor: np.ndarray, **simulate: object) -> np.ndarray:
    options = BackendOptions(simulate=Simulate(**simulate))  # type: ignore[arg-type]
    return open_backend("auto", path, options).infer([tensor])[0]


def chain(path: Path, ops: list[tuple[str, float | None]], shape: list[int]) -> Path:
    """Operations one below the other, each with a constant or none."""
    net, tensor = build.Net(), "images"
    for op, constant in ops:
        tensor = net.op(op, tensor, *([] if constant is None else [net.const(constant)]))
    graph = helper.make_graph(
        net.nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, shape)],
        net.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture
def numbers() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 4, (1, 3, 32, 32)).astype(np.float32)


def half(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


def test_float16_rounds_weights_and_every_operation(tmp_path: Path, numbers: np.ndarray) -> None:
    """onnxruntime must not take the casts out again, at any level of optimization."""
    path = chain(
        tmp_path / "m.onnx", [("Mul", 1.1), ("Add", 0.3), ("Mul", 7.7)], list(numbers.shape)
    )
    expected = half(numbers)
    for op, constant in ((np.multiply, 1.1), (np.add, 0.3), (np.multiply, 7.7)):
        expected = half(op(expected, half(np.float32(constant))))
    got = infer(path, numbers, activations="float16")
    np.testing.assert_array_equal(got, expected)
    assert (infer(path, numbers) != expected).mean() > 0.9


def test_float16_overflows_as_it_does(tmp_path: Path) -> None:
    path = chain(tmp_path / "m.onnx", [("Mul", 300.0)], [1, 3, 8, 8])
    fed = np.full((1, 3, 8, 8), 300, np.float32)
    assert np.isinf(infer(path, fed, activations="float16")).all()


@pytest.mark.parametrize(
    ("entries", "low", "high"), [(64, -8.0, 8.0), (4096, -8.0, 8.0), (9, -4.0, 3.0)]
)
def test_a_table_gives_the_nearest_entry(
    tmp_path: Path, numbers: np.ndarray, entries: int, low: float, high: float
) -> None:
    path = chain(tmp_path / "m.onnx", [("Identity", None), ("Sigmoid", None)], list(numbers.shape))
    got = infer(path, numbers, sigmoid="table", sigmoid_table=entries, sigmoid_range=(low, high))
    ends = np.linspace(low, high, entries)
    best = 1 / (1 + np.exp(-ends))
    distance = np.abs(numbers.ravel()[:, None].astype(np.float64) - ends)
    sure = np.partition(distance, 1)[:, 1] - distance.min(1) > 1e-5  # not between two entries
    np.testing.assert_allclose(got.ravel()[sure], best[distance.argmin(1)][sure], atol=1e-6)
    assert got.min() == pytest.approx(best[0], abs=1e-6), "saturates"
    assert got.max() == pytest.approx(best[-1], abs=1e-6)


def test_a_sigmoid_in_float16_is_rounded_at_each_step(tmp_path: Path) -> None:
    logits = np.linspace(-20, 20, 3 * 64 * 64, dtype=np.float32).reshape(1, 3, 64, 64)
    path = chain(tmp_path / "m.onnx", [("Sigmoid", None)], list(logits.shape))
    with np.errstate(over="ignore"):
        e = half(np.exp(half(-half(logits))))
        expected = half(1 / half(1 + e))
    got = infer(path, logits, sigmoid="float16")
    # exp may round differently in the last bit of float32, hardly ever across float16's
    assert (got != expected).mean() < 0.001
    assert (got[logits < -11.1] == 0).all(), "exp overflows"
    assert np.abs(got - expected).max() < 5e-4


def test_only_the_last_sigmoids_are_replaced(tmp_path: Path) -> None:
    """Those of SiLU stay; all classes of a flat export are reached through its Concat."""
    path, _ = build.dfl(tmp_path / "m.onnx")
    fed = np.random.default_rng(2).random((1, 3, 64, 64), np.float32)
    exact = infer(path, fed)
    coarse = infer(path, fed, sigmoid="table", sigmoid_table=3)
    np.testing.assert_allclose(coarse[:, :4], exact[:, :4], rtol=1e-5)
    steps = 1 / (1 + np.exp(-np.array([-8.0, 0, 8])))
    np.testing.assert_allclose(np.unique(coarse[:, 4:]), steps, atol=1e-6)


def test_int8_outputs_are_the_files_grid(tmp_path: Path) -> None:
    """Stored integers against NumPy's, from an .rknn matched by shape, decoded by the int8 kernels."""
    (tmp_path / "g.rknn").write_bytes(files.rknn_heads(classes=3))
    path, _ = build.dfl(tmp_path / "m.onnx")
    cut = prepared(path, tmp_path)["npu"]
    float_backend = open_backend("onnx", cut, BackendOptions())
    simulate = Simulate(outputs="int8", grids=str(tmp_path / "g.rknn"))
    backend = open_backend("onnx", cut, BackendOptions(simulate=simulate))
    fed = [np.random.default_rng(2).random((1, 3, 64, 64), np.float32)]
    for spec, exact, got in zip(backend.outputs, float_backend.infer(fed), backend.infer(fed)):
        scale, zero = (0.125, -60) if spec.name.startswith("box") else (1 / 255, -128)
        assert spec.quantization is not None
        assert float(spec.quantization.scale) == pytest.approx(scale)
        assert spec.dtype == got.dtype == np.int8
        expected = np.clip(np.rint(exact / np.float32(scale)) + zero, -128, 127)
        assert (got != expected).mean() < 0.001  # ties of rounding
        assert len(np.unique(got)) > 5


def prepared(path: Path, folder: Path) -> dict[str, Path]:
    from runtime.prepare.cut import Form
    from runtime.prepare.prepare import prepare
    from tests.prepare.test_prepare import picture

    done = prepare(path, [Form("rockchip", "cpu"), Form("rockchip", "npu")], folder, picture())
    return {variant.form.sigmoid: variant.path for variant in done.variants}


def test_grids_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path, _ = build.dfl(tmp_path / "m.onnx")
    cut = prepared(path, tmp_path)
    (tmp_path / "g.rknn").write_bytes(files.rknn_heads(classes=3))
    (tmp_path / "five.rknn").write_bytes(files.rknn_heads(classes=5))
    (tmp_path / "g.toml").write_text("[box_8]\nscale = 0.1\n")
    (tmp_path / "typo.toml").write_text("[box_8]\nscael = 0.1\n")
    for name, model, message in (
        ("g.rknn", cut["cpu"], "expected a grid for logits .*, got one of probabilities"),
        ("five.rknn", cut["npu"], r"expected a grid for output cls_8 \[1, 3, 8, 8\]"),
        ("g.toml", cut["npu"], "expected a grid for output cls_8, got box_8"),
        ("typo.toml", cut["npu"], "box_8.scael: unknown key; did you mean scale"),
        ("no.toml", cut["npu"], "no.toml: No such file"),
    ):
        simulate = Simulate(outputs="int8", grids=str(tmp_path / name))
        with pytest.raises((ModelError, ConfigError), match=message):
            open_backend("onnx", model, BackendOptions(simulate=simulate))


def test_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.rknn").write_bytes(b"x")
    for simulate, path, message in (
        (Simulate(outputs="int8"), bundled.MODEL, '"int8" and `grids` together'),
        (Simulate(grids="x"), bundled.MODEL, '"int8" and `grids` together'),
        (Simulate(sigmoid="table", sigmoid_range=(4, -4)), bundled.MODEL, "sigmoid_range"),
        (Simulate(sigmoid="table"), bundled.MODEL, "expected sigmoids at the end of its graph"),
        (Simulate(activations="float16"), tmp_path / "m.rknn", "expected backend onnx"),
    ):
        with pytest.raises((ModelError, ConfigError), match=message):
            open_backend("auto", path, BackendOptions(simulate=simulate))


def test_it_says_what_it_does_not_model(
    command: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.prepare.test_prepare import picture

    config, image = tmp_path / "config.toml", tmp_path / "image.png"
    config.write_text('[backend.simulate]\nactivations = "float16"\n')
    import cv2

    cv2.imwrite(str(image), picture().pixels)
    with caplog.at_level("INFO"):
        code, _, _ = command("detect", "bundled", image, "--config", config, "--json")
    assert code == 0
    assert "not modelled: int8 weights and activations inside the network" in caplog.text


def test_a_measured_grid_holds_its_range() -> None:
    grid = measured(-37.2, 3.9)
    scale, zero = float(grid.scale), int(grid.zero_point)
    assert (-128 - zero) * scale == pytest.approx(-37.2, abs=scale)
    assert (127 - zero) * scale == pytest.approx(3.9, abs=scale)
    assert int(measured(2.0, 5.0).zero_point) == -128, "0 is always held"


def test_grids_measured_on_pictures_are_read_back(tmp_path: Path) -> None:
    """All values fit: rounding is at most half a step, and nothing is cut off."""
    from runtime.prepare.verify import open_model
    from runtime.sources.images import write_image
    from tests.prepare.test_prepare import picture

    path, _ = build.dfl(tmp_path / "m.onnx")
    cut = prepared(path, tmp_path)["cpu"]
    write_image(tmp_path / "image.png", picture().pixels)
    detector = open_model(cut)
    grids = tmp_path / "grids.toml"
    grids.write_text(as_toml(grids_of(detector, [tmp_path / "image.png"])))
    exact = detector.observe(picture())
    simulate = Simulate(outputs="int8", grids=str(grids))
    backend = open_backend("onnx", cut, BackendOptions(simulate=simulate))
    for spec, stored, real in zip(backend.outputs, backend.infer([exact.inputs]), exact.outputs):
        assert spec.quantization is not None
        scale, zero = float(spec.quantization.scale), int(spec.quantization.zero_point)
        error = np.abs((stored.astype(float) - zero) * scale - real)
        assert error.max() <= scale * 1.01  # half a step, and half of the zero point's


def test_nothing_is_changed_without_settings() -> None:
    backend = open_backend("onnx", bundled.MODEL, BackendOptions())
    fed = np.random.default_rng(1).random(backend.inputs[0].shape, np.float32)
    plain = ort.InferenceSession(str(bundled.MODEL), providers=["CPUExecutionProvider"])
    expected = plain.run(None, {backend.inputs[0].name: fed})
    for a, b in zip(backend.infer([fed]), expected):
        np.testing.assert_array_equal(a, b)
