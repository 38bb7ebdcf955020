"""Pre-processing as people write it today: OpenCV and NumPy.

Every recipe takes pixels as a camera gives them and returns the model's input, letterboxed into
`size` (square).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def letterbox_bgr(bgr: Bytes, size: int, value: int = 114) -> Bytes:
    """Resize and pad, as in Ultralytics' and both vendors' examples."""
    height, width = bgr.shape[:2]
    scale = min(size / height, size / width)
    inner_w, inner_h = round(width * scale), round(height * scale)
    top, left = (size - inner_h) // 2, (size - inner_w) // 2
    small = cv2.resize(bgr, (inner_w, inner_h), interpolation=cv2.INTER_LINEAR)
    border = (top, size - inner_h - top, left, size - inner_w - left)
    padded = cv2.copyMakeBorder(small, *border, cv2.BORDER_CONSTANT, value=(value,) * 3)
    return np.asarray(padded, np.uint8)


def bgr_to_rgb(bgr: Bytes, size: int) -> Bytes:
    """Rockchip's model zoo: cv2.resize, copyMakeBorder, cvtColor."""
    return np.asarray(cv2.cvtColor(letterbox_bgr(bgr, size), cv2.COLOR_BGR2RGB), np.uint8)


def bgr_to_float(bgr: Bytes, size: int) -> NDArray[np.float32]:
    """Ultralytics' recipe for ONNX: RGB, NCHW, float32 / 255."""
    rgb = letterbox_bgr(bgr, size)[..., ::-1].transpose(2, 0, 1)[None]
    return np.ascontiguousarray(rgb).astype(np.float32) / np.float32(255)


def bgr_to_nv12(bgr: Bytes, size: int) -> Bytes:
    """D-Robotics' model zoo: letterbox, BGR2YUV_I420, then U and V side by side by NumPy."""
    padded = letterbox_bgr(bgr, size, 127)
    area = size * size
    yuv = cv2.cvtColor(padded, cv2.COLOR_BGR2YUV_I420).reshape(area * 3 // 2)
    chroma = yuv[area:].reshape(2, area // 4).transpose(1, 0).reshape(area // 2)
    nv12 = np.zeros_like(yuv)
    nv12[:area] = yuv[:area]
    nv12[area:] = chroma
    return np.asarray(nv12, np.uint8)


def nv12_to_nv12(nv12: Bytes, size: int) -> Bytes:
    """Both planes by cv2.resize into a padded picture."""
    height, width = nv12.shape[0] * 2 // 3, nv12.shape[1]
    scale = min(size / height, size / width)
    inner_w, inner_h = round(width * scale), round(height * scale)
    top, left = (size - inner_h) // 2, (size - inner_w) // 2
    out = np.full((size * 3 // 2, size), 127, np.uint8)
    out[top : top + inner_h, left : left + inner_w] = cv2.resize(nv12[:height], (inner_w, inner_h))
    chroma = out[size:].reshape(size // 2, size // 2, 2)
    chroma[...] = 128
    halves = nv12[height:].reshape(height // 2, width // 2, 2)
    inside = chroma[top // 2 : (top + inner_h) // 2, left // 2 : (left + inner_w) // 2]
    inside[...] = cv2.resize(halves, inside.shape[1::-1])
    return out


def nv12_to_rgb(nv12: Bytes, size: int) -> Bytes:
    """By way of BGR, as OpenCV's capture does."""
    return bgr_to_rgb(np.asarray(cv2.cvtColor(nv12, cv2.COLOR_YUV2BGR_NV12), np.uint8), size)


def yuyv_to_rgb(yuyv: Bytes, size: int) -> Bytes:
    """By way of BGR, as OpenCV's capture does."""
    return bgr_to_rgb(np.asarray(cv2.cvtColor(yuyv, cv2.COLOR_YUV2BGR_YUY2), np.uint8), size)


RECIPES: dict[str, Any] = {
    "BGR → RGB": bgr_to_rgb,
    "BGR → float32": bgr_to_float,
    "BGR → NV12": bgr_to_nv12,
    "NV12 → NV12": nv12_to_nv12,
    "NV12 → RGB": nv12_to_rgb,
    "YUYV → RGB": yuyv_to_rgb,
}
