"""A reader for the protocol-buffer wire format: bounded, no schema, no copies.

Enough to ask an ONNX file (and D-Robotics' .bin, which is one of the same kind) what it says about
itself, without a dependency.  Format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from npud.errors import ModelError
from runtime.models.bounds import MAX_CHANNELS, Budget, check_count

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
INT64 = 1 << 63


def fields(
    data: memoryview, budget: Budget | None = None
) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of one message: an int, or the bytes of a length-delimited field.

    Fixed-width fields come as their bytes.  Raises ModelError where the bytes are no message, or
    where the budget (one of its own, unless given) is spent.
    """
    budget = budget or Budget()
    at, end = 0, len(data)
    while at < end:
        budget.spend()
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


def messages(data: memoryview, number: int, budget: Budget) -> Iterator[memoryview]:
    """Yield the sub-messages with one field number."""
    for found, value in fields(data, budget):
        if found == number and isinstance(value, memoryview):
            yield value


def integers(value: int | memoryview, limit: int) -> list[int]:
    """A repeated integer field, packed or not, as signed 64-bit numbers; at most `limit`."""
    if isinstance(value, int):
        return [_signed(value)]
    numbers: list[int] = []
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(_signed(number))
        check_count(len(numbers), limit, "numbers in a row")
    return numbers


def floats(value: int | memoryview, budget: Budget) -> NDArray[np.float32]:
    """A repeated float field, packed or not: (n,) float32."""
    if isinstance(value, int) or len(value) % 4:
        raise ModelError("expected 32-bit floats, got something else")
    budget.numbers(len(value) // 4, MAX_CHANNELS)
    return np.frombuffer(value, "<f4").astype(np.float32)


def text(value: int | memoryview, budget: Budget | None = None) -> str:
    """The string in a field; undecodable bytes are replaced."""
    return (budget or Budget()).text(value) if isinstance(value, memoryview) else str(value)


def _signed(value: int) -> int:
    value &= 2 * INT64 - 1
    return value - 2 * INT64 if value >= INT64 else value


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
