"""Backend `hobot` without a board: a stand-in for the binding itself, doing what the real one does.

The real binding runs in `make test-board` (tests/board/on_x5.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from npud.errors import BackendUnavailable, InferenceError, ModelError
from runtime import config
from runtime.backends import open_backend
from runtime.backends.base import Backend, BackendOptions
from runtime.backends.hobot import HobotBackend
from runtime.detector import Detector, read_model
from tests.board import x5_faults
from tests.conftest import ROOT
from tests.models import build

PICTURE = np.zeros((1, 96, 64), np.uint8)
SIDES = {8: 8, 16: 4, 32: 2}


def tensor(name: str, shape: tuple[int, ...], kind: str, layout: str, **more: Any) -> Any:
    dtype = "uint8" if kind.startswith("NV12") or kind == "RGB" else kind
    properties = SimpleNamespace(
        tensor_type=kind, dtype=dtype, layout=layout, shape=shape, scale_data=(), validShape=7
    )
    buffer = np.zeros(shape if kind == dtype else 0, dtype)
    made = SimpleNamespace(name=name, properties=properties, buffer=buffer)
    made.__dict__.update(more)
    return made


class Model:
    """pyeasy_dnn.Model for tests.models.build.bin_heads()."""

    def __init__(self) -> None:
        self.inputs = [tensor("images", (1, 3, 64, 64), "NV12", "NCHW")]
        self.outputs = [
            tensor(f"{name}_{stride}", (1, side, side, channels), "float32", "NHWC")
            for stride, side in SIDES.items()
            for name, channels in (("cls", 5), ("box", 4))
        ]
        self.calls: list[tuple[Any, Any]] = []
        self.result: Any = None

    def forward(self, arrays: Any, core_id: int = 0, priority: int = 0) -> Any:
        self.calls.append((core_id, priority))
        if isinstance(self.result, Exception):
            raise self.result
        return self.outputs if self.result is None else self.result


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    made, package, binding = Model(), ModuleType("hobot_dnn"), ModuleType("hobot_dnn.pyeasy_dnn")
    binding.load = lambda path: [made] * made.__dict__.get("count", 1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hobot_dnn", package)
    monkeypatch.setitem(sys.modules, "hobot_dnn.pyeasy_dnn", binding)
    monkeypatch.setattr(np, "__version__", "1.26.4")
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "m.bin"
    path.write_bytes(build.bin_heads())
    return path


@pytest.fixture
def opened(model: Model, path: Path) -> Callable[..., Backend]:
    return lambda **options: open_backend("hobot", path, BackendOptions(**options))


def test_core_and_priority_reach_the_call(model: Model, opened: Callable[..., Backend]) -> None:
    backend = opened(core_id=2, priority=255)
    assert len(backend.infer([PICTURE])) == 6
    backend.duplicate(core=1).infer([PICTURE])
    assert model.calls == [(2, 255), (2, 255)]


@pytest.mark.parametrize(("layout", "shape"), [("NHWC", (1, 64, 64, 3)), ("NCHW", (1, 3, 64, 64))])
@pytest.mark.parametrize("kind", ["NV12", "NV12_SEPARATE"])
def test_nv12_in_either_layout(
    model: Model, opened: Callable[..., Backend], layout: str, shape: tuple[int, ...], kind: str
) -> None:
    model.inputs = [tensor("images", shape, kind, layout)]
    (spec,) = opened().inputs
    assert (spec.shape, spec.dtype, spec.layout) == ((1, 96, 64), np.uint8, "nv12")


def test_other_inputs_are_refused(model: Model, opened: Callable[..., Backend]) -> None:
    model.inputs = [tensor("images", (1, 3, 64, 64), "RGB", "NCHW")]
    with pytest.raises(
        ModelError, match=r"input images: expected an NV12 picture, got RGB in 4 di"
    ):
        opened()


def test_several_models_in_a_file(model: Model, opened: Callable[..., Backend]) -> None:
    model.__dict__["count"] = 2
    with pytest.raises(ModelError, match="expected one model in the file, got 2"):
        opened()


def test_the_cause_of_a_systemerror_is_told(model: Model, opened: Callable[..., Backend]) -> None:
    backend = opened()
    model.result = SystemError("returned a result with an exception set")
    model.result.__cause__ = RuntimeError("forward execution failed.")
    with pytest.raises(
        InferenceError, match=r"pyeasy_dnn\.forward failed: forward execution failed"
    ):
        backend.infer([PICTURE])
    model.result = "nonsense"
    with pytest.raises(InferenceError, match="expected a list, got 'nonsense'"):
        backend.infer([PICTURE])


def test_results_of_another_shape_type_or_number(
    model: Model, opened: Callable[..., Backend]
) -> None:
    backend = opened()
    for change in (model.outputs[:5], [*model.outputs[:5], tensor("x", (1, 2, 2, 5), "float32", "")],
                   [*model.outputs[:5], tensor("x", (1, 2, 2, 4), "int32", "")]):  # fmt: skip
        model.result = change
        with pytest.raises(InferenceError, match=r"expected outputs cls_8 \[1, 8, 8, 5\] float32"):
            backend.infer([PICTURE])


def test_numpy_2_is_refused_before_the_binding_prints_a_page(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(BackendUnavailable, match=r"expected numpy 1, .*, got 2\.1\.0; remedy: pip"):
        HobotBackend.probe()


def test_no_binding_and_one_that_misses_a_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(np, "__version__", "1.26.4")
    for package in ("hobot_dnn", "hobot_dnn_rdkx5"):
        for name in (package, f"{package}.pyeasy_dnn"):
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        BackendUnavailable, match="neither hobot_dnn nor hobot_dnn_rdkx5 is install"
    ):
        HobotBackend.probe()
    (tmp_path / "hobot_dnn").mkdir()
    (tmp_path / "hobot_dnn/__init__.py").touch()
    (tmp_path / "hobot_dnn/pyeasy_dnn.py").write_text("raise ImportError('libdnn.so: cannot open')")
    monkeypatch.delitem(sys.modules, "hobot_dnn")
    monkeypatch.delitem(sys.modules, "hobot_dnn.pyeasy_dnn")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BackendUnavailable, match=r"got: libdnn\.so: cannot open; remedy"):
        HobotBackend.probe()


def detector(path: Path, manifest: str) -> Detector:
    path.with_suffix(".toml").write_text(manifest)
    settings = config.Model(path=str(path))
    return Detector(read_model(settings), settings, config.Backend(name="hobot"))


def test_a_picture_is_fed_as_nv12_as_the_manifest_says(model: Model, path: Path) -> None:
    quiet = [np.full_like(output.buffer, -9) for output in model.outputs]
    for output, buffer in zip(model.outputs, quiet):
        output.buffer = buffer
    usual = detector(path, "[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]").input
    assert (usual.color, usual.size, usual.pad_value, usual.yuv_range) == (
        "nv12",
        (64, 64),
        127,
        "full",
    )
    zoo = detector(path, '[input]\npad_value = 114\nyuv_range = "video"').input
    assert (zoo.pad_value, zoo.yuv_range) == (114, "video")
    with pytest.raises(ModelError, match=r"input\.std: expected \[255"):
        detector(path, "[input]\nstd = [1, 1, 1]")
    path.write_bytes(build.bin_heads({"SCALE_VALUE": ""}))
    with pytest.raises(
        ModelError, match=r"input\.mean and input\.std cannot be applied to an NV12"
    ):
        detector(path, "[input]\nstd = [255, 255, 255]")


def test_the_page_shows_what_the_emulated_board_shows() -> None:
    page = ROOT / "docs/faults.md"
    if not page.exists():
        pytest.skip("the page is not copied to the board")
    shown = page.read_text().partition("## D-Robotics")[2].splitlines()
    assert [line for line in shown if line in x5_faults.rows()] == x5_faults.rows()
