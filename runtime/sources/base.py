"""Source: what a camera, stream or file looks like to the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from npud.errors import SourceError
from runtime.frame import Frame
from runtime.limits import MAX_PIXELS, MIN_SIDE_PX

DEFAULT_FPS = 30.0
CameraFormat = Literal["auto", "bgr", "nv12", "yuyv", "mjpeg"]


@dataclass(frozen=True)
class SourceOptions:
    """What the config asks of a source.

    size: (width, height) in pixels; fps: frames per second; loop: files start again at the end;
    format: what to deliver; timeout_s: how long opening, or a frame, may take; decoder: FFmpeg's.
    """

    size: tuple[int, int] | None = None
    fps: float | None = None
    loop: bool = False
    format: CameraFormat = "auto"
    timeout_s: float = 5.0
    decoder: str = ""


class Source(Protocol):
    """Frames one after another.

    live: the source sets the pace, and a failed one is worth opening again; otherwise (files) the
    caller paces by `fps`.
    """

    live: bool
    fps: float

    def read(self) -> Frame:
        """Block for the next picture; its `name` is the file's, where there is one.

        `captured_ns` is 0 where the source knows no better than "now"; camera and index are filled
        in by the caller.  Pixels that are not an array of their own (a view of the driver's
        buffer) are good until the next call.  Raises EndOfStream at the end of a file and
        SourceError where no picture comes.
        """
        ...

    def close(self) -> None:
        """Free the device or file; reading afterwards is an error."""
        ...


def check_size(shape: tuple[int, ...], what: str) -> None:
    """Refuse pictures too small to hold anything, or too large for a board's memory."""
    height, width = shape[:2]
    if min(width, height) < MIN_SIDE_PX or width * height > MAX_PIXELS:
        raise SourceError(
            f"{what}: expected a picture from {MIN_SIDE_PX}×{MIN_SIDE_PX} px up to 8K "
            f"({MAX_PIXELS / 1e6:.1f} megapixels), got {width}×{height} px"
        )
