"""Frame: one picture of one camera, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Pixels (H, W, 3) uint8 BGR of one camera.

    index counts the camera's captured frames from 0; captured_ns is wall-clock time (time.time_ns);
    name is the file the picture came from, where there is one.
    """

    pixels: NDArray[np.uint8]
    camera: str = ""
    index: int = 0
    captured_ns: int = 0
    name: str = ""

    @property
    def width_px(self) -> int:
        """Width of the picture in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height_px(self) -> int:
        """Height of the picture in pixels."""
        return int(self.pixels.shape[0])
