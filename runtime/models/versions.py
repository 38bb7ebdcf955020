"""What is known of toolkit versions: which files npud was tested with, and what they need.

The table is printed in docs/model-files.md.  A file can only tell what it was made with; whether
the board's library fits is asked of the library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from runtime.models.info import ModelInfo

Level = Literal["ok", "warning"]


@dataclass(frozen=True)
class Known:
    """Toolkits of one file format: the range seen, inclusive, and what its files need."""

    toolkit: str
    oldest: str
    newest: str
    needs: str  # of the board's library; {version} is the toolkit's


KNOWN = {
    "rknn": Known(
        "rknn-toolkit2",
        "1.5.2",
        "2.5.0",
        "librknnrt {version}, the toolkit's own; 1.5.0 and older refuse format 6",
    ),
    "bin": Known("hb_mapper", "1.24.3", "1.24.3", "the RDK X5 image's hobot-dnn"),
}


def parse(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, (2, 5, 0) of "2.5.0-rc1"; () where there are none."""
    found = re.match(r"\d{1,6}(\.\d{1,6}){0,3}", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def needs(info: ModelInfo) -> str:
    """What the file needs on the board, in words; "" where nothing is known."""
    known = KNOWN.get(info.format)
    if known is None:
        return ""
    text = known.needs.format(version=info.versions.toolkit or "of a known version")
    return f"{text}, made for runtime {info.versions.runtime}" if info.versions.runtime else text


def verdict(info: ModelInfo) -> tuple[Level, str] | None:
    """(level, words) on the toolkit's version; None for formats without a table."""
    known = KNOWN.get(info.format)
    if known is None:
        return None
    version = parse(info.versions.toolkit)
    seen = known.oldest if known.oldest == known.newest else f"{known.oldest} to {known.newest}"
    if not version:
        return "warning", f"the file names no {known.toolkit} version"
    made = f"made with {known.toolkit} {info.versions.toolkit}"
    if version < parse(known.oldest):
        return "warning", f"{made}, older than what npud was tested with ({seen})"
    if version > parse(known.newest):
        return "warning", f"{made}, newer than what npud was tested with ({seen})"
    return "ok", f"{made}, a version that npud was tested with"
