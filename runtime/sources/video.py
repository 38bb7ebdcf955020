"""Video files, RTSP and HTTP streams: through PyAV where it is installed, else through OpenCV."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from npud.errors import EndOfStream, SourceError
from runtime.frame import Frame
from runtime.masking import masked
from runtime.sources.base import DEFAULT_FPS, SourceOptions, check_size


class Reader(Protocol):
    """Frames of a file or stream; fps is 0 where nobody says."""

    fps: float

    def read(self) -> Frame | None:
        """The next frame; None at the end."""
        ...

    def close(self) -> None:
        """Close the file or disconnect."""
        ...


class OpenCvReader:
    """cv2.VideoCapture: BGR, and errors instead of silence."""

    def __init__(self, url: str, options: SourceOptions, *, live: bool) -> None:
        self._name = masked(url)
        timeout_ms = round(options.timeout_s * 1000)
        parameters = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms]
        parameters += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
        try:
            self._handle = cv2.VideoCapture(url, cv2.CAP_FFMPEG, parameters if live else [])
        except cv2.error as error:
            raise SourceError(f"{self._name}: cannot open: {error.err}") from None
        if not self._handle.isOpened():
            raise SourceError(f"{self._name}: cannot open: no video, or a codec OpenCV cannot read")
        self.fps = float(self._handle.get(cv2.CAP_PROP_FPS))

    def read(self) -> Frame | None:
        """The next frame; None at the end."""
        ok, pixels = self._handle.read()
        if not ok or pixels is None:
            return None
        check_size(pixels.shape, self._name)
        return Frame(np.asarray(pixels, np.uint8))

    def close(self) -> None:
        """Close the file or disconnect."""
        self._handle.release()


def open_reader(url: str, options: SourceOptions, *, live: bool) -> Reader:
    """Open a file or stream; raises SourceError."""
    if options.format not in ("auto", "bgr", "nv12"):
        raise SourceError(
            f'{masked(url)}: expected format "auto", "bgr" or "nv12" for a stream or video, '
            f'got "{options.format}"'
        )
    if find_spec("av") is not None:
        from runtime.sources.pyav import Reader as AvReader

        return AvReader(url, options, live=live)
    asked = f'format "{options.format}"' if options.format == "nv12" else ""
    asked = f'decoder "{options.decoder}"' if options.decoder else asked
    if asked:
        raise SourceError(
            f"{masked(url)}: {asked} needs PyAV, which is not installed: pip install 'npud[video]'"
        )
    return OpenCvReader(url, options, live=live)


class VideoFile:
    """A video file, paced by the caller at its own frame rate unless the config says another."""

    live = False

    def __init__(self, url: str, options: SourceOptions) -> None:
        if not Path(url).is_file():
            raise SourceError(
                f"{url}: expected a video, an image, a directory or a device: no such file"
            )
        if not os.access(url, os.R_OK):
            raise SourceError(f"{url}: permission denied")
        self._url, self._options = url, options
        self._reader = open_reader(url, options, live=False)
        rate = self._reader.fps
        self.fps = options.fps or (rate if 0 < rate <= 1000 else DEFAULT_FPS)
        self._count = 0

    def read(self) -> Frame:
        """Decode the next frame."""
        frame = self._reader.read()
        if frame is None and self._options.loop and self._count:
            self._reader.close()
            self._reader = open_reader(self._url, self._options, live=False)
            frame = self._reader.read()
        if frame is None:
            raise EndOfStream(f"{self._url}: ended after {self._count} frames")
        self._count += 1
        return frame

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class Stream:
    """An RTSP, RTMP, UDP or HTTP stream, with deadlines."""

    live = True

    def __init__(self, url: str, options: SourceOptions) -> None:
        self._name, self._timeout_s = masked(url), options.timeout_s
        self._reader = open_reader(url, options, live=True)
        self.fps = options.fps or DEFAULT_FPS

    def read(self) -> Frame:
        """Wait for the next frame, at most the timeout."""
        frame = self._reader.read()
        if frame is None:
            raise SourceError(
                f"{self._name}: the stream ended or gave nothing for {self._timeout_s:g} s"
            )
        return frame

    def close(self) -> None:
        """Disconnect."""
        self._reader.close()
