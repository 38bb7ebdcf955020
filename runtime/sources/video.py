"""Moving pictures through OpenCV: video files, RTSP and HTTP streams."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from npud.errors import EndOfStream, SourceError
from runtime.frame import Frame
from runtime.sources.base import DEFAULT_FPS, SourceOptions, check_size, masked


class _Capture:
    """cv2.VideoCapture with errors instead of silence."""

    def __init__(self, url: str, backend: int, parameters: list[int]) -> None:
        self.name = masked(url)
        target: str | int = int(url) if url.isdecimal() else url
        try:
            self.handle = cv2.VideoCapture(target, backend, parameters)
        except cv2.error as error:
            raise SourceError(f"{self.name}: cannot open: {error.err}") from None
        if not self.handle.isOpened():
            raise SourceError(f"{self.name}: cannot open: no video, or a codec OpenCV cannot read")

    def read(self) -> NDArray[np.uint8] | None:
        ok, pixels = self.handle.read()
        if not ok or pixels is None:
            return None
        check_size(pixels.shape, self.name)
        return np.asarray(pixels, np.uint8)

    def close(self) -> None:
        self.handle.release()


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
        self._url = url
        self._loop = options.loop
        self._capture = _Capture(url, cv2.CAP_FFMPEG, [])
        rate = float(self._capture.handle.get(cv2.CAP_PROP_FPS))
        self.fps = options.fps or (rate if 0 < rate <= 1000 else DEFAULT_FPS)
        self._count = 0

    def read(self) -> Frame:
        """Decode the next frame."""
        pixels = self._capture.read()
        if pixels is None and self._loop and self._count:
            self._capture.close()
            self._capture = _Capture(self._url, cv2.CAP_FFMPEG, [])
            pixels = self._capture.read()
        if pixels is None:
            raise EndOfStream(f"{self._url}: ended after {self._count} frames")
        self._count += 1
        return Frame(pixels)

    def close(self) -> None:
        """Close the file."""
        self._capture.close()


class Stream:
    """An RTSP, RTMP, UDP or HTTP stream, through FFmpeg, with deadlines."""

    live = True

    def __init__(self, url: str, options: SourceOptions) -> None:
        timeout_ms = round(options.timeout_s * 1000)
        parameters = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms]
        parameters += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
        self._timeout_s = options.timeout_s
        self._capture = _Capture(url, cv2.CAP_FFMPEG, parameters)
        self.fps = options.fps or DEFAULT_FPS

    def read(self) -> Frame:
        """Wait for the next frame, at most the timeout."""
        pixels = self._capture.read()
        if pixels is None:
            raise SourceError(
                f"{self._capture.name}: the stream ended or gave nothing for {self._timeout_s:g} s"
            )
        return Frame(pixels)

    def close(self) -> None:
        """Disconnect."""
        self._capture.close()
