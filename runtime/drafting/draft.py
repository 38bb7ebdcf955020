"""Draft: facts of the file, answers of people, and what is still open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec

from npud.errors import ConfigError
from runtime.drafting import facts
from runtime.drafting.facts import Fact, Known
from runtime.drafting.questions import Question, questions_for
from runtime.drafting.text import compose
from runtime.models.manifest import Manifest
from runtime.validate import convert, load_toml, parse_toml

DEPENDENT = {"num_classes": "labels"}  # not needed where the other is stated


@dataclass(frozen=True)
class Draft:
    """A manifest in the making."""

    known: Known
    stated: dict[str, Fact]
    questions: dict[str, Question]

    @property
    def open(self) -> dict[str, Question]:
        """What nobody has answered yet."""
        return {key: asked for key, asked in self.questions.items() if key not in self.stated}

    @property
    def missing(self) -> list[str]:
        """Open keys that detections depend on."""
        return [key for key, asked in self.open.items() if not asked.record]

    @property
    def manifest(self) -> Manifest:
        """What is stated, checked."""
        values = {key: fact.value for key, fact in self.stated.items()}
        return convert(nested(values), Manifest, "manifest: ")

    def text(self, notes: Mapping[str, str]) -> str:
        """The file, read back to be sure; raises ConfigError for a wrong number of labels."""
        classes = self.known.plan.num_classes if self.known.plan else 0
        labels = self.manifest.labels
        if classes and labels is not None and len(labels) != classes:
            raise ConfigError(f"labels: expected {classes}, one per class, got {len(labels)}")
        for key, other in DEPENDENT.items():
            if other in self.stated:
                self.stated.pop(key, None)
        text = compose(self.known.path.name, _keys(self.stated), self.stated, self.open, notes)
        written = convert(parse_toml(text, "the draft"), Manifest, "the draft: ")
        assert written == self.manifest, text  # noqa: S101 - or the writer is wrong
        return text


def start(path: Path, before: Path | None, answers: Mapping[str, Any]) -> Draft:
    """Draft from a file, what the manifest `before` stated, and answers by dotted key.

    Raises ModelError, or ConfigError naming the key of a wrong answer.
    """
    kept = {k: v for k, v in flat(load_toml(before)).items() if k != "digest"} if before else {}
    checked = convert(nested({**kept, **answers}), Manifest, "manifest: ")
    known = facts.read(path, checked)
    said = {key: Fact(value, f"kept from the {before} before") for key, value in kept.items()}
    said |= {key: Fact(value, "as answered") for key, value in answers.items()}
    return Draft(known, {**known.facts, **said}, questions_for(known))


def check(key: str, value: Any) -> None:
    """Raise ConfigError where this cannot be the value of the key."""
    convert(nested({key: value}), Manifest, "manifest: ")


def value_of(text: str) -> Any:
    """An answer as typed: TOML, @FILE for a list of its lines, or the text itself."""
    if text.startswith("@"):
        try:
            lines = Path(text[1:]).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{text}: {error}") from None
        return [line.strip() for line in lines if line.strip()]
    try:
        return parse_toml(f"value = {text}", "answer")["value"]
    except ConfigError:
        return text


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"input.color": …} -> {"input": {"color": …}}."""
    tables: dict[str, Any] = {}
    for key, value in values.items():
        *path, name = key.split(".")
        table = tables
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{key}: expected {part} to be a table, got a value")
        if name in table:
            raise ConfigError(f"{key}: expected a value or a table, got both")
        table[name] = value
    return tables


def flat(tables: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The inverse of nested()."""
    values: dict[str, Any] = {}
    for key, value in tables.items():
        inside = flat(value, f"{above}{key}.") if isinstance(value, dict) else {}
        values |= inside or {f"{above}{key}": value}
    return values


def _keys(stated: Iterable[str]) -> list[str]:
    """All keys that a manifest may have, in its order, with the free ones of `stated`."""
    known = list(_fields(Manifest, ""))
    return known + [key for key in stated if key not in known]


def _fields(kind: Any, above: str) -> Iterable[str]:
    for field in msgspec.structs.fields(kind):
        key = f"{above}{field.encode_name}"
        if below := _struct(field.type):
            yield from _fields(below, f"{key}.")
        elif key != "conversion.parameters":  # a free table
            yield key


def _struct(kind: Any) -> Any:
    """The Struct inside a type, Annotated and optional or not; else None."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next(filter(None, map(_struct, get_args(kind))), None)
