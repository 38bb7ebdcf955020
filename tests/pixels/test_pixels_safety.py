"""The extension as such: memory around the arrays, threads, refusal of what does not fit."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npud.errors import ConfigError, InferenceError, ModelError
from runtime import _pixels
from runtime.frame import Frame
from runtime.input_spec import InputSpec, Letterbox
from runtime.preprocess import Preprocessor, to_bgr
from runtime.preprocess_reference import bgr_to_nv12

GUARD = 256
BYTES = {"layout": "nhwc", "dtype": np.dtype("u1"), "std": (1, 1, 1)}


def guarded(array: np.ndarray, shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A copy inside a larger buffer of 0xA5 bytes; (copy, whole buffer)."""
    raw = np.full(array.nbytes + 2 * GUARD, 0xA5, np.uint8)
    raw = raw[(-raw.ctypes.data) % 64 :]
    inside = raw[GUARD // 2 + shift :][: array.nbytes].view(array.dtype).reshape(array.shape)
    inside[...] = array
    return inside, raw


@pytest.mark.parametrize("variant", _pixels.variants())
@settings(max_examples=150, deadline=None)
@given(frame=oracle.frames(), spec=oracle.specs(("rgb", "bgr", "nv12")), shift=st.integers(0, 63))
def test_nothing_is_written_beside_the_tensor(
    variant: str, frame: Frame, spec: InputSpec, shift: int
) -> None:
    preprocess = Preprocessor(spec, variant)
    expected = preprocess(frame)[0].copy()
    source, raw_source = guarded(frame.pixels, shift)  # at any address
    untouched = raw_source.copy()
    filled = np.full(expected.shape, 0, expected.dtype)
    target, raw_target = guarded(filled, shift * expected.itemsize)
    moved = replace(frame, pixels=source)
    box = Letterbox.fit(frame.width_px, frame.height_px, spec.size, spec.letterbox)
    preprocess._engine.run(moved, box, target)
    assert target.tobytes() == expected.tobytes()
    assert (raw_source == untouched).all()
    start = GUARD // 2 + shift * expected.itemsize
    assert (raw_target[:start] == 0xA5).all()
    assert (raw_target[start + target.nbytes :] == 0xA5).all()


def test_read_only_memory_will_do_as_a_source() -> None:
    frame = oracle.frame_of("bgr", 20, 30)
    frame.pixels.flags.writeable = False
    Preprocessor(InputSpec((16, 16)))(frame)


def test_one_plan_in_four_threads() -> None:
    spec = InputSpec((96, 96), **BYTES)
    frames = [oracle.frame_of("nv12", 200, 300, seed) for seed in (0, 2)]
    expected = [Preprocessor(spec)(frame)[0].copy() for frame in frames]
    preprocess, failures = Preprocessor(spec), []
    box = preprocess(frames[0])[1]

    def work(index: int) -> None:
        out = np.empty(spec.shape, np.uint8)
        for _ in range(100):
            preprocess._engine.run(frames[index], box, out)
            if out.tobytes() != expected[index].tobytes():
                failures.append(index)

    threads = [threading.Thread(target=work, args=(i % 2,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_many_geometries_after_each_other() -> None:
    preprocess = Preprocessor(InputSpec((32, 48), **BYTES))
    for turn in range(40):
        frame = oracle.frame_of(oracle.FORMATS[turn % 3], 2 + 2 * (turn % 11), 2 + 2 * (turn % 7))
        tensor, _ = preprocess(frame)
        fresh, _ = Preprocessor(InputSpec((32, 48), **BYTES))(frame)
        np.testing.assert_array_equal(tensor, fresh)
    assert len(preprocess._engine._plans) <= 8
    gc.collect()


# ---- refusals ----

GOOD: dict[str, Any] = {
    "source": 0,
    "layout": 1,
    "element": 0,
    "rgb": True,
    "source_size": (20, 30),
    "size": (16, 16),
    "inner": (10, 16),
    "corner": (3, 0),
    "pad": np.zeros(3, np.uint8),
    "matrix": np.zeros((3, 4)),
    "floats": np.zeros(6, np.float32),
    "table": np.zeros((3, 256), np.uint16),
    "kernels": "auto",
}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"source": 3}, "expected sizes"),
        ({"source": -1}, "expected a known source"),
        ({"layout": 3}, "expected sizes"),
        ({"element": 4}, "expected sizes"),
        ({"source_size": (0, 30)}, "expected sizes"),
        ({"source_size": (20, -1)}, "offsets ≥ 0"),
        ({"source_size": (20, 40000)}, "expected sizes"),
        ({"inner": (14, 16)}, "expected sizes"),
        ({"inner": (10, 17)}, "expected sizes"),
        ({"corner": (2**31 - 1, 0)}, "expected sizes"),
        ({"source": 1, "source_size": (21, 30)}, "expected sizes"),
        ({"source": 2, "source_size": (20, 31)}, "expected sizes"),
        ({"layout": 2, "size": (15, 16)}, "expected sizes"),
        ({"layout": 2, "element": 1}, "expected sizes"),
        ({"pad": np.zeros(4, np.uint8)}, "pad: expected 3 bytes, got 4"),
        ({"matrix": np.zeros((3, 3))}, "matrix: expected 96 bytes, got 72"),
        ({"floats": np.zeros(6)}, "floats: expected 24 bytes, got 48"),
        ({"table": np.zeros((3, 256), np.uint8)}, "table: expected 1536 bytes, got 768"),
        ({"kernels": "fastest"}, 'this CPU has no "fastest"'),
    ],
)
def test_a_plan_that_cannot_be(change: dict[str, Any], text: str) -> None:
    _pixels.Plan(**GOOD)
    with pytest.raises(ValueError, match=text):
        _pixels.Plan(**GOOD | change)


def test_arrays_that_do_not_fit() -> None:
    plan = _pixels.Plan(**GOOD)
    source, target = np.zeros((20, 30, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)
    plan.run(source, target)
    with pytest.raises(ValueError, match="source: expected 1800 bytes, got 1797"):
        plan.run(source.reshape(-1)[3:], target)
    with pytest.raises(ValueError, match="source: expected C-contiguous memory, got strided rows"):
        plan.run(np.zeros((20, 40, 3), np.uint8)[:, :30], target)
    with pytest.raises(ValueError, match="target: expected 768 bytes, got 2304"):
        plan.run(source, np.zeros((16, 16, 9), np.uint8))
    with pytest.raises((ValueError, BufferError)):
        plan.run(source, np.zeros((16, 16, 3), np.uint8).copy().tobytes())
    with pytest.raises(TypeError):
        plan.run(None, target)
    plan = _pixels.Plan(**GOOD | {"element": 1})
    odd = np.zeros(16 * 16 * 12 + 1, np.uint8)[1:]
    with pytest.raises(ValueError, match="aligned to 4 bytes"):
        plan.run(source, odd)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize(
    ("pixels", "kind", "text"),
    [
        (np.zeros((8, 8, 3), np.int8), "bgr", "of int8"),
        (np.zeros((8, 8), np.uint8), "bgr", r"got \(8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), "bgr", r"\(H, W, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), "bgr", r"got \(0, 8, 3\)"),
        (
            np.zeros((8, 16, 3), np.uint8)[:, ::2],
            "bgr",
            r"with strides \(48, 6, 1\)",
        ),
        (np.zeros((8, 8), np.uint8), "nv12", "H and W even"),
        (np.zeros((9, 7), np.uint8), "nv12", "H and W even"),
        (np.zeros((8, 7, 2), np.uint8), "yuyv", "W even"),
    ],
)
def test_frames_that_are_not_what_they_say(
    pixels: np.ndarray, kind: Any, text: str, kernels: str
) -> None:
    frame = Frame(pixels, "door", format=kind)
    with pytest.raises(InferenceError, match=f"camera door: expected C-contiguous {kind} .*{text}"):
        Preprocessor(InputSpec((16, 16)), kernels)(frame)


def test_inputs_that_cannot_be_fed() -> None:
    with pytest.raises(ModelError, match="scale and zero point of an int8 input"):
        Preprocessor(InputSpec((16, 16), dtype=np.dtype("i1")))
    with pytest.raises(ModelError, match="got int32"):
        Preprocessor(InputSpec((16, 16), dtype=np.dtype("i4")))


def test_kernels_are_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = InputSpec((16, 16))
    for name in ("reference", *_pixels.variants()):
        monkeypatch.setenv("NPUD_KERNELS", name)
        assert Preprocessor(spec).kernels == name
    monkeypatch.setenv("NPUD_KERNELS", "fastest")
    with pytest.raises(ConfigError, match=r"NPUD_KERNELS: expected one of .*, got 'fastest'"):
        Preprocessor(spec)
    monkeypatch.delenv("NPUD_KERNELS")
    assert Preprocessor(spec).kernels == _pixels.variants()[0]
    assert Preprocessor(spec, "native").kernels == _pixels.variants()[0]


# ---- Frame ----


@pytest.mark.parametrize("kind", oracle.FORMATS)
def test_a_frame_knows_its_size_and_shows_itself_as_bgr(kind: str) -> None:
    frame = oracle.frame_of(kind, 48, 64)
    assert (frame.height_px, frame.width_px) == (48, 64)
    picture = frame.bgr()
    assert (picture.shape, picture.dtype) == ((48, 64, 3), np.uint8)
    assert (picture is frame.pixels) == (kind == "bgr")
    if kind == "bgr":
        np.testing.assert_array_equal(to_bgr(frame), frame.pixels)


def test_bgr_to_nv12_and_back() -> None:
    smooth = np.add.outer(np.arange(48), np.arange(64))[..., None] + np.array([0, 40, 100])
    nv12 = np.empty((72, 64), np.uint8)
    for yuv_range in ("full", "video"):
        bgr_to_nv12(smooth.astype(np.uint8), yuv_range, nv12)
        picture = Frame(nv12, format="nv12", yuv_range=yuv_range).bgr()
        assert np.abs(picture.astype(int) - smooth)[2:-2, 2:-2].max() <= 3
