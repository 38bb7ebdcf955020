"""Backend librknnrt over the stand-in library: what arrives, what it costs, what goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from npud.errors import InferenceError, ModelError
from runtime import models
from runtime.backends import BACKENDS
from runtime.backends.base import Backend, BackendOptions
from tests.backends.conftest import Counts, Open
from tests.board import stub_tensors
from tests.models import build

Stub = Callable[[], Counts]


@pytest.fixture
def open_one(opener: Callable[[str], Open]) -> Open:
    return opener("librknnrt")


def noise(backend: Backend, seed: int) -> np.ndarray:
    spec = backend.inputs[0]
    return np.random.default_rng(seed).integers(0, 256, spec.shape, np.uint8)


@pytest.mark.parametrize("shared_memory", [True, False])
def test_the_input_arrives_and_raw_int8_comes_back(
    open_one: Open, stub: Stub, monkeypatch: pytest.MonkeyPatch, shared_memory: bool
) -> None:
    if not shared_memory:
        monkeypatch.setenv("STUB_FAULT", "rknn_create_mem=null")
    backend = open_one()
    before = stub()
    picture = noise(backend, 3)
    results = backend.infer([picture])
    after = stub()
    assert after.last_checksum == stub_tensors.checksum(picture)
    assert {r.dtype for r in results} == {np.dtype(np.int8)}
    assert all(spec.quantization is not None for spec in backend.outputs)
    assert after.bytes_out - before.bytes_out == sum(r.nbytes for r in results)
    assert after.floats_out == before.floats_out
    assert (after.mems > 0) == shared_memory
    again = backend.infer([picture])
    assert all(np.shares_memory(a, b) for a, b in zip(results, again))  # views, no copies
    backend.close()
    assert (stub().contexts, stub().mems) == (0, 0)


REFUSING = {"none": "rknn_create_mem=null", "no binding": "rknn_set_io_mem=-5", "some": ""}


@pytest.mark.parametrize("how", list(REFUSING))
def test_without_shared_memory_tensors_are_copied(
    open_one: Open, stub: Stub, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    backend = open_one()
    expected = [np.array(r) for r in backend.infer([noise(backend, 0)])]
    backend.close()
    monkeypatch.setenv("STUB_FAULT", REFUSING[how])
    monkeypatch.setenv("STUB_MAX_MEMS", "3" if how == "some" else "99")
    copying = open_one()
    assert stub().mems == 0
    assert all(map(np.array_equal, expected, copying.infer([noise(copying, 0)])))
    twin = copying.duplicate()
    copying.close()
    assert all(map(np.array_equal, expected, twin.infer([noise(twin, 0)])))
    twin.close()
    assert stub().contexts == 0


def test_contexts_share_the_weights_and_run_on_their_cores(open_one: Open, stub: Stub) -> None:
    before = stub()
    first = open_one(BackendOptions(core=0))
    backends = [first, *(first.duplicate(core) for core in (1, 2, 3))]
    for backend in backends:
        backend.infer([noise(backend, 1)])
    after = stub()
    assert (after.inits - before.inits, after.dups - before.dups) == (1, 3)
    on = [after.runs_on_mask[mask] - before.runs_on_mask[mask] for mask in range(8)]
    assert on == [0, 2, 1, 0, 1, 0, 0, 0]
    for backend in backends:
        backend.close()
    assert (stub().contexts, stub().mems) == (0, 0)


def test_without_a_core_the_mask_is_left_alone(
    open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_FAULT", "rknn_set_core_mask=-1")
    backend = open_one()
    backend.close()


def test_every_thread_gets_the_results_of_its_own_picture(
    open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_OUTPUT", "echo")
    first = open_one()
    backends = [first, first.duplicate(1), first.duplicate(2)]
    right: list[int] = []

    def work(number: int, backend: Backend) -> None:
        for seed in range(20):
            picture = noise(backend, 100 * number + seed)
            got = backend.infer([picture])[0].reshape(-1)[:4]
            right.append(int(np.array_equal(got, stub_tensors.echo(picture))))

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(backends)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for backend in backends:
        backend.close()
    assert sum(right) == 60


def test_the_gil_is_free_while_the_npu_runs(
    open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_one()
    monkeypatch.setenv("STUB_RUN_US", "300000")
    thread = threading.Thread(target=backend.infer, args=([noise(backend, 0)],))
    thread.start()
    ticks = 0
    while thread.is_alive():
        thread.join(0.001)
        ticks += 1
    backend.close()
    assert ticks > 50


def test_two_threads_on_one_context_are_told_so(
    open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_one()
    monkeypatch.setenv("STUB_RUN_US", "300000")
    picture = noise(backend, 0)
    thread = threading.Thread(target=backend.infer, args=([picture],))
    thread.start()
    while backend._turn.try_enter():
        backend._turn.leave()
    with pytest.raises(InferenceError, match="one thread per context, got two"):
        backend.infer([picture])
    thread.join()
    backend.close()


def test_closing_during_a_call_leaves_the_context_to_the_process(
    open_one: Open, stub: Stub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backend = open_one()
    monkeypatch.setenv("STUB_RUN_US", "300000")
    thread = threading.Thread(target=backend.infer, args=([noise(backend, 0)],))
    thread.start()
    while backend._turn.try_enter():
        backend._turn.leave()
    backend.close()
    assert "closed while a call hangs" in caplog.text
    assert stub().contexts == 1
    thread.join()
    backend.close()
    assert stub().contexts == 0


def test_versions_are_the_librarys(open_one: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_API", "1.5.0 (e6fe0c678@2023-05-25T08:09:20)")
    monkeypatch.setenv("STUB_DRIVER", "0.8.2")
    backend = open_one()
    assert backend._weights.versions() == ("1.5.0 (e6fe0c678@2023-05-25T08:09:20)", "0.8.2")
    backend.close()


def test_a_file_that_is_no_model_never_reaches_the_library(
    open_one: Open, stub: Stub, tmp_path: Path
) -> None:
    (tmp_path / "m.rknn").write_bytes(b"RKNN\0\0\0\0 and nothing else")
    before = stub().inits
    with pytest.raises(ModelError):
        open_one()
    assert stub().inits == before


def test_the_native_layout_holds_the_same_numbers(open_one: Open) -> None:
    usual, native = open_one(), open_one(BackendOptions(native_layout=True))
    twin = native.duplicate()
    picture = [noise(usual, 1)]
    for backend in (native, twin):
        for spec, ours, theirs in zip(
            backend.outputs, backend.infer(picture), usual.infer(picture)
        ):
            assert (spec.layout, ours.dtype) == ("nc1hwc2", np.int8)
            assert ours.shape[4] == 16
            planar = ours[0].transpose(0, 3, 1, 2).reshape(-1, *ours.shape[2:4])
            np.testing.assert_array_equal(planar[: spec.channels], theirs[0])
    for backend in (usual, native, twin):
        backend.close()


def test_a_native_layout_that_is_unknown_gives_the_usual_one(
    open_one: Open, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_ATTR", "native")
    backend = open_one(BackendOptions(native_layout=True, core=1))
    assert {spec.layout for spec in backend.outputs} == {"nchw"}
    backend.infer([noise(backend, 1)])
    backend.close()
    assert (stub().contexts, stub().mems) == (0, 0)


def test_half_precision_comes_as_it_is_and_nan_is_told(
    tmp_path: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "half.rknn"
    tensors = [build.rknn_tensor(f"out{n}", [1, 5, n, n], dtype=10) for n in (8, 4)]
    path.write_bytes(build.rknn(tensors))
    info = models.describe(path)
    arrays = [np.random.default_rng(n).random((1, 5, n, n)).astype(np.float16) for n in (8, 4)]
    side = tmp_path / "half.tensors"
    stub_tensors.write(side, info.inputs, info.outputs, [(stub_tensors.ANY, arrays)])
    monkeypatch.setenv("STUB_TENSORS", str(side))
    backend = BACKENDS["librknnrt"].load()(path, BackendOptions())
    assert all(map(np.array_equal, backend.infer([noise(backend, 0)]), arrays))
    monkeypatch.setenv("STUB_OUTPUT", "nan")
    with pytest.raises(
        InferenceError, match=r"finite numbers in out8 \[1, 5, 8, 8\] float16, got nan"
    ):
        backend.infer([noise(backend, 0)])
    backend.close()


def test_what_cannot_be_freed_is_logged_and_no_more(
    open_one: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backend = open_one()
    monkeypatch.setenv("STUB_FAULT", "rknn_destroy_mem=-1,rknn_destroy=-7")
    backend.close()
    assert "rknn_destroy_mem returned -1 (failed)" in caplog.text
    assert "rknn_destroy returned -7 (the context is invalid)" in caplog.text
    with pytest.raises(InferenceError, match="closed"):
        backend.infer([noise(backend, 0)])
