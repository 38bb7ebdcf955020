"""The generated camera: `synthetic:street?seed=7&size=1280x720&fps=30&frames=300`."""

from __future__ import annotations

from npud.errors import EndOfStream, SourceError
from runtime.frame import Frame
from runtime.scenes import Street
from runtime.sources.base import DEFAULT_FPS, SourceOptions
from runtime.sources.query import integer_of, number_of, query_of, size_of

DEFAULT_SIZE = (1280, 720)
KEYS = ["seed", "size", "fps", "frames"]


class Synthetic:
    """A moving street scene; the same seed and size give the same frames everywhere."""

    live = False

    def __init__(self, url: str, options: SourceOptions) -> None:
        scene, _, query = url.removeprefix("synthetic:").partition("?")
        if scene not in ("", "street"):
            raise SourceError(f"{url}: expected the scene street, got {scene!r}")
        values = query_of(url, query, KEYS)
        self._url = url
        size = values.get("size")
        self.street = Street(
            integer_of(url, "seed", values.get("seed", "0")),
            size_of(url, size) if size else options.size or DEFAULT_SIZE,
        )
        self.fps = options.fps or number_of(url, "fps", values.get("fps", str(DEFAULT_FPS)))
        frames = values.get("frames")
        self._frames = integer_of(url, "frames", frames) if frames else None
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
