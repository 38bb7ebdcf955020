"""Images decoded, once their headers say that they are no larger than a picture may be.

631 bytes of JPEG can claim 30000×30000 px, and OpenCV then takes 5 GB.  The sizes of JPEG and PNG
are read here; for all formats the command line tells OpenCV the same limit before it is loaded.

JPEG: ITU T.81, B.1.1.3 and B.2.2; PNG: W3C, Portable Network Graphics, 11.2.1.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from npud.errors import SourceError
from runtime.limits import MAX_PIXELS
from runtime.sources.base import check_size

PNG = b"\x89PNG\r\n\x1a\n"
# start of frame, the marker before a picture's size; C4, C8 and CC among them are something else
SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})  # markers without a length


def decode_image(data: NDArray[np.uint8], what: str) -> NDArray[np.uint8]:
    """An image file's (n,) bytes as (H, W, 3) BGR, upright as its EXIF data says.

    Raises SourceError, which begins with `what`, for what is no image or too large.
    """
    if size := header_size(data):
        check_size((size[1], size[0]), what)
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in str(error.err):
            raise SourceError(
                f"{what}: expected a picture up to 8K ({MAX_PIXELS / 1e6:.1f} megapixels), got a "
                "larger one"
            ) from None
        raise SourceError(f"{what}: expected an image: {error.err}") from None
    if pixels is None:
        raise SourceError(
            f"{what}: expected a JPEG, PNG, BMP, WebP or TIFF image, cannot decode it"
        )
    check_size(pixels.shape, what)
    return np.asarray(pixels, np.uint8)


def header_size(data: NDArray[np.uint8]) -> tuple[int, int] | None:
    """(width, height) in px as a JPEG or PNG states it; None where it does not."""
    view = data.data
    if bytes(view[:8]) == PNG and len(view) >= 24:
        return int.from_bytes(view[16:20], "big"), int.from_bytes(view[20:24], "big")
    return _jpeg_size(view) if bytes(view[:2]) == b"\xff\xd8" else None


def _jpeg_size(view: memoryview) -> tuple[int, int] | None:
    """The largest size that any of the frame headers states: a decoder may take either."""
    largest: tuple[int, int] | None = None
    at = 2
    while at + 9 <= len(view):
        if view[at] != 0xFF or view[at + 1] == 0xDA:  # not a marker, or the picture begins
            break
        marker = view[at + 1]
        if marker == 0xFF or marker in ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in SOF:
            height, width = (int.from_bytes(view[at + n : at + n + 2], "big") for n in (5, 7))
            largest = max(largest or (0, 0), (width, height), key=lambda s: s[0] * s[1])
        at += 2 + max(2, int.from_bytes(view[at + 2 : at + 4], "big"))
    return largest
