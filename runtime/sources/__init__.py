"""Sources: cameras, streams, files and generated scenes, by the form of their URL."""

from __future__ import annotations

import re
from pathlib import Path

from npud.errors import SourceError
from runtime.lazy import load
from runtime.masking import masked
from runtime.sources.base import Source, SourceOptions

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})

# kind -> "module:Class"; a new kind of source is a line here and one in kind_of
SOURCES = {
    "synthetic": "runtime.sources.synthetic:Synthetic",
    "stream": "runtime.sources.video:Stream",
    "device": "runtime.sources.device:Device",
    "mipi": "runtime.sources.hobot_vio:Mipi",
    "images": "runtime.sources.images:Images",
    "video": "runtime.sources.video:VideoFile",
}


def kind_of(url: str) -> str:
    """Which of SOURCES reads this URL; raises SourceError for a scheme nobody reads."""
    scheme = re.match(r"([a-z0-9]+)://", url)
    if url.startswith("synthetic:"):
        return "synthetic"
    if url.startswith("mipi:"):
        return "mipi"
    if scheme:
        if scheme[1] in {"rtsp", "rtsps", "http", "https", "rtmp", "udp"}:
            return "stream"
        raise SourceError(
            f"{masked(url)}: expected rtsp://, http(s)://, rtmp://, udp://, synthetic:, mipi:, a "
            f"device or a file, got the scheme {scheme[1]}://"
        )
    if url.isdecimal() or url.startswith(("/dev/video", "/dev/v4l/")):
        return "device"
    path = Path(url)
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return "images"
    if not path.exists() and any(char in url for char in "*?["):
        return "images"
    return "video"


def open_source(url: str, options: SourceOptions = SourceOptions()) -> Source:  # noqa: B008
    """Open a camera, stream or file; raises SourceError with what is wrong and where."""
    source: Source = load(SOURCES[kind_of(url)], "source")(url, options)
    return source
