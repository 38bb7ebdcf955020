"""Frames into tensors by OpenCV and NumPy, written here a second time; no kernels of ours."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st

from runtime.frame import Frame
from runtime.input_spec import InputSpec, Letterbox

Array = np.ndarray
Resize = Callable[[Array, tuple[int, int]], Array]


# ---- bilinear interpolation ----


def opencv(plane: Array, size: tuple[int, int]) -> Array:
    """What this OpenCV computes.

    PyPI's for aarch64 resizes single 8-bit planes with Carotene, which is less precise than
    OpenCV's own code and far off for some small sizes: there, through two channels.
    """
    single = plane.ndim == 2 and plane.dtype == np.uint8 and platform.machine() != "x86_64"
    given = np.dstack([plane, plane]) if single else plane
    scaled = cv2.resize(given, size, interpolation=cv2.INTER_LINEAR)
    if single:
        scaled = scaled.reshape(size[1], size[0], 2)[..., 0]
    return scaled.reshape(size[1], size[0], *plane.shape[2:])


def fixed_point(plane: Array, size: tuple[int, int]) -> Array:
    """What OpenCV's own code computes for 8 bits: modules/imgproc/src/resize.cpp, with 11 bits."""
    height, width = plane.shape[:2]
    x, a = _axis(width, size[0])
    outside = (x < 0) | (x >= width - 1)
    x, a = x.clip(0, width - 1), np.where(outside, 0, a)[:, None]
    y, b = _axis(height, size[1])
    b = b[:, None, None]
    numbers = plane.reshape(height, width, -1).astype(np.int64)
    rows = numbers[:, x] * (2048 - a) + numbers[:, np.minimum(x + 1, width - 1)] * a >> 4
    upper, lower = (rows[(y + k).clip(0, height - 1)] for k in (0, 1))
    blend = (upper * (2048 - b) >> 16) + (lower * b >> 16) + 2 >> 2
    return blend.astype(np.uint8).reshape(size[1], size[0], *plane.shape[2:])


def _axis(source: int, target: int) -> tuple[Array, Array]:
    scale = 1 / (target / source)
    at = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32)
    below = np.floor(at)
    return below.astype(int), np.rint((at - below) * np.float32(2048)).astype(int)


def real(plane: Array, size: tuple[int, int]) -> Array:
    """Of real numbers, not rounded."""
    return opencv(plane.astype(np.float32), size).astype(np.float64)


# ---- colours: BT.601 from its three constants ----

KR, KG, KB = 0.299, 0.587, 0.114


def luma_chroma(rgb: Array, yuv_range: str) -> tuple[Array, Array, Array]:
    r, g, b = (rgb[..., i].astype(np.float64) for i in range(3))
    y = KR * r + KG * g + KB * b
    u, v = (b - y) / (2 - 2 * KB), (r - y) / (2 - 2 * KR)
    if yuv_range == "video":
        return 16 + y * 219 / 255, 128 + u * 224 / 255, 128 + v * 224 / 255
    return y, 128 + u, 128 + v


def rgb_of(y: Array, u: Array, v: Array, yuv_range: str, yuv_matrix: str = "bt601") -> Array:
    kr, kb = (KR, KB) if yuv_matrix == "bt601" else (0.2126, 0.0722)  # BT.709-6 section 3
    y, u, v = (part.astype(np.float64) for part in (y, u, v))
    u, v = u - 128, v - 128
    if yuv_range == "video":
        y, u, v = (y - 16) * 255 / 219, u * 255 / 224, v * 255 / 224
    r, b = y + (2 - 2 * kr) * v, y + (2 - 2 * kb) * u
    return np.stack([r, (y - kr * r - kb * b) / (1 - kr - kb), b], -1)


def planes(frame: Frame) -> tuple[Array, Array]:
    """Luma (H, W) and chroma (h, W/2, 2) as the format defines them."""
    if frame.format == "nv12":
        rows = frame.pixels.shape[0] * 2 // 3
        return frame.pixels[:rows], frame.pixels[rows:].reshape(rows // 2, -1, 2)
    flat = frame.pixels.reshape(frame.pixels.shape[0], -1)
    return flat[:, 0::2].copy(), np.stack([flat[:, 1::4], flat[:, 3::4]], -1)


# ---- letterbox ----


def canvas_rgb(frame: Frame, box: Letterbox, spec: InputSpec, resize: Resize) -> Array:
    """The letterboxed picture (H, W, 3) RGB, before anything else; real numbers of YUV frames."""
    inner_w, inner_h = box.inner
    if frame.format == "bgr":
        inner = resize(frame.pixels, box.inner)[..., ::-1]
    else:
        y, uv = (real(plane, box.inner) for plane in planes(frame))
        inner = rgb_of(y, uv[..., 0], uv[..., 1], frame.yuv_range, frame.yuv_matrix).clip(0, 255)
    canvas = np.full((*spec.size, 3), spec.pad_value, inner.dtype)
    canvas[box.pad_y : box.pad_y + inner_h, box.pad_x : box.pad_x + inner_w] = inner
    return canvas


def fed(rgb: Array, spec: InputSpec) -> Array:
    """The tensor of a canvas of integers."""
    pixels = rgb if spec.color == "rgb" else rgb[..., ::-1]
    if spec.dtype == np.uint8 and not spec.quantization:
        values: Array = pixels.astype(np.uint8)
    else:
        gain = np.float32(1) / np.array(spec.std, np.float32)
        values = pixels.astype(np.float32) * gain
        values = values + -np.array(spec.mean, np.float32) / np.array(spec.std, np.float32)
    if spec.quantization:
        scale, zero_point = spec.quantization
        low, high = (-128, 127) if spec.dtype == np.int8 else (0, 255)
        values = np.clip(np.rint(values / np.float32(scale)) + zero_point, low, high)
    values = values.astype(spec.dtype)[None]
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if spec.layout == "nchw" else values)


# ---- cases ----

FORMATS = ("bgr", "nv12", "yuyv")
sides = st.one_of(st.integers(1, 40), st.integers(41, 400), st.sampled_from([1, 2, 3, 640, 1500]))
fits = st.sampled_from(["center", "topleft", "stretch"])
ranges = st.sampled_from(["full", "video"])


@st.composite
def frames(draw: Any, formats: tuple[str, ...] = FORMATS) -> Frame:
    kind = draw(st.sampled_from(formats))
    height, width = draw(sides), draw(sides)
    if kind != "bgr":
        width = (width + 1) // 2 * 2
    if kind == "nv12":
        height = (height + 1) // 2 * 2
    frame = frame_of(kind, height, width, draw(st.integers(0, 9)), draw(ranges))
    return replace(frame, yuv_matrix=draw(st.sampled_from(["bt601", "bt709"])))


def frame_of(kind: Any, height: int, width: int, seed: int = 0, yuv_range: Any = "video") -> Frame:
    shape = {
        "bgr": (height, width, 3),
        "nv12": (height * 3 // 2, width),
        "yuyv": (height, width, 2),
    }
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, shape[kind], np.uint8)
    if seed % 2:  # extremes, and edges between them
        pixels = np.where(pixels < 128, np.uint8(0), np.uint8(255))
    return Frame(pixels, format=kind, yuv_range=yuv_range)


@st.composite
def specs(draw: Any, colors: tuple[str, ...] = ("rgb", "bgr")) -> InputSpec:
    color = draw(st.sampled_from(colors))
    size = (draw(st.integers(1, 150)), draw(st.integers(1, 150)))
    common: dict[str, Any] = {
        "color": color,
        "letterbox": draw(fits),
        "pad_value": draw(st.integers(0, 255)),
    }
    if color == "nv12":
        even = (size[0] * 2, size[1] * 2)
        return InputSpec(even, yuv_range=draw(ranges), **common)
    dtype = np.dtype(draw(st.sampled_from(["f4", "f2", "u1", "i1"])))
    common |= {"layout": draw(st.sampled_from(["nchw", "nhwc"])), "dtype": dtype}
    if dtype == np.uint8 and draw(st.booleans()):
        return InputSpec(size, std=(1, 1, 1), **common)
    if dtype.kind in "iu":
        exact = (np.float32(1 / 255), -128 if dtype.kind == "i" else 0)
        grids = st.sampled_from([exact, (0.02, 3), (0.5, -7)])
        common["quantization"] = draw(grids)
    mean = draw(st.sampled_from([(0, 0, 0), (123.675, 116.28, 103.53)]))
    return InputSpec(
        size, mean=mean, std=draw(st.sampled_from([(255, 255, 255), (58, 57, 61.5)])), **common
    )
