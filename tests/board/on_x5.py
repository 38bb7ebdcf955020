"""Run on the emulated X5: backend `hobot` over D-Robotics' real binding, with faults injected.

NPUD_X5 is the folder that x5.py prepared.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from npud.errors import InferenceError, ModelError
from runtime import models
from runtime.backends import open_backend
from runtime.backends.base import Backend, BackendOptions
from runtime.backends.hobot import HobotBackend
from runtime.cli import main
from runtime.config import Backend as BackendConfig
from runtime.config import Model
from runtime.detector import Detector, read_model
from runtime.frame import Frame
from runtime.platform_info import Platform, read_platform
from tests.board.conftest import CASES, FOLDER, Inject, Use, picture

PERSON, BUS = 0, 5


def test_the_board_is_recognised() -> None:
    found = read_platform()
    expected = Platform("rdkx5", "rdk", "D-Robotics RDK X5 V1.0", "", "1.24.5",
                        "/usr/hobot/lib/libdnn.so", "3.15.55")  # fmt: skip
    assert found == expected
    assert HobotBackend.probe() == "hobot_dnn_rdkx5.pyeasy_dnn"


def test_the_doctor_misses_nothing_but_the_device_node(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["npud", "doctor", "--json"])
    with pytest.raises(SystemExit):  # qemu looks for device nodes on the host
        main()
    result = json.loads(capsys.readouterr().out)
    found = [finding for section in result["sections"].values() for finding in section]
    assert [f["name"] for f in found if f["level"] == "problem"] == ["BPU"]
    assert "hobot_dnn_rdkx5.pyeasy_dnn can be imported" in [f["text"] for f in found]


@pytest.mark.parametrize("name", ["street", "integers", "int8"])
def test_specs_are_the_files_and_tensors_those_recorded(use: Use, name: str) -> None:
    path = use(name)
    backend = open_backend("auto", path, BackendOptions(core=0))
    info = models.describe(path)
    size = info.input_size
    assert size is not None
    assert [(s.shape, s.dtype, s.layout) for s in backend.inputs] == [
        ((1, size[0] * 3 // 2, size[1]), np.uint8, "nv12")
    ]
    by_name = {spec.name: spec for spec in info.outputs}
    for spec, result in zip(backend.outputs, backend.infer([picture(name)])):
        file = by_name[spec.name]
        assert (spec.shape, spec.dtype, spec.layout) == (file.shape, file.dtype, "nhwc")
        assert (spec.quantization is None) == (name != "integers")
        if spec.quantization and file.quantization:
            np.testing.assert_allclose(spec.quantization.scale, file.quantization.scale)
        assert result.dtype == spec.dtype  # integers stay integers
        assert result.flags.c_contiguous
    recorded = np.load(FOLDER / f"{name}.npz") if name != "int8" else None
    if recorded is not None:
        for spec, result in zip(backend.outputs, backend.infer([picture(name)])):
            np.testing.assert_array_equal(result, recorded[spec.name])
    backend.close()


def test_the_binding_gets_the_very_bytes(
    street: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_DNN_INPUT", str(tmp_path / "input"))
    tensor = picture()
    street.infer([tensor])
    assert (tmp_path / "input").read_bytes() == tensor.tobytes()


def iou(a: np.ndarray, b: np.ndarray) -> float:
    inside = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    return float(inside / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inside))


def truth(tensors: dict[str, np.ndarray]) -> list[tuple[int, np.ndarray]]:
    """Class and box (in bus.jpg's pixels) of every cell above 0.5: a second decoder, in NumPy."""
    found = []
    for stride in (8, 16, 32):
        scores = 1 / (1 + np.exp(-tensors[f"cls_{stride}"][0].astype(np.float64)))
        for row, column, kind in np.argwhere(scores > 0.5):
            left, top, right, bottom = tensors[f"box_{stride}"][0, row, column]
            x, y = column + 0.5, row + 0.5
            box = np.array([x - left, y - top, x + right, y + bottom]) * stride
            found.append((int(kind), (box - [80, 0, 80, 0]) / (640 / 1080)))
    return found


@pytest.mark.parametrize("name", ["float", "int8"])
def test_bus_jpg_through_npud_detect(
    use: Use, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["npud", "detect", str(use(name)), CASES[name][2], "--json"]
    monkeypatch.setattr("sys.argv", arguments)
    main()
    (result,) = json.loads(capsys.readouterr().out)
    found = [(d["class_id"], np.array(d["box"])) for d in result["detections"]]
    assert sum(kind == PERSON for kind, _ in found) >= 3
    assert sum(kind == BUS for kind, _ in found) == 1
    backend = open_backend("hobot", Path(CASES[name][0]), BackendOptions())
    outputs = backend.infer([picture(name)])
    sure = truth({spec.name: o for spec, o in zip(backend.outputs, outputs)})
    assert sure
    for kind, box in sure:
        assert any(k == kind and iou(b, box.clip(0, [810, 1080] * 2)) > 0.9 for k, b in found)


def detect(path: Path, case: str) -> int:
    files = read_model(Model(path=str(path)))
    detector = Detector(files, Model(path=str(path)), BackendConfig(name="hobot"))
    found, _ = detector.detect(Frame(cv2.imread(CASES[case][2])))
    detector.close()
    return len(found)


def test_a_model_calibrated_twice_scaled_finds_nothing(use: Use) -> None:
    assert detect(use("int8_calibrated_twice_scaled"), "int8") == 0


def test_the_street_is_found_in_floats_and_in_integers(use: Use) -> None:
    count = detect(use("street"), "street")
    assert count > 2
    assert detect(use("integers"), "street") == count


def test_scales_that_are_not_the_files(use: Use, inject: Inject) -> None:
    path = use("integers")
    inject("scale")
    name = "box_8/Conv_output_0_quantized"
    with pytest.raises(ModelError) as caught:
        open_backend("hobot", path, BackendOptions())
    expected = f"output {name}: expected scales 4 up to 0.001 in the file, got 4 up to 0.01"
    assert str(caught.value) == f"model {path}: {expected}"


@pytest.mark.parametrize("call", ["hbDNNInfer", "hbDNNWaitTaskDone", "hbDNNReleaseTask"])
def test_a_call_that_fails_in_an_inference(street: Backend, inject: Inject, call: str) -> None:
    before = street.infer([picture()])
    inject(f"{call}=-6000002")
    with pytest.raises(InferenceError, match=r"pyeasy_dnn\.forward failed: forward execution f"):
        street.infer([picture()])
    inject("")
    for a, b in zip(before, street.infer([picture()])):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bad", [None, [], [None], [b"x"], ["short"], ["float"], ["strided"]])
def test_inputs_on_which_the_binding_would_run_stale_are_refused(
    street: Backend, bad: list[object] | None
) -> None:
    good = picture()
    arrays = {
        "short": good[:, :10],
        "float": good.astype(np.float32),
        "strided": np.concatenate([good, good], 2)[:, :, ::2],
    }
    given = bad if bad is None else [arrays.get(str(b), b) for b in bad]
    with pytest.raises(InferenceError, match=r"expected (input|1 inputs)") as caught:
        street.infer(given)  # type: ignore[arg-type]
    print(str(caught.value).partition(": ")[2])


def test_the_binding_itself_takes_them(street: HobotBackend) -> None:
    """Why they are checked: it is still so with this version of the binding."""
    for bad in (None, b"x", np.zeros(10, np.uint8), picture()[:, ::2]):
        assert isinstance(street._model.forward(bad), list)


def test_duplicates_share_one_model_and_close_on_their_own(street: HobotBackend) -> None:
    twin = street.duplicate(core=1)
    assert twin._model is street._model
    street.close()
    street.close()
    with pytest.raises(InferenceError, match="closed"):
        street.infer([picture()])
    with pytest.raises(InferenceError, match="closed"):
        street.duplicate()
    assert len(twin.infer([picture()])) == 6
    twin.close()


def test_an_inference_holds_the_gil(street: Backend, inject: Inject) -> None:
    """So every other thread of the process stands still: it needs a process of its own."""
    tensor, ticks, done = picture(), [time.monotonic()], threading.Event()

    def tick() -> None:
        while not done.wait(0.02):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    inject("delay=400")
    street.infer([tensor])
    done.set()
    thread.join()
    assert np.diff([*ticks, time.monotonic()]).max() > 0.39


def test_a_model_for_another_chip_is_refused_or_tried(
    tmp_path: Path, use: Use, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x3.bin"
    path.write_bytes(use("street").read_bytes().replace(b"bayes-e", b"bernoul"))
    with pytest.raises(ModelError, match="made for bernoul, this board is an rdkx5; convert the"):
        open_backend("hobot", path, BackendOptions())
    with caplog.at_level(logging.WARNING):
        open_backend("hobot", path, BackendOptions(version_check="warn")).close()
    assert "made for bernoul" in caplog.text
