"""One contract for all backends: specs, wrong inputs, closing, two instances, two threads.

A board's backend is added by a line in conftest.MODELS.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from npud.errors import InferenceError
from runtime.backends.base import Backend
from tests.backends.conftest import MODELS, Open


@pytest.fixture(params=list(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_one(name: str, opener: Callable[[str], Open]) -> Open:
    return opener(name)


@pytest.fixture
def backend(open_one: Open) -> Iterator[Backend]:
    opened = open_one()
    yield opened
    opened.close()


def blank(backend: Backend, value: int = 0) -> list[np.ndarray]:
    return [np.full(spec.shape, value, spec.dtype) for spec in backend.inputs]


def snapshot(results: list[np.ndarray]) -> list[np.ndarray]:
    return [np.array(result) for result in results]


def test_specs_say_what_goes_in_and_comes_out(backend: Backend) -> None:
    assert len({spec.name for spec in backend.outputs}) == len(backend.outputs) > 0
    for spec in (*backend.inputs, *backend.outputs):
        assert all(isinstance(side, int) and side > 0 for side in spec.shape)
        assert isinstance(spec.dtype, np.dtype)
    results = backend.infer(blank(backend))
    assert len(results) == len(backend.outputs)
    for spec, result in zip(backend.outputs, results):
        assert result.shape == spec.shape
        assert result.dtype == spec.dtype
        assert result.flags.c_contiguous
        assert result.flags.aligned


def test_the_same_input_gives_the_same_results(backend: Backend) -> None:
    first = snapshot(backend.infer(blank(backend, 1)))
    assert all(map(np.array_equal, first, backend.infer(blank(backend, 1))))


def test_the_probe_says_what_it_would_run_with(backend: Backend) -> None:
    assert type(backend).probe()


WRONG: dict[str, tuple[Callable[[np.ndarray], object], str]] = {
    "none": (lambda good: [], r"expected 1 inputs, got 0"),
    "nothing": (lambda good: None, r"expected 1 inputs, got 0"),
    "two": (lambda good: [good, good], r"expected 1 inputs, got 2"),
    "shape": (lambda good: [good[:, :-1]], r"expected input \S+ \[.*\] \w+, got \["),
    "channels first or last": (lambda good: [np.moveaxis(good, -1, 1)], "expected input"),
    "one dimension less": (lambda good: [good[0]], "expected input"),
    "dtype": (lambda good: [good.astype(np.float64)], "got .* float64"),
    "strides": (lambda good: [np.repeat(good, 2, axis=2)[:, :, ::2]], "not C-contiguous"),
    "no array": (lambda good: [good.tolist()], "got list"),
    "bytes": (lambda good: [good.tobytes()], "got bytes"),
}


@pytest.mark.parametrize("what", list(WRONG))
def test_wrong_inputs_are_refused_before_the_call(backend: Backend, what: str) -> None:
    make, message = WRONG[what]
    good = blank(backend)[0]
    with pytest.raises(InferenceError, match=message) as refused:
        backend.infer(make(good))  # type: ignore[arg-type]
    assert str(refused.value).startswith("model /")
    assert len(backend.infer([good])) == len(backend.outputs)  # and it still works


def test_closing_twice_and_use_after_close(open_one: Open) -> None:
    backend = open_one()
    backend.close()
    backend.close()
    with pytest.raises(InferenceError, match=r"model \S+: the backend is closed"):
        backend.infer(blank(backend))
    with pytest.raises(InferenceError, match=r"model \S+: the backend is closed"):
        backend.duplicate()


def test_two_instances_do_not_touch_each_other(open_one: Open) -> None:
    first, second = open_one(), open_one()
    expected = snapshot(first.infer(blank(first)))
    first.close()
    assert all(map(np.array_equal, expected, second.infer(blank(second))))
    second.close()


@pytest.mark.parametrize("original_first", [True, False])
def test_a_duplicate_lives_on_its_own(open_one: Open, original_first: bool) -> None:
    original = open_one()
    twin = original.duplicate(1)
    assert [str(s) for s in twin.outputs] == [str(s) for s in original.outputs]
    expected = snapshot(original.infer(blank(original)))
    gone, left = (original, twin) if original_first else (twin, original)
    gone.close()
    third = left.duplicate()
    for backend in (left, third):
        assert all(map(np.array_equal, expected, backend.infer(blank(backend))))
        backend.close()


def test_duplicates_run_in_threads_of_their_own(open_one: Open) -> None:
    original = open_one()
    backends = [original, original.duplicate(1), original.duplicate(2)]
    expected = snapshot(original.infer(blank(original)))
    wrong: list[object] = []

    def work(backend: Backend) -> None:
        try:
            for _ in range(10):
                if not all(map(np.array_equal, expected, backend.infer(blank(backend)))):
                    wrong.append("other results")
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for backend in backends:
        backend.close()
    assert not wrong
