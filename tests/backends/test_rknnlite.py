"""Backend rknnlite over Rockchip's real binding, and what that binding does by itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from npud.errors import InferenceError, ModelError
from runtime import models
from runtime.backends.base import Backend, BackendOptions
from tests.backends.conftest import GREY, ON_BOARD, Counts, Open, rknn_model
from tests.board import stub_tensors

pytestmark = pytest.mark.skipif(not ON_BOARD, reason="rknn-toolkit-lite2 is for aarch64")
Stub = Callable[[], Counts]
SHAPE = (1, 64, 64, 3)


@pytest.fixture
def open_one(opener: Callable[[str], Open]) -> Open:
    return opener("rknnlite")


@pytest.fixture
def binding(open_one: Open, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """The binding itself, without npud, after one inference."""
    from rknnlite.api import RKNNLite

    lite = RKNNLite()
    lite.rknn_log.logger.handlers[:] = [logging.StreamHandler()]  # as its own: stderr
    assert lite.load_rknn(str(rknn_model(tmp_path))) == 0
    assert lite.init_runtime(core_mask=RKNNLite.NPU_CORE_0) == 0
    assert lite.inference([np.zeros(SHAPE, np.uint8)]) is not None
    yield lite
    lite.release()


def test_the_binding_swallows_a_failed_run(
    binding, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    old = binding.inference([np.zeros(SHAPE, np.uint8)])
    right = binding.inference([np.full(SHAPE, GREY, np.uint8)])
    assert not np.array_equal(old[0], right[0])
    assert np.array_equal(old[0], binding.inference([np.zeros(SHAPE, np.uint8)])[0])
    capfd.readouterr()
    monkeypatch.setenv("STUB_FAULT", "rknn_run=-1")
    stale = binding.inference([np.full(SHAPE, GREY, np.uint8)])
    assert np.array_equal(old[0], stale[0])
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("STUB_FAULT", "rknn_inputs_set=-1")  # that it would be heard
    assert binding.inference([np.zeros(SHAPE, np.uint8)]) is None
    assert "Set inputs failed. error code: RKNN_ERR_FAIL" in capfd.readouterr().err


def test_the_binding_runs_on_after_a_failed_core_mask(
    open_one: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rknnlite.api import RKNNLite

    monkeypatch.setenv("STUB_FAULT", "rknn_set_core_mask=-5")
    lite = RKNNLite()
    lite.load_rknn(str(rknn_model(tmp_path)))
    assert lite.init_runtime(core_mask=RKNNLite.NPU_CORE_1) == -1
    assert lite.inference([np.zeros(SHAPE, np.uint8)]) is not None
    lite.release()


def test_the_binding_loads_any_file(tmp_path: Path, open_one: Open) -> None:
    from rknnlite.api import RKNNLite

    (tmp_path / "m.rknn").write_text("no model at all")
    assert RKNNLite().load_rknn(str(tmp_path / "m.rknn")) == 0
    with pytest.raises(ModelError, match=r"expected an \.rknn file of format 6"):
        open_one()


def test_floats_are_the_dequantized_integers(
    open_one: Open, opener: Callable[[str], Open], stub: Stub, tmp_path: Path
) -> None:
    lite, raw = open_one(), opener("librknnrt")()
    picture = [np.full(SHAPE, GREY, np.uint8)]
    before = stub()
    floats = lite.infer(picture)
    between = stub()
    integers = raw.infer(picture)
    after = stub()
    for spec, real, stored in zip(raw.outputs, floats, integers):
        q = spec.quantization
        np.testing.assert_allclose(real, (stored.astype(np.float32) - q.zero_point) * q.scale)
    assert between.bytes_out - before.bytes_out == 4 * (after.bytes_out - between.bytes_out)
    assert (between.floats_out > before.floats_out, after.floats_out) == (True, between.floats_out)
    for backend in (lite, raw):
        backend.close()


def test_every_thread_gets_the_results_of_its_own_picture(
    open_one: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stub: Stub
) -> None:
    spec = models.describe(tmp_path / "m.rknn").outputs[0]
    scale, zero = float(spec.quantization.scale), int(spec.quantization.zero_point)
    monkeypatch.setenv("STUB_OUTPUT", "echo")
    first = open_one(BackendOptions(core=0, version_check="warn"))
    backends = [first, first.duplicate(1), first.duplicate(2)]
    before = stub()
    right: list[bool] = []

    def work(number: int, backend: Backend) -> None:
        for seed in range(20):
            noise = np.random.default_rng(100 * number + seed)
            picture = noise.integers(0, 256, SHAPE, np.uint8)
            got = np.rint(backend.infer([picture])[0].reshape(-1)[:4] / scale) + zero
            right.append(np.array_equal(got, stub_tensors.echo(picture)))

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(backends)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    on = [stub().runs_on_mask[mask] - before.runs_on_mask[mask] for mask in (1, 2, 4)]
    for backend in backends:
        backend.close()
    assert (sum(right), len(right)) == (60, 60)
    assert on == [20, 20, 20]


def test_nothing_of_the_bindings_reaches_the_terminal(
    open_one: Open, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    backend = open_one()
    monkeypatch.setenv("STUB_FAULT", "rknn_inputs_set=-1")
    with pytest.raises(InferenceError):
        backend.infer([np.zeros(SHAPE, np.uint8)])
    backend.close()
    assert capfd.readouterr() == ("", "")
