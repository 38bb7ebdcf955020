"""A reader for FlatBuffers: bounded, no schema, no copies.

Every access is checked against the buffer and every vector has a limit.  Nothing is followed by
itself: a caller reads a fixed number of levels, so offsets that form a cycle cost nothing.
Format: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from npud.errors import ModelError
from runtime.models.bounds import Budget

U8, U16, U32, I32 = (struct.Struct(form) for form in ("<B", "<H", "<I", "<i"))


def root(data: memoryview, identifier: bytes, budget: Budget) -> Table:
    """The root table of a buffer with this file identifier (4 bytes at offset 4)."""
    got = bytes(data[4:8])
    if got != identifier:
        raise ModelError(f"expected the flatbuffer identifier {identifier!r}, got {got!r}")
    return Table(data, _number(data, U32, 0), budget)


class Table:
    """One table; a slot is the field's number in the schema, counted from 0.

    A slot that the table does not have is 0, "" or empty, as the format says.  Raises ModelError
    where an offset leaves the buffer.
    """

    def __init__(self, data: memoryview, at: int, budget: Budget) -> None:
        budget.spend()
        self._data, self._at, self._budget = data, at, budget
        self._vtable = at - _number(data, I32, at)
        self._size = _number(data, U16, self._vtable)

    def byte(self, slot: int) -> int:
        """An 8-bit unsigned number."""
        return self._scalar(slot, U8)

    def integer(self, slot: int) -> int:
        """A 32-bit signed number."""
        return self._scalar(slot, I32)

    def text(self, slot: int) -> str:
        """A string."""
        at, count = self._vector(slot, 1)
        return self._budget.text(self._data[at : at + count])

    def integers(self, slot: int, limit: int) -> NDArray[np.int32]:
        """A vector of 32-bit signed numbers, (n,)."""
        at, count = self._vector(slot, 4)
        self._budget.numbers(count, limit)
        return np.frombuffer(self._data[at : at + 4 * count], "<i4").astype(np.int32)

    def floats(self, slot: int, limit: int) -> NDArray[np.float32]:
        """A vector of 32-bit floats, (n,)."""
        at, count = self._vector(slot, 4)
        self._budget.numbers(count, limit)
        return np.frombuffer(self._data[at : at + 4 * count], "<f4").astype(np.float32)

    def count(self, slot: int) -> int:
        """The length of a vector of tables."""
        return self._vector(slot, 4)[1]

    def table(self, slot: int, index: int) -> Table:
        """The index-th table of a vector of tables."""
        at, count = self._vector(slot, 4)
        if not 0 <= index < count:
            raise ModelError(f"expected an index below {count}, got {index}")
        at += 4 * index
        return Table(self._data, at + _number(self._data, U32, at), self._budget)

    def _field(self, slot: int) -> int:
        """Where a slot's value is, 0 where the table has none."""
        entry = 4 + 2 * slot
        if entry + 2 > self._size:
            return 0
        offset = _number(self._data, U16, self._vtable + entry)
        return self._at + offset if offset else 0

    def _scalar(self, slot: int, form: struct.Struct) -> int:
        at = self._field(slot)
        return _number(self._data, form, at) if at else 0

    def _vector(self, slot: int, width: int) -> tuple[int, int]:
        """Where a vector's elements begin, and how many there are; they lie in the buffer."""
        at = self._field(slot)
        if not at:
            return 0, 0
        at += _number(self._data, U32, at)
        count = _number(self._data, U32, at)
        at += 4
        if count * width > len(self._data) - at:
            raise ModelError(f"truncated: a vector wants {count} elements of {width} bytes")
        return at, count


def _number(data: memoryview, form: struct.Struct, at: int) -> int:
    if not 0 <= at <= len(data) - form.size:
        raise ModelError(f"expected an offset inside {len(data)} bytes, got {at}")
    number: int = form.unpack_from(data, at)[0]
    return number
