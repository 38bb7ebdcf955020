"""Reading the fields of a received message: every key is there and has its type, or it says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from npud.errors import SubscribeError

_INT32_MAX = 2**31 - 1
_SHOWN = 60  # characters of a wrong value that an error message shows


class Fields:
    """The unpacked map of one message; each method returns one key's value, checked.

    Raises SubscribeError naming topic and key, what was expected and what came.  Keys that
    nobody asks for are ignored: that is how fields can be added to the format.
    """

    __slots__ = ("_values", "_where")

    def __init__(self, topic: str, values: object, inside: str = "") -> None:
        self._where = (topic, inside)
        if not isinstance(values, dict):
            refuse(topic, inside or "(the whole message)", "a map", values)
        self._values: dict[str, Any] = values

    def fail(self, key: str, expected: str) -> NoReturn:
        """Refuse the message because of `key`."""
        topic, inside = self._where
        name = f"{inside}.{key}" if inside else key
        if key not in self._values:
            raise SubscribeError(f'{topic}: key "{name}": expected {expected}, but it is missing')
        refuse(topic, name, expected, self._values[key])

    def integer(self, key: str) -> int:
        """Return an integer ≥ 0."""
        value = self._values.get(key)
        if type(value) is not int or value < 0:  # bool is an int to isinstance
            self.fail(key, "an integer ≥ 0")
        return value

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self._values.get(key)
        if type(value) is bool or not isinstance(value, int | float) or not math.isfinite(value):
            self.fail(key, "a finite number")
        return float(value)

    def text(self, key: str) -> str:
        """Return a string."""
        value = self._values.get(key)
        if type(value) is not str:
            self.fail(key, "a string")
        return value

    def one_of(self, key: str, choices: Sequence[str]) -> str:
        """Return one of the given strings."""
        value = self._values.get(key)
        if value not in choices:
            self.fail(key, f"one of {', '.join(choices)}")
        return str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        value = self._values.get(key)
        if type(value) is not list or not all(type(item) is str for item in value):
            self.fail(key, "a list of strings")
        return tuple(value)

    def binary(self, key: str) -> bytes:
        """Return bytes."""
        value = self._values.get(key)
        if type(value) is not bytes:
            self.fail(key, "bytes")
        return value

    def integers(self, key: str, names: Sequence[str]) -> dict[str, int]:
        """Return a map with an integer ≥ 0 for each of `names`."""
        inner = self._map(key)
        return {name: inner.integer(name) for name in names}

    def numbers(self, key: str) -> dict[str, float]:
        """Return a map of any names to finite numbers."""
        inner = self._map(key)
        return {name: inner.number(name) for name in inner._values}

    def tables(self, key: str, names: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return a map of any names to maps with an integer ≥ 0 for each of `names`."""
        inner = self._map(key)
        return {name: inner.integers(name, names) for name in inner._values}

    def boxes(self, key: str) -> NDArray[np.float32]:
        """Return a list of [x1, y1, x2, y2] as (N, 4) float32, finite."""
        return self._reals(key, "a list of [x1, y1, x2, y2], finite numbers", (-1, 4))

    def scores(self, key: str, count: int) -> NDArray[np.float32]:
        """Return a list of `count` finite numbers as (N,) float32."""
        return self._reals(key, f"a list of {count} finite numbers", (count,))

    def class_ids(self, key: str, count: int) -> NDArray[np.int32]:
        """Return a list of `count` integers from 0 to 2³¹-1 as (N,) int32."""
        expected = f"a list of {count} integers from 0 to 2147483647"
        array = self._array(key, "iu", expected, (count,))
        if count and (array.min() < 0 or array.max() > _INT32_MAX):
            self.fail(key, expected)
        return array.astype(np.int32)

    def _map(self, key: str) -> Fields:
        value = self._values.get(key)
        if type(value) is not dict:
            self.fail(key, "a map")
        return Fields(self._where[0], value, key)

    def _reals(self, key: str, expected: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        array = self._array(key, "fiu", expected, shape)
        with np.errstate(over="ignore"):
            floats = array.astype(np.float32)
        if not np.isfinite(floats).all():
            self.fail(key, expected)
        return floats

    def _array(self, key: str, kinds: str, expected: str, shape: tuple[int, ...]) -> NDArray[Any]:
        value = self._values.get(key)
        if type(value) is not list:
            self.fail(key, expected)
        array = _uniform(value) if value else np.zeros((0, *shape[1:]), np.int32)
        if array is None or array.dtype.kind not in kinds:
            self.fail(key, expected)
        wanted = tuple(len(value) if n < 0 else n for n in shape)
        if array.shape != wanted:
            self.fail(key, expected)
        return array


def refuse(topic: str, key: str, expected: str, got: object) -> NoReturn:
    """Raise the SubscribeError for a wrong value."""
    shown = repr(got)
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}… ({type(got).__name__})"
    raise SubscribeError(f'{topic}: key "{key}": expected {expected}, got {shown}')


def _uniform(values: list[Any]) -> NDArray[Any] | None:
    """Return the list as an array; None where its rows differ in length or depth."""
    try:
        return np.asarray(values)
    except (ValueError, OverflowError):
        return None
