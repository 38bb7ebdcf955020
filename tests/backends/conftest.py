"""Models for the backends, and the stand-in for librknnrt: compiled here, installed on the board."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime import models
from runtime.backends import BACKENDS
from runtime.backends.base import Backend, BackendOptions
from runtime.models import recording
from tests.board import stub_tensors
from tests.board.dnn_tensors import write_tensors
from tests.conftest import ROOT
from tests.models.build import bin_heads, rknn_heads

ON_BOARD = platform.machine() == "aarch64"
STUB = ROOT / "tests/board/stub_rknnrt.c"
GREY = 100
Open = Callable[..., Backend]


class Counts(ctypes.Structure):
    """stub_counts_t of stub_rknnrt.c."""

    _fields_ = [(name, ctypes.c_uint64) for name in (
        "inits", "dups", "contexts", "mems", "runs", "bytes_in", "bytes_out", "floats_out",
        "last_checksum")] + [("runs_on_mask", ctypes.c_uint64 * 8)]  # fmt: skip


@pytest.fixture(scope="session")
def stub_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in for librknnrt.so, for this machine."""
    if ON_BOARD:
        return Path("/usr/lib/librknnrt.so")
    if shutil.which("gcc") is None:
        pytest.skip("gcc builds the stand-in for librknnrt, and it is not installed")
    built = tmp_path_factory.mktemp("stub") / "librknnrt.so"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    subprocess.run(
        ["gcc", *flags, "-fvisibility=hidden", "-o", str(built), str(STUB), "-lpthread"], check=True
    )
    return built


@pytest.fixture
def stub(stub_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Counts]:
    """Serve `model` through the stand-in; call it for what the stand-in has counted."""
    monkeypatch.setenv("NPUD_LIBRKNNRT", str(stub_path))
    for variable in ("STUB_FAULT", "STUB_OUTPUT", "STUB_ATTR", "STUB_RUN_US"):
        monkeypatch.delenv(variable, raising=False)
    library = ctypes.CDLL(str(stub_path))

    def counts() -> Counts:
        got = Counts()
        library.stub_counts(ctypes.byref(got))
        return got

    return counts


def rknn_model(folder: Path) -> Path:
    """A small .rknn and its side file: noise for any input, other noise for a grey one."""
    model = folder / "m.rknn"
    model.write_bytes(rknn_heads())
    info = models.describe(model)
    grey = np.full(info.inputs[0].shape, GREY, np.uint8)
    frames = []
    for seed, wanted in enumerate((stub_tensors.ANY, stub_tensors.checksum(grey))):
        noise = np.random.default_rng(seed)
        arrays = [noise.integers(-128, 128, spec.shape, np.int8) for spec in info.outputs]
        frames.append((wanted, arrays))
    stub_tensors.write(folder / "m.tensors", info.inputs, info.outputs, frames)
    return model


def _recording(folder: Path) -> Path:
    model = folder / "m.rknn"
    model.write_bytes(rknn_heads())
    info = models.describe(model)
    inputs = [replace(spec, dtype=np.dtype(np.uint8), quantization=None) for spec in info.inputs]
    arrays = [np.zeros(spec.shape, spec.dtype) for spec in info.outputs]
    path = folder / "m.npz"
    recording.save(path, inputs, info.outputs, [arrays, arrays])
    return path


def _onnx(_folder: Path) -> Path:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed here")
    from runtime import bundled

    return bundled.MODEL


def _bin_model(folder: Path) -> Path:
    """A small .bin and its tensors, noise."""
    model = folder / "m.bin"
    model.write_bytes(bin_heads())
    info, noise = models.describe(model), np.random.default_rng(0)
    outputs = {s.name: noise.random(s.shape, np.float32) - 4 for s in info.outputs}
    write_tensors(folder / "m.tensors", (64, 64), outputs)
    return model


MODELS: dict[str, Callable[[Path], Path]] = {
    "onnx": _onnx,
    "replay": _recording,
    "librknnrt": rknn_model,
    "rknnlite": rknn_model,
    "hobot": _bin_model,
}


@pytest.fixture
def opener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[[str], Open]:
    """opener("librknnrt") gives a function that opens a small model with that backend."""

    def prepare(name: str) -> Open:
        if name == "rknnlite":
            pytest.importorskip("rknnlite", reason="rknn-toolkit-lite2 is for aarch64")
        if name in ("librknnrt", "rknnlite"):
            request.getfixturevalue("stub")
            monkeypatch.setenv("STUB_TENSORS", str(tmp_path / "m.tensors"))
        if name == "hobot":
            pytest.importorskip("hobot_dnn_rdkx5.pyeasy_dnn", reason="pyeasy_dnn is for aarch64")
            monkeypatch.setenv("STUB_DNN_TENSORS", str(tmp_path / "m.tensors"))
        path = MODELS[name](tmp_path)

        def opened(options: BackendOptions | None = None) -> Backend:
            return BACKENDS[name].load()(path, options or BackendOptions())

        return opened

    return prepare
