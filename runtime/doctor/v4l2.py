"""What a V4L2 device says of itself: QUERYCAP, ENUM_FMT and ENUM_FRAMESIZES, without a library.

Numbers and structures are those of Linux' <linux/videodev2.h>, part of its stable interface.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CAPTURE, CAPTURE_MPLANE, DEVICE_CAPS = 0x1, 0x1000, 0x80000000
BUF_CAPTURE, BUF_CAPTURE_MPLANE = 1, 9
DISCRETE = 1
MAX_LISTED = 64  # formats, and sizes of each: a driver that never says "no more" ends here


def _request(number: int, size: int, direction: int) -> int:
    """_IOR (2) or _IOWR (3) of type 'V'; the same on x86-64 and aarch64."""
    return direction << 30 | size << 16 | ord("V") << 8 | number


QUERYCAP = _request(0, 104, 2)
ENUM_FMT = _request(2, 64, 3)
ENUM_FRAMESIZES = _request(74, 44, 3)


@dataclass(frozen=True)
class Device:
    """A capture device: its name, driver, and per format ("MJPG") the sizes, largest first."""

    name: str
    driver: str
    formats: dict[str, list[tuple[int, int]]]


def query(path: Path) -> Device | None:
    """Ask a device; None if it captures no pictures.  Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        raw = fcntl.ioctl(fd, QUERYCAP, bytes(104))
        driver, card = (
            raw[a : a + n].split(b"\0")[0].decode("utf-8", "replace")
            for a, n in ((0, 16), (16, 32))
        )
        everything, own = struct.unpack_from("<II", raw, 84)
        can = own if everything & DEVICE_CAPS else everything
        if not can & (CAPTURE | CAPTURE_MPLANE):
            return None
        kind = BUF_CAPTURE if can & CAPTURE else BUF_CAPTURE_MPLANE
        formats = {code: sorted(set(_sizes(fd, code)), reverse=True) for code in _formats(fd, kind)}
        return Device(card, driver, formats)
    finally:
        os.close(fd)


def _formats(fd: int, kind: int) -> Iterator[str]:
    for index in range(MAX_LISTED):
        try:
            raw = fcntl.ioctl(fd, ENUM_FMT, struct.pack("<II", index, kind) + bytes(56))
        except OSError:  # EINVAL: no more
            return
        yield raw[44:48].decode("latin-1")


def _sizes(fd: int, code: str) -> Iterator[tuple[int, int]]:
    """(width, height) in pixels; of a range its largest."""
    for index in range(MAX_LISTED):
        wanted = struct.pack("<I4s", index, code.encode("latin-1")) + bytes(36)
        try:
            raw = fcntl.ioctl(fd, ENUM_FRAMESIZES, wanted)
        except OSError:  # EINVAL: no more, ENOTTY: the driver does not list them
            return
        kind, *numbers = struct.unpack_from("<7I", raw, 8)
        yield (numbers[0], numbers[1]) if kind == DISCRETE else (numbers[1], numbers[4])
