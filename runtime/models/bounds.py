"""What a model file may cost to read: every reader counts against these bounds.

Real files stay far below (a YOLO's ONNX: 5,000 fields, 250 nodes, 100 KB of names); a file above
them is refused, so that a damaged or hostile one ends in a ModelError within a second and without
more than 100 MB beside the file's own mapped pages.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from npud.errors import ModelError

MAX_FIELDS = 200_000  # protobuf fields, flatbuffer tables
MAX_TEXT = 1 << 20  # bytes of one string
MAX_ALL_TEXT = 1 << 23  # bytes of all strings
MAX_TENSORS = 256  # inputs, and outputs
MAX_DIMENSIONS = 8
MAX_SIDE = (1 << 31) - 1  # of one dimension
MAX_CHANNELS = 1 << 16  # scales of one tensor
MAX_NUMBERS = 1 << 20  # in all vectors of numbers
MAX_NODES = 8192  # operations of a flatbuffer graph
MAX_LITERAL = 1 << 18  # characters of a JSON or Python literal

T = TypeVar("T")


class Budget:
    """What one file may still cost."""

    def __init__(self) -> None:
        self._fields = MAX_FIELDS
        self._text = MAX_ALL_TEXT
        self._numbers = MAX_NUMBERS

    def spend(self) -> None:
        """Count one field; raises ModelError where there are too many."""
        self._fields -= 1
        if self._fields < 0:
            raise ModelError(f"expected at most {MAX_FIELDS} fields, got more")

    def numbers(self, count: int, limit: int) -> None:
        """Count a vector; raises ModelError for more numbers than `limit`, or too many in all."""
        check_count(count, limit, "numbers in a row")
        self._numbers -= count
        if self._numbers < 0:
            raise ModelError(f"expected at most {MAX_NUMBERS} numbers in all, got more")

    def text(self, value: memoryview) -> str:
        """The bytes as UTF-8, undecodable ones replaced; raises ModelError where it is too long."""
        if len(value) > MAX_TEXT:
            raise ModelError(f"expected at most {MAX_TEXT} bytes of text, got {len(value)}")
        self._text -= len(value)
        if self._text < 0:
            raise ModelError(f"expected at most {MAX_ALL_TEXT} bytes of text in all, got more")
        return bytes(value).decode("utf-8", "replace")


def read_file(path: Path, what: str, read: Callable[[memoryview], T]) -> T:
    """Apply `read` to the mapped bytes; its ModelErrors get the file's name and `what` it is not.

    Raises OSError where the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return read(memoryview(data))
    except ModelError as error:
        raise ModelError(f"model {path}: expected {what}: {error}") from None
    except ValueError:  # mmap of an empty file
        raise ModelError(f"model {path}: expected {what}, got an empty one") from None


def check_count(count: int, limit: int, what: str) -> int:
    """Return count; raises ModelError where there are more than `limit` of `what`."""
    if count > limit:
        raise ModelError(f"expected at most {limit} {what}, got {count}")
    return count


def check_shape(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """Return shape; raises ModelError for too many dimensions, negative or absurd ones."""
    check_count(len(shape), MAX_DIMENSIONS, f"dimensions of {name}")
    for side in shape:
        if not 0 <= side <= MAX_SIDE:
            raise ModelError(f"expected dimensions of 0 to {MAX_SIDE} in {name}, got {side}")
    return shape
