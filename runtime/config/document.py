"""The reference of all keys, docs/config.md: `python -m runtime.config` prints it."""

from __future__ import annotations

from typing import Any

import msgspec

from runtime.config import SECTIONS, Camera
from runtime.models.manifest import Calibration, Conversion, Golden, Input, Manifest
from runtime.preprocess import InputSpec
from runtime.simulate.options import Simulate

AFTER: dict[str, list[tuple[str, type[msgspec.Struct]]]] = {
    "model": [("[model.input]", Input)],
    "backend": [("[backend.simulate]", Simulate), ("[camera.NAME]", Camera)],
}


def document() -> str:
    """The reference of all keys as Markdown: docs/config.md."""
    lines = [
        "# Configuration",
        "",
        "`npud run --config FILE` reads TOML. Every key is optional but a camera's `url`; unknown",
        "keys are refused with the nearest known name. Command-line options override the file.",
        "This page is printed by `python -m runtime.config`.",
    ]
    tables: list[tuple[str, type[msgspec.Struct]]] = []
    for name, section in SECTIONS.items():
        tables += [(f"[{name}]", section), *AFTER.get(name, ())]
    tables += [
        ("The manifest: MODEL.toml", Manifest),
        ("The manifest's [conversion]", Conversion),
        ("The manifest's [calibration]", Calibration),
        ("The manifest's [golden]", Golden),
    ]
    for title, kind in tables:
        about = (
            (kind.__doc__ or "").partition(": ")[2]
            if kind is not Input
            else (
                "the manifest's [input], overridden key by key; the manifest beside a model "
                "has the same table."
            )
        )
        lines += ["", f"## {title}", "", about[:1].upper() + about[1:], ""]
        lines += ["| key | default | meaning |", "|---|---|---|"]
        defaults = InputSpec if kind is Input else None  # where nobody says
        lines += [_row(field, defaults) for field in msgspec.inspect.type_info(kind).fields]  # type: ignore[attr-defined]
    return "\n".join(lines) + "\n"


def _row(field: Any, defaults: type[InputSpec] | None) -> str:
    description = (getattr(field.type, "extra_json_schema", None) or {}).get("description", "")
    default = field.default
    if default is None and defaults:
        default = getattr(defaults, field.encode_name, None)
    if field.required:
        shown = "required"
    elif isinstance(default, (str, int, float, bool, tuple)):
        shown = f"`{msgspec.json.encode(default).decode()}`"
    else:
        shown = "–"
    return f"| `{field.encode_name}` | {shown} | {description} |"
