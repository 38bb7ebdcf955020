"""Every path of the pre-processing kernels against OpenCV and NumPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import _pixels
from runtime.frame import Frame
from runtime.input_spec import InputSpec, Letterbox
from runtime.preprocess import Preprocessor

VARIANTS = _pixels.variants()
MANY = settings(max_examples=250, deadline=None)


def prepare(spec: InputSpec, frame: Frame) -> tuple[np.ndarray, Letterbox]:
    """The tensor, after making sure that all variants give the same bytes."""
    tensor, box = Preprocessor(spec, VARIANTS[0])(frame)
    for name in VARIANTS[1:]:
        other, _ = Preprocessor(spec, name)(frame)
        assert other.tobytes() == tensor.tobytes(), name
    assert tensor.flags.c_contiguous
    return tensor, box


@MANY
@given(oracle.frames(("bgr",)), oracle.specs())
def test_bgr_is_opencvs_bilinear_exactly(frame: Frame, spec: InputSpec) -> None:
    tensor, box = prepare(spec, frame)
    expected = oracle.fed(oracle.canvas_rgb(frame, box, spec, oracle.fixed_point), spec)
    assert tensor.dtype == expected.dtype
    assert tensor.shape == expected.shape
    np.testing.assert_array_equal(tensor, expected)


@MANY
@given(oracle.frames(("bgr",)), oracle.specs())
def test_bgr_is_within_1_of_this_opencv(frame: Frame, spec: InputSpec) -> None:
    spec = InputSpec(spec.size, spec.layout, np.dtype("u1"), spec.color, std=(1, 1, 1))
    tensor, box = prepare(spec, frame)
    expected = oracle.fed(oracle.canvas_rgb(frame, box, spec, oracle.opencv), spec)
    assert np.abs(tensor.astype(int) - expected).max() <= 1


@MANY
@given(oracle.frames(("nv12", "yuyv")), oracle.specs())
def test_yuv_to_rgb_is_within_1(frame: Frame, spec: InputSpec) -> None:
    plain = InputSpec(spec.size, "nhwc", np.dtype("u1"), "rgb", spec.letterbox, spec.pad_value,
                      std=(1, 1, 1))  # fmt: skip
    tensor, box = prepare(plain, frame)
    exact = oracle.canvas_rgb(frame, box, plain, oracle.real)
    error = tensor[0] - exact
    assert np.abs(tensor[0] - np.rint(exact)).max() <= 1
    assert np.abs(error).max() < 0.8
    fed, _ = prepare(spec, frame)  # every other form is that of the same colours
    np.testing.assert_array_equal(fed, oracle.fed(tensor[0], spec))


@MANY
@given(oracle.frames(("bgr",)), oracle.specs(("nv12",)))
def test_bgr_to_nv12_is_within_1(frame: Frame, spec: InputSpec) -> None:
    tensor, box = prepare(spec, frame)
    height, width = spec.size
    rgb = oracle.canvas_rgb(frame, box, spec, oracle.fixed_point)
    mean = rgb.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    luma = oracle.luma_chroma(rgb, spec.yuv_range)[0]
    chroma = np.stack(oracle.luma_chroma(mean, spec.yuv_range)[1:], -1)
    assert np.abs(tensor[0, :height] - luma).max() < 0.6
    assert np.abs(tensor[0, height:].reshape(chroma.shape) - chroma).max() < 0.6


@MANY
@given(oracle.frames(("nv12", "yuyv")), oracle.specs(("nv12",)))
def test_yuv_to_nv12_resizes_both_planes(frame: Frame, spec: InputSpec) -> None:
    tensor, box = prepare(spec, frame)
    height, width = spec.size
    halves = tensor[0, height:].reshape(height // 2, width // 2, 2)
    grey = np.array(oracle.luma_chroma(np.full(3, spec.pad_value), spec.yuv_range))
    luma, chroma = oracle.planes(frame)
    luma_box = (box.pad_x, box.pad_y, *box.inner)
    same = frame.yuv_range == spec.yuv_range
    for plane, ours, where, pad in (
        (luma, tensor[0, :height], luma_box, grey[0]),
        (chroma, halves, _halved(*luma_box), grey[1:]),
    ):
        left, top, inner_w, inner_h = where
        inside = ours[top : top + inner_h, left : left + inner_w]
        if same:
            np.testing.assert_array_equal(inside, oracle.fixed_point(plane, (inner_w, inner_h)))
            near = oracle.opencv(plane, (inner_w, inner_h)).astype(int)
            assert np.abs(inside - near).max() <= 1
        else:
            near = _in_range(oracle.real(plane, (inner_w, inner_h)), frame.yuv_range)
            assert np.abs(inside - near).max() <= 1
        outside = np.ones(ours.shape[:2], bool)
        outside[top : top + inner_h, left : left + inner_w] = False
        assert (ours[outside] == np.rint(pad)).all()


def _halved(left: int, top: int, width: int, height: int) -> tuple[int, int, int, int]:
    """All chroma samples that the picture touches."""
    columns = {x // 2 for x in range(left, left + width)}
    rows = {y // 2 for y in range(top, top + height)}
    return min(columns), min(rows), len(columns), len(rows)


def _in_range(plane: np.ndarray, source: str) -> np.ndarray:
    """A plane of luma (2 dimensions) or chroma in the other range."""
    factor, middle = (219 / 255, 16) if plane.ndim == 2 else (224 / 255, 128)
    zero = 0 if plane.ndim == 2 else 128
    if source == "full":
        return (plane - zero) * factor + middle
    return ((plane - middle) / factor + zero).clip(0, 255)


@MANY
@given(oracle.frames(), oracle.specs(("rgb", "bgr", "nv12")))
def test_the_reference_is_within_1(frame: Frame, spec: InputSpec) -> None:
    if spec.color != "nv12":
        spec = InputSpec(spec.size, spec.layout, np.dtype("u1"), spec.color, spec.letterbox,
                         spec.pad_value, std=(1, 1, 1))  # fmt: skip
    tensor, box = Preprocessor(spec)(frame)
    expected, same_box = Preprocessor(spec, "reference")(frame)
    assert box == same_box
    assert np.abs(tensor.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", oracle.FORMATS)
@pytest.mark.parametrize(
    ("height", "width"),
    [
        (1080, 1920),
        (720, 1280),
        (480, 640),
        (2160, 3840),
        (96, 4000),
        (4000, 2),
        (2, 2),
        (240, 320),
    ],
)
def test_sizes_of_cameras(height: int, width: int, kind: str, variant: str) -> None:
    frame = oracle.frame_of(kind, height, width)
    spec = InputSpec((320, 320), "nhwc", np.dtype("u1"), "rgb", std=(1, 1, 1))
    tensor, box = Preprocessor(spec, variant)(frame)
    resize = oracle.fixed_point if kind == "bgr" else oracle.real
    exact = oracle.canvas_rgb(frame, box, spec, resize)
    assert np.abs(tensor[0] - exact).max() < (1e-9 if kind == "bgr" else 0.8)
    assert abs((tensor[0] - exact).mean()) < 0.05


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(oracle.FORMATS))
@settings(max_examples=60, deadline=None)
def test_as_large_as_it_is_nothing_is_resampled(h: int, w: int, kind: str) -> None:
    frame = oracle.frame_of(kind, 2 * h, 2 * w, 1, "full")
    if kind == "bgr":
        spec = InputSpec((2 * h, 2 * w), "nhwc", np.dtype("u1"), "bgr", std=(1, 1, 1))
        expected = frame.pixels
    else:
        spec = InputSpec((2 * h, 2 * w), color="nv12")
        luma, chroma = oracle.planes(frame)
        expected = np.vstack([luma, oracle.fixed_point(chroma, (w, h)).reshape(h, 2 * w)])
    np.testing.assert_array_equal(prepare(spec, frame)[0][0], expected)


def test_float16_and_int8_are_the_formulas() -> None:
    frame = oracle.frame_of("bgr", 30, 20)
    grid = (np.float32(1 / 255), -128)
    spec = InputSpec((30, 20), "nhwc", np.dtype("i1"), "bgr", quantization=grid)
    tensor, _ = prepare(spec, frame)
    np.testing.assert_array_equal(tensor[0], frame.pixels.astype(int) - 128)
    spec = dataclasses.replace(spec, dtype=np.dtype("f2"), quantization=None)
    tensor, _ = prepare(spec, frame)
    np.testing.assert_array_equal(tensor[0], (frame.pixels / np.float32(255)).astype(np.float16))
