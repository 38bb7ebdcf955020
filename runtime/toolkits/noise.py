"""What vendors' tools print, brought to the one line that tells something."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
TELLING = re.compile(
    r"\bERROR\b|^E (?!rknn-toolkit2 version)|^\w*(Error|Exception)\b|No space left|^Killed"
)
LONGEST = 400  # characters of a line in an error


def telling(log: Path, start: int = 0) -> str:
    """The last line behind byte `start` that names an error, else the last one; "" for none."""
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode(errors="replace")
    return last_line(text.splitlines())


def last_line(lines: Iterable[str]) -> str:
    """The last line that names an error, else the last line; "" where there is none."""
    clean = [line for line in map(one_line, lines) if line]
    errors = [line for line in clean if TELLING.search(line)]
    return (errors or clean or [""])[-1]


def reason(error: str) -> str:
    """What an exception's text says, which with some toolkits is a whole traceback."""
    return last_line(error.splitlines()) if "Traceback (most recent" in error else one_line(error)


def one_line(text: str) -> str:
    """A vendor's text as one line of bounded length, without colours."""
    return " ".join(COLOURS.sub("", text).split())[:LONGEST]
