"""Frame -> model input with OpenCV and NumPy: what the C kernels are held against.

NPUD_KERNELS=reference runs it.  The kernels are within 1 of it, and equal for BGR to RGB or BGR and
for NV12 to NV12 of the same range where OpenCV computes its own 8-bit bilinear interpolation.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.frame import Frame, YuvRange
from runtime.input_spec import YUV_OF_BGR, InputSpec, Letterbox, Matrix, bgr_of_yuv, yuv_of_yuv

Bytes = NDArray[np.uint8]


class Reference:
    """Fills tensors; an Engine of runtime.preprocess."""

    name = "reference"

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._canvas = np.empty((*spec.size, 3), np.uint8)

    def run(self, frame: Frame, box: Letterbox, out: NDArray[Any]) -> None:
        """Fill `out`, of spec.shape."""
        spec = self._spec
        if spec.color == "nv12" and frame.format != "bgr":
            yuv_to_nv12(frame, box, spec, out[0])
            return
        self._paste(frame, box)
        if spec.color == "nv12":
            bgr_to_nv12(self._canvas, spec.yuv_range, out[0])
            return
        pixels = self._canvas[..., ::-1] if spec.color == "rgb" else self._canvas
        values = pixels if spec.as_bytes else elements(spec, pixels)
        out[0] = values.transpose(2, 0, 1) if spec.layout == "nchw" else values

    def _paste(self, frame: Frame, box: Letterbox) -> None:
        inner_w, inner_h = box.inner
        self._canvas[...] = self._spec.pad_value
        inside = self._canvas[box.pad_y : box.pad_y + inner_h, box.pad_x : box.pad_x + inner_w]
        if frame.format == "bgr":
            inside[...] = resize(frame.pixels, box.inner)
        else:
            inside[...] = _resized_bgr(frame, box.inner)


def elements(spec: InputSpec, pixels: Bytes) -> NDArray[Any]:
    """What is fed for pixels (…, 3), in the order of spec.color: values of spec.dtype."""
    value = pixels * spec.gain
    if spec.offset.any():
        value = value + spec.offset
    if spec.quantization:
        scale, zero_point = spec.quantization
        limits = np.iinfo(spec.dtype.str)
        value = (np.rint(value / np.float32(scale)) + zero_point).clip(limits.min, limits.max)
    return value.astype(spec.dtype)


def resize(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Bilinear, (H, W) or (H, W, C) to (width, height) `size`, of the same type."""
    if plane.shape[1::-1] == size:
        return plane
    # OpenCV for aarch64 leaves single planes of 8 bits to Carotene, which is less precise.
    alone = plane.ndim == 2 and plane.dtype == np.uint8
    given = np.dstack([plane, plane]) if alone else plane
    scaled: NDArray[Any] = cv2.resize(given, size, interpolation=cv2.INTER_LINEAR)
    return scaled.reshape(size[1], size[0], -1)[..., 0] if alone else scaled


def planes(frame: Frame) -> tuple[Bytes, Bytes]:
    """Luma (H, W) and chroma (H/2, W/2, 2) of NV12 or (H, W/2, 2) of YUYV, U first."""
    pixels, height, width = frame.pixels, frame.height_px, frame.width_px
    if frame.format == "nv12":
        return pixels[:height], pixels[height:].reshape(height // 2, width // 2, 2)
    return np.ascontiguousarray(pixels[..., 0]), pixels[..., 1].reshape(height, width // 2, 2)


def _resized_bgr(frame: Frame, size: tuple[int, int]) -> NDArray[np.float32]:
    """Both planes resized, then BGR; rounded."""
    luma, chroma = (resize(plane.astype(np.float32), size) for plane in planes(frame))
    matrix = bgr_of_yuv(frame.yuv_range, frame.yuv_matrix)
    colours = np.dstack([luma, chroma]) @ matrix[:, :3].T + matrix[:, 3]
    rounded: NDArray[np.float32] = np.rint(colours).clip(0, 255)
    return rounded


def yuv_to_nv12(frame: Frame, box: Letterbox, spec: InputSpec, out: Bytes) -> None:
    """Fill `out` (H·3/2, W): both planes resized, and brought into the model's range."""
    height, width = spec.size
    grey = YUV_OF_BGR[spec.yuv_range] @ [spec.pad_value, spec.pad_value, spec.pad_value, 1]
    matrix = yuv_of_yuv(frame.yuv_range, spec.yuv_range)
    luma, chroma = planes(frame)
    halves = out[height:].reshape(height // 2, width // 2, 2)
    left, top, inner_w, inner_h = (box.pad_x, box.pad_y, *box.inner)
    out[:height] = np.rint(grey[0])
    inside = out[top : top + inner_h, left : left + inner_w]
    inside[...] = _rescaled(luma, (inner_w, inner_h), matrix[:1])
    left, top, inner_w, inner_h = box.chroma
    halves[...] = np.rint(grey[1:])
    inside = halves[top : top + inner_h, left : left + inner_w]
    inside[...] = _rescaled(chroma, (inner_w, inner_h), matrix[1:])


def _rescaled(plane: Bytes, size: tuple[int, int], matrix: Matrix) -> NDArray[Any]:
    """A plane resized, times the one factor of its rows of the matrix, plus their constant."""
    factor, constant = matrix[0, :3].sum(), matrix[0, 3]
    if (factor, constant) == (1, 0):
        return resize(plane, size)
    scaled = resize(plane.astype(np.float32), size) * factor + constant
    rounded: NDArray[Any] = np.rint(scaled).clip(0, 255)
    return rounded


def bgr_to_nv12(bgr: Bytes, yuv_range: YuvRange, out: Bytes) -> Bytes:
    """Fill `out` (H·3/2, W) with the NV12 of `bgr` (H, W, 3), H and W even; returns `out`.

    U and V are computed from the mean colour of 2×2 pixels, which is where a BPU, which repeats
    them over the four, does least harm.  Within 1 of the exact values.
    """
    height, width = bgr.shape[:2]
    matrix = YUV_OF_BGR[yuv_range]
    cv2.transform(bgr, matrix[:1], out[:height])
    half = cv2.resize(bgr, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    cv2.transform(half, matrix[1:], out[height:].reshape(height // 2, width // 2, 2))
    return out
