"""Video4Linux2 by its ioctls: structures, numbers, and what a device says of itself.

Everything is declared as in Linux' <linux/videodev2.h>, part of its stable interface;
tests/test_v4l2.py holds it against the header of the machine.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator
from ctypes import c_char, c_int32, c_long, c_uint8, c_uint16, c_uint32, c_ulong, sizeof
from dataclasses import dataclass
from pathlib import Path

CAP_CAPTURE, CAP_CAPTURE_MPLANE, CAP_STREAMING, CAP_DEVICE_CAPS = 0x1, 0x1000, 0x4000000, 1 << 31
BUF_CAPTURE, BUF_CAPTURE_MPLANE, MEMORY_MMAP = 1, 9, 1
BUF_FLAG_ERROR, TIMESTAMP_MASK, TIMESTAMP_MONOTONIC = 0x40, 0xE000, 0x2000
DISCRETE = 1  # V4L2_FRMSIZE_TYPE_DISCRETE and V4L2_FRMIVAL_TYPE_DISCRETE
COLORSPACE_REC709, COLORSPACE_JPEG, YCBCR_ENC_709, QUANTIZATION_FULL = 3, 7, 2, 1
FIELD_NONE = 1  # whole pictures
MAX_PLANES = 8
MAX_LISTED = 64  # formats, and sizes of each: a driver that never says "no more" ends here


class Capability(ctypes.Structure):
    """struct v4l2_capability."""

    _fields_ = [
        ("driver", c_char * 16), ("card", c_char * 32), ("bus_info", c_char * 32),
        ("version", c_uint32), ("capabilities", c_uint32), ("device_caps", c_uint32),
        ("reserved", c_uint32 * 3),
    ]  # fmt: skip


class FormatDescription(ctypes.Structure):
    """struct v4l2_fmtdesc."""

    _fields_ = [
        ("index", c_uint32), ("type", c_uint32), ("flags", c_uint32), ("description", c_char * 32),
        ("pixelformat", c_uint32), ("mbus_code", c_uint32), ("reserved", c_uint32 * 3),
    ]  # fmt: skip


class FrameSize(ctypes.Structure):
    """struct v4l2_frmsizeenum; range: width, height, or min, max, step of both."""

    _fields_ = [
        ("index", c_uint32), ("pixelformat", c_uint32), ("type", c_uint32),
        ("range", c_uint32 * 6), ("reserved", c_uint32 * 2),
    ]  # fmt: skip


class FrameInterval(ctypes.Structure):
    """struct v4l2_frmivalenum; range: numerator, denominator in s of the (shortest) interval, …."""

    _fields_ = [
        ("index", c_uint32), ("pixelformat", c_uint32), ("width", c_uint32), ("height", c_uint32),
        ("type", c_uint32), ("range", c_uint32 * 6), ("reserved", c_uint32 * 2),
    ]  # fmt: skip


class PixFormat(ctypes.Structure):
    """struct v4l2_pix_format."""

    _fields_ = [
        (name, c_uint32)
        for name in (
            "width", "height", "pixelformat", "field", "bytesperline", "sizeimage", "colorspace",
            "priv", "flags", "ycbcr_enc", "quantization", "xfer_func",
        )
    ]  # fmt: skip


class PlanePixFormat(ctypes.Structure):
    """struct v4l2_plane_pix_format."""

    _pack_ = 1
    _fields_ = [("sizeimage", c_uint32), ("bytesperline", c_uint32), ("reserved", c_uint16 * 6)]


class PixFormatMplane(ctypes.Structure):
    """struct v4l2_pix_format_mplane."""

    _pack_ = 1
    _fields_ = [
        ("width", c_uint32), ("height", c_uint32), ("pixelformat", c_uint32), ("field", c_uint32),
        ("colorspace", c_uint32), ("plane_fmt", PlanePixFormat * MAX_PLANES),
        ("num_planes", c_uint8), ("flags", c_uint8), ("ycbcr_enc", c_uint8),
        ("quantization", c_uint8), ("xfer_func", c_uint8), ("reserved", c_uint8 * 7),
    ]  # fmt: skip


class _FormatUnion(ctypes.Union):
    _fields_ = [
        ("pix", PixFormat), ("mp", PixFormatMplane), ("raw", c_uint8 * 200),
        ("pointer", c_ulong),  # struct v4l2_window has pointers: the union is aligned like one
    ]  # fmt: skip


class Format(ctypes.Structure):
    """struct v4l2_format."""

    _fields_ = [("type", c_uint32), ("fmt", _FormatUnion)]


class CaptureParameters(ctypes.Structure):
    """struct v4l2_streamparm with its v4l2_captureparm; an interval in s as a fraction."""

    _fields_ = [
        ("type", c_uint32), ("capability", c_uint32), ("capturemode", c_uint32),
        ("numerator", c_uint32), ("denominator", c_uint32), ("rest", c_uint8 * 184),
    ]  # fmt: skip


class RequestBuffers(ctypes.Structure):
    """struct v4l2_requestbuffers."""

    _fields_ = [
        ("count", c_uint32), ("type", c_uint32), ("memory", c_uint32), ("capabilities", c_uint32),
        ("flags", c_uint8), ("reserved", c_uint8 * 3),
    ]  # fmt: skip


class Plane(ctypes.Structure):
    """struct v4l2_plane; offset is its m.mem_offset."""

    _fields_ = [
        ("bytesused", c_uint32), ("length", c_uint32), ("offset", c_ulong),
        ("data_offset", c_uint32), ("reserved", c_uint32 * 11),
    ]  # fmt: skip


class _Memory(ctypes.Union):
    _fields_ = [("offset", c_uint32), ("planes", ctypes.POINTER(Plane)), ("userptr", c_ulong)]


class Buffer(ctypes.Structure):
    """struct v4l2_buffer."""

    _fields_ = [
        ("index", c_uint32), ("type", c_uint32), ("bytesused", c_uint32), ("flags", c_uint32),
        ("field", c_uint32), ("seconds", c_long), ("microseconds", c_long),
        ("timecode", c_uint32 * 4), ("sequence", c_uint32), ("memory", c_uint32), ("m", _Memory),
        ("length", c_uint32), ("reserved2", c_uint32), ("request_fd", c_int32),
    ]  # fmt: skip


def _request(number: int, kind: type[ctypes.Structure] | type[c_int32], direction: int) -> int:
    """_IOW (1), _IOR (2) or _IOWR (3) of type 'V'; the same on x86-64 and aarch64."""
    return direction << 30 | sizeof(kind) << 16 | ord("V") << 8 | number


QUERYCAP = _request(0, Capability, 2)
ENUM_FMT = _request(2, FormatDescription, 3)
G_FMT, S_FMT = _request(4, Format, 3), _request(5, Format, 3)
REQBUFS = _request(8, RequestBuffers, 3)
QUERYBUF, QBUF, DQBUF = (_request(n, Buffer, 3) for n in (9, 15, 17))
STREAMON, STREAMOFF = _request(18, c_int32, 1), _request(19, c_int32, 1)
G_PARM, S_PARM = (_request(n, CaptureParameters, 3) for n in (21, 22))
ENUM_FRAMESIZES = _request(74, FrameSize, 3)
ENUM_FRAMEINTERVALS = _request(75, FrameInterval, 3)


@dataclass(frozen=True, order=True)
class Sizes:
    """A size that a device offers, or a range of them: the largest, the smallest, the steps."""

    largest: tuple[int, int]
    smallest: tuple[int, int]
    step: tuple[int, int] = (1, 1)

    def __contains__(self, size: tuple[int, int]) -> bool:
        return all(
            low <= n <= high and (n - low) % max(step, 1) == 0
            for n, low, high, step in zip(size, self.smallest, self.largest, self.step)
        )


@dataclass(frozen=True)
class Device:
    """A capture device: its name, driver, and per format ("MJPG") the sizes, largest first."""

    name: str
    driver: str
    mplane: bool
    streaming: bool
    formats: dict[str, list[Sizes]]


def buffer_type(device: Device) -> int:
    """The type of its buffers."""
    return BUF_CAPTURE_MPLANE if device.mplane else BUF_CAPTURE


def fourcc(code: str) -> int:
    """The number of a format such as "NV12"."""
    return int.from_bytes(code.encode("latin-1"), "little")


def code_of(number: int) -> str:
    """The format's four letters."""
    return number.to_bytes(4, "little").decode("latin-1")


def call(fd: int, request: int, argument: ctypes.Structure | c_int32) -> None:
    """ioctl; the answer is in the argument.  Raises OSError."""
    fcntl.ioctl(fd, request, argument, True)


def query(path: Path) -> Device | None:
    """Ask a device; None if it captures no pictures.  Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        return describe(fd)
    finally:
        os.close(fd)


def describe(fd: int) -> Device | None:
    """Ask an open device; None if it captures no pictures.  Raises OSError."""
    about = Capability()
    call(fd, QUERYCAP, about)
    can = about.device_caps if about.capabilities & CAP_DEVICE_CAPS else about.capabilities
    if not can & (CAP_CAPTURE | CAP_CAPTURE_MPLANE):
        return None
    mplane = not can & CAP_CAPTURE
    formats = {
        code: sorted(set(_sizes(fd, code)), reverse=True)
        for code in _formats(fd, BUF_CAPTURE_MPLANE if mplane else BUF_CAPTURE)
    }
    name, driver = (raw.decode("utf-8", "replace") for raw in (about.card, about.driver))
    return Device(name, driver, mplane, bool(can & CAP_STREAMING), formats)


def fastest(fd: int, code: str, size: tuple[int, int]) -> float:
    """The highest rate a device offers at a format and size, in frames per second; 0: unknown."""
    rates = [0.0]
    for index in range(MAX_LISTED):
        one = FrameInterval(index=index, pixelformat=fourcc(code), width=size[0], height=size[1])
        try:
            call(fd, ENUM_FRAMEINTERVALS, one)
        except OSError:  # EINVAL: no more, ENOTTY: the driver does not list them
            break
        if one.range[0]:
            rates.append(one.range[1] / one.range[0])
        if one.type != DISCRETE:
            break
    return max(rates)


def _formats(fd: int, kind: int) -> Iterator[str]:
    for index in range(MAX_LISTED):
        one = FormatDescription(index=index, type=kind)
        try:
            call(fd, ENUM_FMT, one)
        except OSError:  # EINVAL: no more
            return
        yield code_of(one.pixelformat)


def _sizes(fd: int, code: str) -> Iterator[Sizes]:
    for index in range(MAX_LISTED):
        one = FrameSize(index=index, pixelformat=fourcc(code))
        try:
            call(fd, ENUM_FRAMESIZES, one)
        except OSError:  # EINVAL: no more, ENOTTY: the driver does not list them
            return
        a = one.range
        if one.type != DISCRETE:
            yield Sizes((a[1], a[4]), (a[0], a[3]), (a[2], a[5]))
            return
        yield Sizes((a[0], a[1]), (a[0], a[1]))
