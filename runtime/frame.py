"""Frame: one picture of one camera, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from runtime.workers.ring import Slot


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Pixels (H, W, 3) uint8 BGR of one camera.

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
        return int(self.pixels.shape[0])
