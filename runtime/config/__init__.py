"""The configuration: every key, its type, range, default and meaning, one place for each.

`docs/config.md` is printed from here (`python -m runtime.config`).
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from npud.errors import ConfigError
from npud.wire import valid_camera_name
from runtime.config.camera import Camera
from runtime.config.daemon import Compare, Control, Log, Metrics, Publish, Record
from runtime.config.model import Backend, Model
from runtime.validate import TOML_NAMES, convert, nearest

__all__ = [
    "Backend", "Camera", "Compare", "Config", "Control", "Log", "Metrics", "Model", "Publish",
    "Record", "parse", "variant_b",
]  # fmt: skip
S = TypeVar("S", bound=msgspec.Struct)


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The whole file."""

    model: Model = Model()
    backend: Backend = Backend()
    camera: dict[str, Camera] = {}
    publish: Publish = Publish()
    control: Control = Control()
    record: Record = Record()
    compare: Compare = Compare()
    metrics: Metrics = Metrics()
    log: Log = Log()


def variant_b(settings: Config, where: str = "config") -> Config:
    """The configuration with [compare.model] and [compare.backend] over [model] and [backend].

    Variant b has one context in shadow mode unless it says more.  Raises ConfigError.
    """
    compare = settings.compare
    own = {"contexts": 1} if compare.mode == "shadow" else {}
    return msgspec.structs.replace(
        settings,
        model=_over(settings.model, compare.model, f"{where}: compare.model"),
        backend=_over(settings.backend, own | compare.backend, f"{where}: compare.backend"),
    )


def _over(below: S, given: dict[str, Any], where: str) -> S:
    """A section with some of its keys replaced; tables within are merged."""
    plain: dict[str, Any] = msgspec.to_builtins(below)
    for key, value in given.items():
        inner = plain.get(key)
        both = isinstance(inner, dict) and isinstance(value, dict)
        plain[key] = {**inner, **value} if both else value  # type: ignore[dict-item]
    return convert(plain, type(below), where)


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "model": Model,
    "backend": Backend,
    "publish": Publish,
    "control": Control,
    "record": Record,
    "compare": Compare,
    "metrics": Metrics,
    "log": Log,
}


def parse(raw: dict[str, Any], where: str = "config") -> Config:
    """Check a parsed TOML document; raises ConfigError `where: section.key: expected …, got …`."""
    known = [*SECTIONS, "camera"]
    for name, value in raw.items():
        if name not in known:
            raise ConfigError(f"{where}: {name}: unknown table{nearest(name, known)}")
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise ConfigError(
                f"{where}: {name}: expected a table, got {TOML_NAMES.get(kind, kind)}"
            )
    sections: dict[str, Any] = {
        name: convert(raw[name], kind, f"{where}: {name}")
        for name, kind in SECTIONS.items()
        if name in raw
    }
    cameras: dict[str, Camera] = {}
    for name, table in raw.get("camera", {}).items():
        if not valid_camera_name(name):
            raise ConfigError(
                f"{where}: camera.{name}: expected a name of letters, digits, _ . -, got {name!r}"
            )
        cameras[name] = convert(table, Camera, f"{where}: camera.{name}")
    settings = Config(camera=cameras, **sections)
    variant_b(settings, where)  # raises for what it cannot be
    return settings
