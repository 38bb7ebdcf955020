"""The generated camera: `synthetic:street?seed=7&size=1280x720&fps=30&frames=300`."""

from __future__ import annotations

from urllib.parse import parse_qsl

from npud.errors import EndOfStream, SourceError
from runtime.frame import Frame
from runtime.scenes import Street
from runtime.sources.base import DEFAULT_FPS, MAX_PIXELS, SourceOptions
from runtime.validate import nearest

DEFAULT_SIZE = (1280, 720)
KEYS = ["seed", "size", "fps", "frames"]


class Synthetic:
    """A moving street scene; the same seed and size give the same frames everywhere."""

    live = False

    def __init__(self, url: str, options: SourceOptions) -> None:
        scene, _, query = url.removeprefix("synthetic:").partition("?")
        if scene not in ("", "street"):
            raise SourceError(f"{url}: expected the scene street, got {scene!r}")
        values = _query(url, query)
        self._url = url
        size = values.get("size")
        self.street = Street(
            _integer(url, "seed", values.get("seed", "0")),
            _size(url, size) if size else options.size or DEFAULT_SIZE,
        )
        self.fps = options.fps or _number(url, "fps", values.get("fps", str(DEFAULT_FPS)))
        frames = values.get("frames")
        self._frames = _integer(url, "frames", frames) if frames else None
        self._loop = options.loop
        self._index = 0

    def read(self) -> Frame:
        """Render the next frame."""
        if self._frames is not None and self._index >= self._frames:
            if not self._loop:
                raise EndOfStream(f"{self._url}: ended after {self._frames} frames")
            self._index = 0
        pixels, _ = self.street.frame(self._index)
        self._index += 1
        return Frame(pixels)

    def close(self) -> None:
        """Nothing is held open."""


def _query(url: str, query: str) -> dict[str, str]:
    values = dict(parse_qsl(query, keep_blank_values=True))
    for key in values:
        if key not in KEYS:
            raise SourceError(f"{url}: {key}: unknown option{nearest(key, KEYS)}")
    return values


def _integer(url: str, key: str, value: str) -> int:
    if not value.isdecimal() or len(value) > 18:
        raise SourceError(f"{url}: {key}: expected a whole number ≥ 0, got {value!r}")
    return int(value)


def _number(url: str, key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1000:
        raise SourceError(f"{url}: {key}: expected a number in (0, 1000], got {value!r}")
    return number


def _size(url: str, value: str) -> tuple[int, int]:
    width, x, height = value.partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise SourceError(f"{url}: size: expected WIDTHxHEIGHT, got {value!r}")
    size = _integer(url, "size", width), _integer(url, "size", height)
    if min(size) < 64 or size[0] * size[1] > MAX_PIXELS:
        raise SourceError(f"{url}: size: expected 64x64 to 7680x4320, got {value!r}")
    return size
