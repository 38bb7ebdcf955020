"""Letterbox and normalisation, against formulas written down here a second time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npud.detections import Detections
from npud.errors import ModelError
from runtime.frame import Frame
from runtime.preprocess import Fit, InputSpec, Letterbox, Preprocessor

sides = st.integers(8, 3000)
FITS: list[Fit] = ["center", "topleft", "stretch"]


@given(sides, sides, st.sampled_from([(640, 640), (320, 320), (384, 640)]), st.sampled_from(FITS))
def test_boxes_come_back_where_they_were(w: int, h: int, size: tuple[int, int], fit: Fit) -> None:
    box = Letterbox.fit(w, h, size, fit)
    inner_w, inner_h = box.inner
    assert 1 <= inner_w <= size[1]
    assert 1 <= inner_h <= size[0]
    if fit != "stretch":  # one side fills the input, the other keeps the aspect to half a pixel
        scale = min(size[1] / w, size[0] / h)
        assert inner_w == size[1] or inner_h == size[0]
        assert abs(inner_w - w * scale) <= 0.5 or inner_w == 1
    source = np.array([[0, 0, w, h], [w / 4, h / 3, w / 2, h / 2]], np.float64)
    model = source.copy()
    model[:, 0::2] = source[:, 0::2] * box.scale_x + box.pad_x
    model[:, 1::2] = source[:, 1::2] * box.scale_y + box.pad_y
    found = Detections(model.astype(np.float32), np.ones(2, np.float32), np.zeros(2, np.int32))
    assert box.to_source(found).boxes == pytest.approx(source, rel=1e-4, abs=1e-3 * max(w, h) / 8)


def test_boxes_are_clipped_to_the_picture() -> None:
    box = Letterbox.fit(1280, 720, (640, 640), "center")
    found = Detections(
        np.array([[-50, -50, 900, 900]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32)
    )
    assert box.to_source(found).boxes.tolist() == [[0, 0, 1280, 720]]


def picture(height: int, width: int) -> Frame:
    return Frame(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("shape", [(720, 1280), (1080, 810), (640, 640), (333, 77), (8, 8)])
def test_like_opencv_letterbox_rgb_over_255(shape: tuple[int, int]) -> None:
    frame = picture(*shape)
    tensor, box = Preprocessor(InputSpec((640, 640)))(frame)
    scale = min(640 / shape[0], 640 / shape[1])
    inner = cv2.resize(frame.pixels, (round(shape[1] * scale), round(shape[0] * scale)))
    left, top = (640 - inner.shape[1]) // 2, (640 - inner.shape[0]) // 2
    padded = cv2.copyMakeBorder(
        inner, top, 640 - inner.shape[0] - top, left, 640 - inner.shape[1] - left,
        cv2.BORDER_CONSTANT, value=(114, 114, 114),
    )  # fmt: skip
    expected = padded[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    assert (box.pad_x, box.pad_y) == (left, top)
    assert tensor.dtype == np.float32
    assert tensor.shape == (1, 3, 640, 640)
    np.testing.assert_allclose(tensor, expected, atol=1e-6)


def test_the_buffer_keeps_nothing_of_the_frame_before() -> None:
    preprocess = Preprocessor(InputSpec((64, 64), layout="nhwc", dtype=np.dtype(np.uint8),
                                        std=(1, 1, 1), pad_value=7))  # fmt: skip
    preprocess(Frame(np.full((100, 40, 3), 255, np.uint8)))
    tensor, _ = preprocess(Frame(np.full((40, 100, 3), 9, np.uint8)))
    assert set(np.unique(tensor)) == {7, 9}


def test_colour_order_mean_and_std_go_together() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:] = (10, 20, 30)  # blue, green, red
    spec = InputSpec((32, 32), mean=(1, 2, 3), std=(2, 4, 8))
    tensor, _ = Preprocessor(spec)(Frame(pixels))
    assert tensor[0, :, 0, 0].tolist() == [(30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8]
    spec = InputSpec(
        (32, 32), mean=(1, 2, 3), std=(2, 4, 8), color="bgr", dtype=np.dtype(np.float16)
    )
    tensor, _ = Preprocessor(spec)(Frame(pixels))
    assert tensor[0, :, 0, 0].tolist() == [(10 - 1) / 2, (20 - 2) / 4, (30 - 3) / 8]


def test_topleft_and_stretch() -> None:
    frame = Frame(np.full((32, 64, 3), 200, np.uint8))
    spec = InputSpec((64, 64), letterbox="topleft", std=(1, 1, 1), dtype=np.dtype(np.uint8))
    tensor, box = Preprocessor(spec)(frame)
    assert (box.pad_x, box.pad_y) == (0, 0)
    assert (tensor[0, :, :32] == 200).all()
    assert (tensor[0, :, 32:] == 114).all()
    spec = InputSpec((64, 64), letterbox="stretch", std=(1, 1, 1), dtype=np.dtype(np.uint8))
    tensor, box = Preprocessor(spec)(frame)
    assert (tensor == 200).all()
    assert (box.scale_x, box.scale_y) == (1, 2)


# Full range: Kr, Kg, Kb of BT.601, luma and chroma from the definitions, not from a matrix.
def yuv(rgb: np.ndarray, video: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r, g, b = (rgb[..., i].astype(np.float64) for i in range(3))
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    u, v = (b - luma) / (2 * (1 - 0.114)), (r - luma) / (2 * (1 - 0.299))
    if video:
        return 16 + luma * 219 / 255, 128 + u * 224 / 255, 128 + v * 224 / 255
    return luma, 128 + u, 128 + v


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("shape", [(64, 96), (33, 71), (7, 3), (480, 641)])
def test_nv12_is_luma_then_the_mean_colour_of_two_by_two(
    shape: tuple[int, int], video: bool
) -> None:
    frame = picture(*shape)
    shown = InputSpec((64, 96), "nhwc", np.dtype(np.uint8), "bgr", pad_value=127, std=(1, 1, 1))
    canvas, box = Preprocessor(shown)(frame)
    spec = InputSpec((64, 96), color="nv12", pad_value=127, yuv_range="video" if video else "full")
    tensor, nv12_box = Preprocessor(spec)(frame)
    assert (tensor.shape, tensor.dtype) == ((1, 96, 96), np.uint8)
    assert tensor.flags.c_contiguous
    assert nv12_box == box
    rgb = canvas[0, :, :, ::-1]
    luma = yuv(rgb, video)[0]
    _, u, v = yuv(rgb.reshape(32, 2, 48, 2, 3).mean((1, 3)), video)
    chroma = tensor[0, 64:].reshape(32, 48, 2)
    for ours, exact in ((tensor[0, :64], luma), (chroma[..., 0], u), (chroma[..., 1], v)):
        assert np.abs(ours - exact).max() <= 1
        assert abs((ours - exact).mean()) < 0.1


def test_nv12_padding_is_grey_and_video_range_is_opencvs() -> None:
    blank = Frame(np.full((10, 40, 3), 255, np.uint8))
    tensor, box = Preprocessor(InputSpec((64, 64), color="nv12", pad_value=127))(blank)
    assert (tensor[0, : box.pad_y] == 127).all()
    assert (tensor[0, 64 : 64 + box.pad_y // 2] == 128).all()
    frame = picture(64, 64)
    spec = InputSpec((64, 64), color="nv12", yuv_range="video")
    ours = Preprocessor(spec)(frame)[0][0, :64].astype(int)
    theirs = cv2.cvtColor(frame.pixels, cv2.COLOR_BGR2YUV_I420)[:64]
    assert np.abs(ours - theirs).max() <= 1


def test_nv12_of_an_odd_size_is_refused() -> None:
    with pytest.raises(ModelError, match=r"expected an even height and width for NV12, got \[63, "):
        Preprocessor(InputSpec((63, 64), color="nv12"))


@pytest.mark.shared
def test_nv12_of_the_bus_is_what_the_vendors_tools_were_fed(shared: Path) -> None:
    fed = np.load(shared / "models" / "bin" / "bus_nv12_letterbox127.npz")
    frame = Frame(cv2.imread(str(shared / "data" / "bus.jpg")))
    spec = InputSpec((640, 640), color="nv12", pad_value=127, yuv_range="video")
    tensor, box = Preprocessor(spec)(frame)
    inside = np.s_[:, box.pad_x + 2 : 640 - box.pad_x - 2]  # theirs is padded with blue
    luma = np.abs(tensor[0, :640].astype(int) - fed["y"])[inside]
    chroma = np.abs(tensor[0, 640:].astype(int) - fed["uv"])[inside]
    assert luma.max() <= 1
    assert chroma.mean() < 1  # theirs takes the chroma of one pixel in four
