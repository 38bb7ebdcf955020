"""Frame: one picture of one camera, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from runtime.workers.ring import Slot

Format = Literal["bgr", "nv12", "yuyv"]
YuvRange = Literal["full", "video"]
YuvMatrix = Literal["bt601", "bt709"]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Pixels of one camera, uint8.

    format "bgr": (H, W, 3); "nv12": (H·3/2, W), luma, then U and V of every 2×2 pixels side by
    side, H and W even; "yuyv": (H, W, 2), Y U Y V for two pixels, W even.  The latter two
    have a yuv_range, 16..235 and 16..240 as cameras deliver, or 0..255, and a yuv_matrix.

    index counts the camera's captured frames from 0; captured_ns is wall-clock time (time.time_ns);
    name is the file the picture came from, where there is one; slot is the place of the pixels in
    shared memory, where they lie in one.
    """

    pixels: NDArray[np.uint8]
    camera: str = ""
    index: int = 0
    captured_ns: int = 0
    name: str = ""
    slot: Slot | None = None
    format: Format = "bgr"
    yuv_range: YuvRange = "video"
    yuv_matrix: YuvMatrix = "bt601"

    def release(self) -> None:
        """Give back the shared memory that the pixels lie in, if they do; use them no more."""
        if self.slot is not None:
            self.slot.release()

    @property
    def width_px(self) -> int:
        """Width of the picture in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height_px(self) -> int:
        """Height of the picture in pixels."""
        rows = int(self.pixels.shape[0])
        return rows * 2 // 3 if self.format == "nv12" else rows

    def bgr(self) -> NDArray[np.uint8]:
        """The picture as (H, W, 3) BGR: `pixels` themselves where they are that already."""
        if self.format == "bgr":
            return self.pixels
        from runtime.preprocess import to_bgr  # which imports this module

        return to_bgr(self)
