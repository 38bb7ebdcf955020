"""A reader for the protocol-buffer wire format: bounded, no schema, no copies.

Enough to ask an ONNX file (and D-Robotics' .bin, which is one of the same kind) what it says about
itself, without a dependency.  Format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

from npud.errors import ModelError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of one message: an int, or the bytes of a length-delimited field.

    Fixed-width fields come as their bytes.  Raises ModelError where the bytes are no message.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise ModelError("expected a protobuf field, got field number 0")
        if kind == VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == BYTES:
            size, at = _varint(data, at)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise ModelError(f"expected protobuf wire type 0, 1, 2 or 5, got {kind}")
        if size > end - at:
            raise ModelError(f"truncated: a field wants {size} bytes, {end - at} are left")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise ModelError("truncated: the file ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ModelError("expected a protobuf number, got more than 10 bytes of one")


def text(value: int | memoryview) -> str:
    """The string in a field; undecodable bytes are replaced."""
    return bytes(value).decode("utf-8", "replace") if isinstance(value, memoryview) else str(value)
