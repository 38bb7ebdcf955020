"""A manifest as TOML text, for commands that write one beside a model they make."""

from __future__ import annotations

from typing import Any

import msgspec

from runtime.drafting.text import array, key_text, toml
from runtime.models.manifest import Manifest


def dump(manifest: Manifest, comment: str = "") -> str:
    """The manifest's keys that say something, tables last; `comment` goes above, without `#`."""
    said = _said(manifest)
    lines = [f"# {line}" for line in comment.splitlines()] + [""] * bool(comment)
    lines += [_line(key, value) for key, value in said.items() if not isinstance(value, dict)]
    for key, value in said.items():
        if isinstance(value, dict):
            lines += _table(key, value)
    return "\n".join(lines).lstrip("\n") + "\n"


def _said(struct: Any) -> dict[str, Any]:
    """A Struct's fields that are not as by default, as plain values."""
    result = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if value is None or value == field.default:
            continue
        result[field.encode_name] = _said(value) if isinstance(value, msgspec.Struct) else value
    return result


def _table(name: str, values: dict[str, Any]) -> list[str]:
    lines = ["", f"[{name}]"]
    lines += [_line(key, value) for key, value in values.items() if not isinstance(value, dict)]
    for key, value in values.items():
        if isinstance(value, dict) and value:
            lines += _table(f"{name}.{key_text(key)}", value)
    return lines


def _line(key: str, value: Any) -> str:
    value = msgspec.to_builtins(value)
    if isinstance(value, (list, tuple)):
        return array(key, value)
    return f"{key_text(key)} = {toml(value)}"
