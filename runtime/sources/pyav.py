"""Streams and videos through PyAV (FFmpeg): the decoder's planes as NV12, times, any decoder."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from npud.errors import SourceError
from runtime.frame import Frame, YuvMatrix, YuvRange
from runtime.limits import MAX_PIXELS
from runtime.masking import masked
from runtime.sources.base import SourceOptions, check_size

DRIFT = 1e-3  # a sender's clock may run so much slower than ours
JUMP_S = 2.0  # later than this, the sender has begun to count anew
# Over TCP no packet is lost; a server that has only UDP is asked for that next.  FFmpeg would look
# at 20 frames and more before it gives the first: those would be as old when they are given.
RTSP = {"rtsp_flags": "prefer_tcp", "fpsprobesize": "0", "analyzeduration": "500000"}
BOUNDS = {"max_pixels": str(MAX_PIXELS)}  # a stream that grows beyond gives no frames
BT709, FULL = 1, 2  # AVCOL_SPC_BT709, AVCOL_RANGE_JPEG


class Reader:
    """Decodes the first video stream of a URL; raises SourceError.

    live: opening, and every frame, have options.timeout_s, and frames carry the time at which
    they were sent, as far as it can be known here.
    """

    def __init__(self, url: str, options: SourceOptions, *, live: bool) -> None:
        self._name, self._options, self._live = masked(url), options, live
        self._clock, self._begin = Clock(), time.monotonic()
        self._ready: deque[Any] = deque()
        timeout = (options.timeout_s, options.timeout_s) if live else None
        rtsp = RTSP if url.startswith(("rtsp:", "rtsps:")) else {}
        try:
            self._container = av.open(url, timeout=timeout, options=rtsp)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"{self._name}: cannot open: {self._reason(error)}") from None
        try:
            self._setup()
        except SourceError:
            self.close()
            raise

    def read(self) -> Frame | None:
        """The next frame; None at the end."""
        self._begin = time.monotonic()
        deadline = self._begin + self._options.timeout_s
        while not self._ready:
            try:
                packet = next(self._packets, None)
            except (av.FFmpegError, OSError) as error:
                raise SourceError(f"{self._name}: {self._reason(error)}") from None
            if packet is None:
                return None
            with contextlib.suppress(av.FFmpegError):  # damaged: frames that need it are missing
                self._ready.extend(self._decoder.decode(packet))
            if self._live and not self._ready and time.monotonic() > deadline:
                raise SourceError(
                    f"{self._name}: nothing to decode for {self._options.timeout_s:g} s"
                )
        return self._frame(self._ready.popleft())

    def close(self) -> None:
        """Close the file or disconnect."""
        self._ready.clear()
        self._container.close()

    def _setup(self) -> None:
        if not self._container.streams.video:
            raise SourceError(f"{self._name}: cannot open: it has no video")
        stream = self._container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate
        self.fps = float(rate) if rate else 0.0
        self._decoder: Any = stream.codec_context
        if self._decoder is None:
            raise SourceError(f"{self._name}: cannot open: a codec FFmpeg cannot read")
        if self._decoder.width and self._decoder.height:
            check_size((self._decoder.height, self._decoder.width), self._name)
        if self._options.decoder:
            self._decoder = self._chosen(stream, self._options.decoder)
        else:  # whole frames in parallel are faster, but come later
            self._decoder.thread_type = "SLICE" if self._live else "AUTO"
            self._decoder.options.update(BOUNDS)
        self._packets: Iterator[Any] = self._container.demux(stream)

    def _chosen(self, stream: Any, decoder: str) -> Any:
        """The decoder of this name, with the stream's headers."""
        codec = stream.codec_context.codec.canonical_name
        try:
            chosen = av.CodecContext.create(decoder, "r")
            if chosen.codec.canonical_name != codec:
                raise SourceError(f"{self._name}: decoder {decoder} does not read {codec}")
            chosen.options.update(BOUNDS)
            chosen.extradata = stream.codec_context.extradata
            chosen.open()
        except (av.FFmpegError, ValueError) as error:
            reason = (
                getattr(error, "strerror", None) or str(error) or "FFmpeg here does not have it"
            )
            raise SourceError(f"{self._name}: decoder {decoder}: {reason}") from None
        return chosen

    def _frame(self, picture: Any) -> Frame:
        check_size((picture.height, picture.width), self._name)
        times = self._clock.captured_ns(picture.time) if self._live else 0
        wanted, name = self._options.format, picture.format.name
        turned = round(getattr(picture, "rotation", 0) / 90) % 4
        as_is = name in ("nv12", "yuv420p", "yuvj420p")
        if picture.width % 2 or picture.height % 2 or turned:
            wanted = "bgr"
        if wanted == "bgr" or (wanted == "auto" and not as_is):
            pixels = picture.to_ndarray(format="bgr24")
            if turned:
                pixels = np.ascontiguousarray(np.rot90(pixels, turned))
            return Frame(pixels, captured_ns=times)
        if not as_is:
            picture = picture.reformat(format="nv12")
        yuv_range: YuvRange = "full" if picture.color_range == FULL or "j" in name else "video"
        matrix: YuvMatrix = "bt709" if picture.colorspace == BT709 else "bt601"
        return Frame(
            nv12(picture), captured_ns=times, format="nv12", yuv_range=yuv_range, yuv_matrix=matrix
        )

    def _reason(self, error: Exception) -> str:
        if self._live and time.monotonic() - self._begin >= self._options.timeout_s:
            return f"no answer for {self._options.timeout_s:g} s"
        return getattr(error, "strerror", None) or type(error).__name__  # never the URL's password


class Clock:
    """Times of capture from a stream's own: the earliest arrival says how late the others are."""

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._last_s = 0.0

    def captured_ns(self, sent_s: float | None) -> int:
        """When the frame that the sender counts at sent_s was taken; never later than now."""
        now_ns = time.time_ns()
        if sent_s is None:
            return now_ns
        offset = now_ns / 1e9 - sent_s
        if self._offset_s is None or abs(offset - self._offset_s) > JUMP_S:
            self._offset_s = offset
        else:
            passed = max(0.0, sent_s - self._last_s)
            self._offset_s = min(offset, self._offset_s + DRIFT * passed)
        self._last_s = sent_s
        return min(now_ns, now_ns - round((offset - self._offset_s) * 1e9))


def nv12(picture: Any) -> NDArray[np.uint8]:
    """The planes of a decoded picture (nv12 or yuv420p) as (H·3/2, W), no value changed."""
    height, width = picture.height, picture.width
    planes = [np.frombuffer(p, np.uint8).reshape(-1, p.line_size) for p in picture.planes]
    out = np.empty((height * 3 // 2, width), np.uint8)
    out[:height] = planes[0][:height, :width]
    if len(planes) == 2:
        out[height:] = planes[1][: height // 2, :width]
    else:
        chroma = out[height:].reshape(height // 2, width // 2, 2)
        for i, plane in enumerate(planes[1:]):
            chroma[..., i] = plane[: height // 2, : width // 2]
    return out
