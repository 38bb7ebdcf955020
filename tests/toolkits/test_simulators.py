"""The vendors' own software, where it is installed: npud convert --target … --install does that."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from npud.errors import BackendUnavailable, ModelError
from postprocess.views import cells_first, dequantize
from runtime import bundled, config, models
from runtime.accuracy.matching import match
from runtime.backends import open_backend
from runtime.backends.base import BackendOptions
from runtime.cli.convert import command
from runtime.detector import Detector, read_model
from runtime.frame import Frame
from runtime.scenes import Street
from runtime.toolkits import drobotics, environment, record, rockchip

TOOLKITS = {"rk3588": rockchip.toolkit(), "rdkx5": drobotics.toolkit()}
SIMULATORS = {"rk3588": "rknn-sim", "rdkx5": "hobot-sim"}


def detector(path: Path, backend: str) -> Detector:
    settings = config.Model(path=str(path))
    return Detector(read_model(settings), settings, config.Backend(name=backend))


def converted(target: str, folder: Path) -> Path:
    """The bundled model for a board, calibrated on streets."""
    try:
        environment.find(TOOLKITS[target])
    except BackendUnavailable as error:
        pytest.skip(str(error))
    (folder / "streets").mkdir()
    for number, seed in enumerate(range(900, 908)):
        cv2.imwrite(
            str(folder / "streets" / f"{number}.png"), Street(seed, (400, 300)).frame(90)[0]
        )
    output = folder / ("street.rknn" if target == "rk3588" else "street.bin")
    arguments = [
        "bundled",
        "--target",
        target,
        "--calibration",
        str(folder / "streets"),
        "-o",
        str(output),
    ]
    arguments += ["--optimize", "O0"] if target == "rdkx5" else []
    result = CliRunner().invoke(command, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.output[result.output.index("{") :])
    assert document["verdict"]["level"] == "ok"
    assert document["calibration"]["count"] == 8
    return output


@pytest.mark.parametrize("target", ["rk3588", "rdkx5"])
def test_a_converted_model_is_what_the_float_model_is(target: str, tmp_path: Path) -> None:
    model = converted(target, tmp_path)
    info = models.describe(model)
    picture = Frame(Street(77, (400, 300)).frame(120)[0])
    floats, board = detector(bundled.MODEL, "onnx"), detector(model, SIMULATORS[target])
    try:
        stated = {(s.name, s.shape, s.dtype.name) for s in info.outputs}
        assert {(s.name, s.shape, s.dtype.name) for s in board.backend.outputs} == stated
        there, here = floats.observe(picture), board.observe(picture)
        assert len(there.found) >= 3
        assert len(match(there.found, here.found)) == len(there.found)
        # The same numbers in the same places: no layout, scale or order is mistaken.
        for ours, level in zip(floats.plan.levels, board.plan.levels):
            spec = board.backend.outputs[level.box]
            stored = cells_first(here.outputs[level.box], level, spec, level.box_channel, 4)
            real = dequantize(stored, spec, level.box_channel)
            exact = cells_first(
                there.outputs[ours.box], ours, floats.backend.outputs[ours.box], ours.box_channel, 4
            )
            assert np.corrcoef(real.ravel(), exact.ravel())[0, 1] > 0.99

        twin = board.backend.duplicate()
        board.backend.close()
        tensor, _ = board._preprocess(picture)
        again = twin.infer([tensor])  # the process ends with the last that uses it
        np.testing.assert_array_equal(again[0], here.outputs[0])
        twin.close()
    finally:
        floats.close()
        board.close()
    if target == "rdkx5":  # the tell-tale of pixels scaled once: docs/convert.md
        quantized = json.loads(
            (record.folder_of(model) / "out" / "model_quant_info.json").read_text()
        )
        first = next(node for node in quantized.values() if node["type"] == "Conv")
        assert 0.8 < first["thresholds"][0][0] < 1.3
    made = record.folder_of(model) / record.FILE
    made.write_text(made.read_text().replace(models.digest(model), "0" * 12))
    with pytest.raises(ModelError, match="is that of another file"):
        open_backend(SIMULATORS[target], model, BackendOptions())


def test_without_a_toolkit_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPUD_TOOLKITS", str(tmp_path))
    for name, target in (("rknn-sim", "rk3588"), ("hobot-sim", "rdkx5")):
        with pytest.raises(
            BackendUnavailable, match=f"remedy: npud convert --target {target} --install"
        ):
            open_backend_class(name).probe()


def open_backend_class(name: str) -> type:
    from runtime.backends import BACKENDS

    return BACKENDS[name].load()


def test_auto_names_the_simulator_of_what_convert_made_here(tmp_path: Path) -> None:
    record.folder_of(tmp_path / "m.bin").mkdir()
    with pytest.raises(
        BackendUnavailable, match=r"pyeasy_dnn.*; or on a PC, use backend hobot-sim$"
    ):
        open_backend("auto", tmp_path / "m.bin", BackendOptions())


def test_a_file_that_convert_did_not_make_has_no_simulator(shared: Path, tmp_path: Path) -> None:
    for name, suffix in (
        ("rknn-sim", "rknn/yolov8n_rk3588_i8.rknn"),
        ("hobot-sim", "bin/yolo26n_int8.bin"),
    ):
        path = shared / "models" / suffix
        if not path.exists():
            pytest.skip("no real models")
        with pytest.raises(ModelError, match="expected what npud convert wrote"):
            open_backend(name, path, BackendOptions())
