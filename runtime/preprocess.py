"""Frame -> model input: letterbox, colour order, normalisation, memory layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from npud.detections import Detections
from runtime.frame import Frame

Fit = Literal["center", "topleft", "stretch"]


@dataclass(frozen=True)
class InputSpec:
    """What the model wants to see.

    size is (height, width) in pixels; value fed = (pixel - mean) / std per channel, in the order of
    `color`; layout and dtype are those of the model's input tensor.
    """

    size: tuple[int, int]
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: np.dtype[np.generic] = np.dtype(np.float32)  # noqa: RUF009 - dtypes are immutable
    color: Literal["rgb", "bgr"] = "rgb"
    letterbox: Fit = "center"
    pad_value: int = 114
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)


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
        shape = (1, 3, height, width) if spec.layout == "nchw" else (1, height, width, 3)
        self._tensor: NDArray[Any] = np.empty(shape, spec.dtype)
        mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
        self._as_bytes = spec.dtype == np.uint8 and not mean.any() and bool((std == 1).all())
        self._gain = (1 / std).astype(np.float32)
        self._offset = (-mean / std).astype(np.float32)

    def __call__(self, frame: Frame) -> tuple[NDArray[Any], Letterbox]:
        """Return (tensor (1, 3, H, W) or (1, H, W, 3), how the frame was fitted into it)."""
        box = Letterbox.fit(frame.width_px, frame.height_px, self.spec.size, self.spec.letterbox)
        self._paste(frame.pixels, box)
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
