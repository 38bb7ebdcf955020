"""The manifest as TOML text, each key with a comment that says where its value is from."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from npud._version import __version__
from runtime.drafting.facts import Fact
from runtime.drafting.questions import Question

WIDTH = 100
TABLES = ("", "input", "conversion", "conversion.parameters", "calibration", "golden")


def compose(
    name: str,
    keys: Iterable[str],
    stated: Mapping[str, Fact],
    open_: Mapping[str, Question],
    notes: Mapping[str, str],
) -> str:
    """The whole text; `keys` in the order of the manifest, `notes` by table."""
    order = list(keys)
    lines = [
        f"# Manifest of {name}, drafted by npud manifest {__version__}.",
        "# A key behind a # is open: the file does not say it, and npud does not guess it.",
    ]
    for table in TABLES:
        inside = [key for key in order if key.rpartition(".")[0] == table]
        body = [line for key in inside for line in _entry(key, stated.get(key), open_.get(key))]
        note = _comment(notes[table]) if table in notes else []
        if body or note:
            head = [f"[{table}]"] if table and body else []
            lines += ["", *head, *body, *note]
    return "\n".join(lines) + "\n"


def _entry(key: str, fact: Fact | None, question: Question | None) -> list[str]:
    name = key.rpartition(".")[2]
    if fact is not None:
        line = f"{key_text(name)} = {toml(fact.value)}"
        beside = f"{line}  {' '.join(_comment(fact.source))}"
        if len(beside) <= WIDTH:
            return [beside]
        if isinstance(fact.value, (list, tuple)):
            line = array(name, fact.value)
        return [*_comment(fact.source), line]
    if question is None:
        return []
    return [*_comment(f"? {question.text}"), f"# {name} = {question.example}"]


def _comment(text: str) -> list[str]:
    clean = "".join(c if c.isprintable() else " " for c in text)
    return textwrap.wrap(clean, WIDTH, initial_indent="# ", subsequent_indent="# ")


def array(name: str, values: Any) -> str:
    """An array, over several lines where it is long."""
    line = f"{key_text(name)} = {toml(values)}"
    if len(line) <= WIDTH:
        return line
    items = ", ".join(toml(value).replace(" ", "\0") for value in values)  # keep an item whole
    rows = textwrap.wrap(items, WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    body = "\n".join(f"    {row}" for row in rows).replace("\0", " ")
    return f"{key_text(name)} = [\n{body},\n]"


def toml(value: Any) -> str:
    """A string, number, boolean or (nested) array as TOML 1.0."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def key_text(name: str) -> str:
    """A key, quoted where TOML asks for it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)
