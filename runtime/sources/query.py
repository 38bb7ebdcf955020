"""Options in a source's URL: `name:…?size=1280x720&fps=30`."""

from __future__ import annotations

from urllib.parse import parse_qsl

from npud.errors import SourceError
from runtime.limits import MAX_PIXELS
from runtime.validate import nearest


def query_of(url: str, query: str, keys: list[str]) -> dict[str, str]:
    """The options after the question mark; raises SourceError for an unknown one."""
    values = dict(parse_qsl(query, keep_blank_values=True))
    for key in values:
        if key not in keys:
            raise SourceError(f"{url}: {key}: unknown option{nearest(key, keys)}")
    return values


def integer_of(url: str, key: str, value: str) -> int:
    """A whole number ≥ 0."""
    if not value.isdecimal() or len(value) > 18:
        raise SourceError(f"{url}: {key}: expected a whole number ≥ 0, got {value!r}")
    return int(value)


def number_of(url: str, key: str, value: str) -> float:
    """A number in (0, 1000]."""
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1000:
        raise SourceError(f"{url}: {key}: expected a number in (0, 1000], got {value!r}")
    return number


def size_of(url: str, value: str) -> tuple[int, int]:
    """WIDTHxHEIGHT as (width, height)."""
    width, x, height = value.partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise SourceError(f"{url}: size: expected WIDTHxHEIGHT, got {value!r}")
    size = integer_of(url, "size", width), integer_of(url, "size", height)
    if min(size) < 64 or size[0] * size[1] > MAX_PIXELS:
        raise SourceError(f"{url}: size: expected 64x64 to 7680x4320, got {value!r}")
    return size
