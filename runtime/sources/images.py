"""Pictures from files: one image, a directory, or a glob."""

from __future__ import annotations

import glob
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from npud.errors import EndOfStream, SourceError
from runtime.frame import Frame
from runtime.image_decode import decode_image
from runtime.limits import MAX_IMAGE_BYTES
from runtime.sources import IMAGE_SUFFIXES
from runtime.sources.base import DEFAULT_FPS, SourceOptions


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file to (H, W, 3) uint8 BGR, turned upright as its EXIF data says."""
    try:
        size = path.stat().st_size
        if size > MAX_IMAGE_BYTES:
            raise SourceError(
                f"{path}: expected an image of at most {MAX_IMAGE_BYTES >> 20} MiB, "
                f"got {size >> 20} MiB"
            )
        data = np.fromfile(path, np.uint8, MAX_IMAGE_BYTES)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    return decode_image(data, str(path))


def write_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Encode (H, W, 3) uint8 BGR into a file, in the format of its suffix."""
    try:
        ok, data = cv2.imencode(path.suffix, pixels)
        np.asarray(data).tofile(path)
    except (cv2.error, OSError) as error:
        raise SourceError(f"{path}: cannot write: {error}") from None
    if not ok:
        raise SourceError(f"{path}: cannot write an image as {path.suffix}")


def list_images(url: str) -> list[Path]:
    """The image files an image path, directory or glob stands for, sorted by name."""
    path = Path(url)
    if path.is_dir():
        found = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
        if not found:
            raise SourceError(f"{url}: expected a directory with images, found none in it")
    elif path.exists() or not glob.has_magic(url):
        found = [path]
    else:
        found = [Path(name) for name in glob.glob(url, recursive=True) if Path(name).is_file()]
        if not found:
            raise SourceError(f"{url}: expected files matching this pattern, found none")
    return sorted(found)


class Images:
    """Image files as the frames of a camera, in name order."""

    live = False

    def __init__(self, url: str, options: SourceOptions) -> None:
        self.fps = options.fps or DEFAULT_FPS
        self._loop = options.loop
        self._url = url
        self._paths = list_images(url)
        self._next = 0
        read_image(self._paths[0])  # a wrong path is an error now, not at the first frame

    def read(self) -> Frame:
        """Decode the next file; an unreadable one raises SourceError and is passed over."""
        if self._next >= len(self._paths):
            if not self._loop:
                raise EndOfStream(f"{self._url}: ended after {len(self._paths)} images")
            self._next = 0
        path = self._paths[self._next]
        self._next += 1
        return Frame(read_image(path), name=str(path))

    def close(self) -> None:
        """Nothing is held open."""
