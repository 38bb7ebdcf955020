"""What a model wants to see, and the geometry and colours that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from npud.detections import Detections
from npud.errors import ModelError
from runtime.frame import YuvMatrix, YuvRange

Fit = Literal["center", "topleft", "stretch"]
Matrix = NDArray[np.float64]

# Weights of R and B in luma: ITU-R BT.601-7 section 2.5.1, BT.709-6 section 3.
WEIGHTS: dict[YuvMatrix, tuple[float, float]] = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


def yuv_of_bgr(yuv_range: YuvRange, yuv_matrix: YuvMatrix = "bt601") -> Matrix:
    """Rows Y, U, V over columns B, G, R and 1, for 8 bits.

    ITU-T T.871 (JPEG) gives the full range, 0..255, and BT.601-7 section 2.5.3 the video range,
    16..235 and 16..240.
    """
    red, blue = WEIGHTS[yuv_matrix]
    green = 1 - red - blue
    to_u, to_v = 2 - 2 * blue, 2 - 2 * red
    matrix = np.array([
        [blue, green, red, 0],
        [0.5, -green / to_u, -red / to_u, 128],
        [-blue / to_v, -green / to_v, 0.5, 128],
    ])  # fmt: skip
    if yuv_range == "video":
        matrix *= [[219 / 255], [224 / 255], [224 / 255]]
        matrix[:, 3] = 16, 128, 128
    return matrix


YUV_OF_BGR: dict[YuvRange, Matrix] = {"full": yuv_of_bgr("full"), "video": yuv_of_bgr("video")}


def bgr_of_yuv(yuv_range: YuvRange, yuv_matrix: YuvMatrix = "bt601") -> Matrix:
    """Rows B, G, R over columns Y, U, V and 1: the inverse of yuv_of_bgr."""
    forward = yuv_of_bgr(yuv_range, yuv_matrix)
    back = np.linalg.inv(forward[:, :3])
    return np.column_stack([back, -back @ forward[:, 3]])


def yuv_of_yuv(source: YuvRange, target: YuvRange) -> Matrix:
    """Rows Y, U, V over columns Y, U, V and 1, from one range to the other: a diagonal."""
    if source == target:
        return np.eye(3, 4)
    there, back = YUV_OF_BGR[target], bgr_of_yuv(source)
    matrix = there[:, :3] @ back
    matrix[:, 3] += there[:, 3]
    return np.where(np.eye(3, 4, dtype=bool) | (np.arange(4) == 3), matrix, 0.0)


@dataclass(frozen=True)
class InputSpec:
    """What the model wants to see.

    size is (height, width) in pixels; value fed = (pixel - mean) / std per channel, in the order of
    `color`; layout and dtype are those of the model's input tensor.  Where quantization is given,
    as (scale, zero point), the integers fed are round(value / scale) + zero point, clipped.

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
    quantization: tuple[float, int] | None = None

    def check(self) -> None:
        """Raise ModelError for what cannot be fed."""
        if self.color == "nv12":
            if self.size[0] % 2 or self.size[1] % 2:
                expected = "expected an even height and width for NV12"
                raise ModelError(f"{expected}, got {list(self.size)}")
        elif self.dtype not in (np.float32, np.float16, np.uint8, np.int8):
            raise ModelError(f"expected an input of floats or 8 bits, got {self.dtype}")
        elif self.dtype == np.int8 and self.quantization is None:
            raise ModelError("expected scale and zero point of an int8 input, got none")

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape: (1, 3, H, W), (1, H, W, 3), or for NV12 (1, H·3/2, W)."""
        height, width = self.size
        if self.color == "nv12":
            return 1, height * 3 // 2, width
        return (1, 3, height, width) if self.layout == "nchw" else (1, height, width, 3)

    @property
    def gain(self) -> NDArray[np.float32]:
        """1 / std per channel."""
        return (1 / np.array(self.std, np.float32)).astype(np.float32)

    @property
    def offset(self) -> NDArray[np.float32]:
        """-mean / std per channel: value = pixel · gain + offset, each rounded to float32."""
        return (-np.array(self.mean, np.float32) / np.array(self.std, np.float32)).astype(
            np.float32
        )

    @property
    def as_bytes(self) -> bool:
        """Whether pixels are fed as they are."""
        plain = not any(self.mean) and self.std == (1, 1, 1) and self.quantization in (None, (1, 0))
        return self.color == "nv12" or (self.dtype == np.uint8 and plain)


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

    @property
    def chroma(self) -> tuple[int, int, int, int]:
        """(left, top, width, height) of the picture in NV12's half-size chroma of the input.

        Every sample that the picture touches is the picture's.
        """
        inner_w, inner_h = self.inner
        left, top = self.pad_x // 2, self.pad_y // 2
        right, bottom = (self.pad_x + inner_w + 1) // 2, (self.pad_y + inner_h + 1) // 2
        return left, top, right - left, bottom - top

    def to_source(self, found: Detections) -> Detections:
        """Boxes in model-input pixels -> boxes in source pixels, clipped to the picture."""
        boxes = found.boxes.astype(np.float64)
        boxes[:, 0::2] = ((boxes[:, 0::2] - self.pad_x) / self.scale_x).clip(0, self.width_px)
        boxes[:, 1::2] = ((boxes[:, 1::2] - self.pad_y) / self.scale_y).clip(0, self.height_px)
        return Detections(boxes.astype(np.float32), found.scores, found.class_ids)
