"""V4L2 cameras: /dev/videoN, /dev/v4l/by-id/…; pixels as the driver wrote them, with its time."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import select
import time
from ctypes import c_int32
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npud.errors import SourceError
from runtime import v4l2
from runtime.frame import Format, Frame
from runtime.image_decode import decode_image, header_size
from runtime.sources.base import SourceOptions
from runtime.sources.device_mode import CODES, agree

FORMATS: dict[str, Format] = {"NV12": "nv12", "NM12": "nv12", "YUYV": "yuyv"}  # else "bgr"
BUFFERS = 4  # one is lent to the caller, the driver fills the others
JPEG_BLOCK = 16  # a camera may state whole blocks, as 1088 rows for 1080
OLDEST_NS = 60 * 10**9  # a driver's time that is further away than this is no time
REASONS = {
    errno.EACCES: "permission denied; add the user to the group `video`",
    errno.EBUSY: "in use by another program",
    errno.ENODEV: "the device is gone (unplugged?)",
    errno.EIO: "the device reports an error (EIO)",
    errno.ENOTTY: "expected a V4L2 device, got something else",
}
Memory = list[mmap.mmap]


class Device:
    """A V4L2 camera; raises SourceError with what it offers where that is not what was asked."""

    live = True

    def __init__(self, url: str, options: SourceOptions) -> None:
        self.name = f"/dev/video{url}" if url.isdecimal() else url
        self._timeout_s = options.timeout_s
        self._buffers: list[Memory] = []
        self._lent: int | None = None
        self._kind = v4l2.BUF_CAPTURE
        try:
            self._fd = os.open(self.name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _explained(self.name, error) from None
        try:
            self._open(options)
        except OSError as error:
            self.close()
            raise _explained(self.name, error) from None
        except SourceError:
            self.close()
            raise

    def read(self) -> Frame:
        """Wait for the next whole picture; its pixels are the driver's, and good until the next.

        Raises SourceError when there is none within the timeout, and when the device fails.
        """
        deadline = time.monotonic() + self._timeout_s
        damaged = 0
        try:
            if self._lent is not None:
                self._queue(self._lent)
                self._lent = None
            while True:
                buffer = self._dequeue(deadline, damaged)
                self._lent = int(buffer.index)
                frame = self._frame(buffer)
                if frame is not None:
                    return frame
                damaged += 1
                self._queue(self._lent)
                self._lent = None
        except OSError as error:
            raise _explained(self.name, error) from None

    def close(self) -> None:
        """Give the device back."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            v4l2.call(self._fd, v4l2.STREAMOFF, c_int32(self._kind))
        for memory in (m for buffer in self._buffers for m in buffer):
            with contextlib.suppress(BufferError):  # a frame is still held: it goes with that
                memory.close()
        self._buffers = []
        os.close(self._fd)
        self._fd = -1

    def _open(self, options: SourceOptions) -> None:
        device = v4l2.describe(self._fd)
        if device is None or not device.streaming:
            raise SourceError(f"{self.name}: expected a camera, it captures no pictures")
        self._mplane, self._kind = device.mplane, v4l2.buffer_type(device)
        self._mode = agree(self.name, self._fd, device, options)
        self.fps = self._mode.fps
        self._map()
        v4l2.call(self._fd, v4l2.STREAMON, c_int32(self._kind))

    def _map(self) -> None:
        request = v4l2.RequestBuffers(count=BUFFERS, type=self._kind, memory=v4l2.MEMORY_MMAP)
        v4l2.call(self._fd, v4l2.REQBUFS, request)
        if request.count < 2:
            raise SourceError(f"{self.name}: expected {BUFFERS} buffers, got {request.count}")
        for index in range(request.count):
            buffer = self._buffer(index)
            v4l2.call(self._fd, v4l2.QUERYBUF, buffer)
            spans = [(int(buffer.length), int(buffer.m.offset))]
            if self._mplane:
                spans = [(int(p.length), int(p.offset)) for p in buffer.m.planes[: buffer.length]]
            self._buffers.append([mmap.mmap(self._fd, n, offset=offset) for n, offset in spans])
        for index in range(request.count):
            self._queue(index)

    def _buffer(self, index: int = 0) -> v4l2.Buffer:
        buffer = v4l2.Buffer(index=index, type=self._kind, memory=v4l2.MEMORY_MMAP)
        if self._mplane:
            buffer.m.planes = (v4l2.Plane * v4l2.MAX_PLANES)()
            buffer.length = v4l2.MAX_PLANES
        return buffer

    def _queue(self, index: int) -> None:
        buffer = self._buffer(index)
        if self._mplane:
            buffer.length = len(self._buffers[index])
        v4l2.call(self._fd, v4l2.QBUF, buffer)

    def _dequeue(self, deadline: float, damaged: int) -> v4l2.Buffer:
        """Wait for a filled buffer."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            for _, event in poll.poll(left * 1000):
                if not event & select.POLLIN:  # POLLERR, POLLHUP: not streaming any more
                    raise OSError(errno.ENODEV, "")
                buffer = self._buffer()
                with contextlib.suppress(BlockingIOError):
                    v4l2.call(self._fd, v4l2.DQBUF, buffer)
                    return buffer
        what = f"only damaged frames ({damaged})" if damaged else "no frame"
        raise SourceError(f"{self.name}: {what} from the device for {self._timeout_s:g} s")

    def _frame(self, buffer: v4l2.Buffer) -> Frame | None:
        """The picture in a buffer; None for a damaged one."""
        memory = self._buffers[buffer.index]
        spans = [(0, int(buffer.bytesused))]
        if self._mplane:
            planes = buffer.m.planes[: len(memory)]
            spans = [(int(p.data_offset), int(p.bytesused)) for p in planes]
        if buffer.flags & v4l2.BUF_FLAG_ERROR:
            return None
        if self._mode.code in CODES["mjpeg"]:
            pixels = _decoded(memory[0], spans[0], self._mode.size)
        else:
            pixels = self._pixels(memory, spans)
        if pixels is None:
            return None
        return Frame(
            pixels,
            captured_ns=_captured_ns(buffer),
            format=FORMATS.get(self._mode.code, "bgr"),
            yuv_range=self._mode.yuv_range,
            yuv_matrix=self._mode.yuv_matrix,
        )

    def _pixels(self, memory: Memory, spans: list[tuple[int, int]]) -> NDArray[np.uint8] | None:
        """A view of the driver's memory, rows a stride apart; None where it holds too little."""
        (width, height), strides = self._mode.size, self._mode.strides
        if self._mode.code == "NM12":
            luma = _rows(memory[0], spans[0], (height, width), strides[0])
            chroma = _rows(memory[1], spans[1], (height // 2, width), strides[1])
            return None if luma is None or chroma is None else np.concatenate([luma, chroma])
        shape: tuple[int, ...] = (height * 3 // 2, width)
        if self._mode.code != "NV12":
            shape = (height, width, 2 if self._mode.code == "YUYV" else 3)
        return _rows(memory[0], spans[0], shape, strides[0])


def _rows(
    memory: mmap.mmap, span: tuple[int, int], shape: tuple[int, ...], stride: int
) -> NDArray[np.uint8] | None:
    """(rows, …) of a plane whose rows are `stride` bytes apart; None if it is not all there."""
    start, end = span
    row = int(np.prod(shape[1:]))
    stride = max(stride, row)
    if start + stride * (shape[0] - 1) + row > min(end, len(memory)):
        return None
    strides = (stride, shape[2], 1) if len(shape) == 3 else (stride, 1)
    rows: NDArray[np.uint8] = np.ndarray(shape, np.uint8, memory, start, strides)
    return rows


def _decoded(
    memory: mmap.mmap, span: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """The JPEG in a buffer as BGR; None where it is damaged, or larger than the agreed mode."""
    start, end = span
    data = np.frombuffer(memory, np.uint8, max(0, min(end, len(memory)) - start), start)
    width, height = header_size(data) or size
    if width > size[0] + JPEG_BLOCK or height > size[1] + JPEG_BLOCK:
        return None
    with contextlib.suppress(SourceError):
        return decode_image(data, "MJPEG")
    return None


def _captured_ns(buffer: v4l2.Buffer) -> int:
    """The driver's time on the wall clock; 0 where it is of no clock that we know."""
    if buffer.flags & v4l2.TIMESTAMP_MASK != v4l2.TIMESTAMP_MONOTONIC:
        return 0
    age_ns = time.monotonic_ns() - (buffer.seconds * 10**9 + buffer.microseconds * 1000)
    return time.time_ns() - int(age_ns) if 0 <= age_ns < OLDEST_NS else 0


def _explained(name: str, error: OSError) -> SourceError:
    if error.errno in (errno.ENOENT, errno.ENXIO):
        there = sorted(str(p) for p in Path("/dev/v4l/by-id").glob("*"))
        listed = f"; there are {', '.join(there)}" if there else ""
        return SourceError(f"{name}: expected a V4L2 device: no such device{listed}")
    reason = REASONS.get(error.errno or 0, error.strerror or str(error))
    return SourceError(f"{name}: {reason}")
