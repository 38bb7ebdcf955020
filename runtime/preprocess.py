"""Frame -> model input: letterbox, colour order, normalisation, memory layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from npud.detections import Detections
from npud.errors import ModelError
from runtime.frame import Frame

Fit = Literal["center", "topleft", "stretch"]
YuvRange = Literal["full", "video"]

# Rows Y, U, V over columns B, G, R and 1: BT.601 for 8 bits; ITU-T T.871 (JPEG) gives the full
# range, 0..255, and ITU-R BT.601-7 section 2.5.3 the video range, 16..235 and 16..240.
FULL_RANGE = np.array([
    [0.114, 0.587, 0.299, 0],
    [0.5, -0.587 / 1.772, -0.299 / 1.772, 128],
    [-0.114 / 1.402, -0.587 / 1.402, 0.5, 128],
])  # fmt: skip
VIDEO_RANGE = FULL_RANGE * [[219 / 255], [224 / 255], [224 / 255]]
VIDEO_RANGE[:, 3] = 16, 128, 128
YUV_OF_BGR: dict[YuvRange, NDArray[np.float64]] = {"full": FULL_RANGE, "video": VIDEO_RANGE}


@dataclass(frozen=True)
class InputSpec:
    """What the model wants to see.

    size is (height, width) in pixels; value fed = (pixel - mean) / std per channel, in the order of
    `color`; layout and dtype are those of the model's input tensor.

    With color "nv12" bytes are fed, unscaled: luma (H, W), then U and V of every 2×2 pixels side by
    side (H/2, W); H and W are even, layout, dtype, mean and std have no meaning.  yuv_range "full"
    is what the RDK X5's BPU computes RGB from; "video" is what its model zoo feeds (OpenCV's
    BGR2YUV_I420), and loses a little (43 instead of 45 of 54 reference detections).
    """

    size: tuple[int, int]
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: np.dtype[np.generic] = np.dtype(np.float32)  # noqa: RUF009 - dtypes are immutable
    color: Literal["rgb", "bgr", "nv12"] = "rgb"
    letterbox: Fit = "center"
    pad_value: int = 114
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    yuv_range: YuvRange = "full"


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture was fitted into the model's input; the one place where coordinates change.

    Model x = source x * scale_x + pad_x (the same for y); width_px and height_px are the source's.
    """

    scale_x: float
    scale_y: float
    pad_x: int
    pad_y: int
    width_px: int
    height_px: int

    @classmethod
    def fit(cls, width_px: int, height_px: int, size: tuple[int, int], fit: Fit) -> Letterbox:
        """Fit a picture into size (height, width), keeping its aspect unless fit is "stretch"."""
        height, width = size
        if fit == "stretch":
            return cls(width / width_px, height / height_px, 0, 0, width_px, height_px)
        scale = min(width / width_px, height / height_px)
        inner_w = min(width, max(1, round(width_px * scale)))
        inner_h = min(height, max(1, round(height_px * scale)))
        pad_x, pad_y = (width - inner_w) // 2, (height - inner_h) // 2
        if fit == "topleft":
            pad_x = pad_y = 0
        return cls(inner_w / width_px, inner_h / height_px, pad_x, pad_y, width_px, height_px)

    @property
    def inner(self) -> tuple[int, int]:
        """(width, height) in pixels of the picture inside the model's input."""
        return round(self.width_px * self.scale_x), round(self.height_px * self.scale_y)

    def to_source(self, found: Detections) -> Detections:
        """Boxes in model-input pixels -> boxes in source pixels, clipped to the picture."""
        boxes = found.boxes.astype(np.float64)
        boxes[:, 0::2] = ((boxes[:, 0::2] - self.pad_x) / self.scale_x).clip(0, self.width_px)
        boxes[:, 1::2] = ((boxes[:, 1::2] - self.pad_y) / self.scale_y).clip(0, self.height_px)
        return Detections(boxes.astype(np.float32), found.scores, found.class_ids)


class Preprocessor:
    """Turns frames into the model's input tensor.

    The tensor is one buffer, written anew by each call: use it before the next.  Not for two
    threads at once.
    """

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec
        height, width = spec.size
        self._canvas = np.empty((height, width, 3), np.uint8)
        if spec.color == "nv12":
            if height % 2 or width % 2:
                raise ModelError(
                    f"expected an even height and width for NV12, got {list(spec.size)}"
                )
            self._tensor: NDArray[Any] = np.empty((1, height * 3 // 2, width), np.uint8)
            return
        shape = (1, 3, height, width) if spec.layout == "nchw" else (1, height, width, 3)
        self._tensor = np.empty(shape, spec.dtype)
        mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
        self._as_bytes = spec.dtype == np.uint8 and not mean.any() and bool((std == 1).all())
        self._gain = (1 / std).astype(np.float32)
        self._offset = (-mean / std).astype(np.float32)

    def __call__(self, frame: Frame) -> tuple[NDArray[Any], Letterbox]:
        """Return (tensor, how the frame was fitted into it).

        The tensor is (1, 3, H, W) or (1, H, W, 3), for NV12 uint8 (1, H·3/2, W), C-contiguous.
        """
        box = Letterbox.fit(frame.width_px, frame.height_px, self.spec.size, self.spec.letterbox)
        self._paste(frame.pixels, box)
        if self.spec.color == "nv12":
            bgr_to_nv12(self._canvas, self.spec.yuv_range, self._tensor[0])
            return self._tensor, box
        pixels: NDArray[Any] = self._canvas
        if self.spec.color == "rgb":
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        for channel in range(3):
            plane = pixels[:, :, channel]
            out = self._plane(channel)
            if self._as_bytes:
                out[...] = plane
            elif self.spec.dtype == np.float32:
                np.multiply(plane, self._gain[channel], out=out)
                if self._offset[channel]:
                    out += self._offset[channel]
            else:
                value = plane * self._gain[channel] + self._offset[channel]
                out[...] = value.astype(self.spec.dtype)
        return self._tensor, box

    def _plane(self, channel: int) -> NDArray[Any]:
        where = (0, channel) if self.spec.layout == "nchw" else (0, ..., channel)
        plane: NDArray[Any] = self._tensor[where]
        return plane

    def _paste(self, pixels: NDArray[np.uint8], box: Letterbox) -> None:
        inner_w, inner_h = box.inner
        canvas, left, top = self._canvas, box.pad_x, box.pad_y
        inside = canvas[top : top + inner_h, left : left + inner_w]
        for border in (
            canvas[:top],
            canvas[top + inner_h :],
            canvas[:, :left],
            canvas[:, left + inner_w :],
        ):
            border[...] = self.spec.pad_value
        if pixels.shape[:2] == (inner_h, inner_w):
            inside[...] = pixels
        else:
            inside[...] = cv2.resize(pixels, (inner_w, inner_h), interpolation=cv2.INTER_LINEAR)


def bgr_to_nv12(
    bgr: NDArray[np.uint8], yuv_range: YuvRange, out: NDArray[np.uint8]
) -> NDArray[np.uint8]:
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
