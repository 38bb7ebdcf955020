"""TOML -> typed values, with errors that name the key: `config.toml: model.score_threshold: …`."""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from npud.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 1 << 20  # a config or manifest larger than this is a mistake or an attack
T = TypeVar("T")


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises ConfigError naming the file, and the line where TOML does."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: expected at most {MAX_BYTES} bytes of TOML, got {len(data)}")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: expected TOML, got one nested too deeply") from None


def convert(value: Any, kind: type[T], where: str) -> T:
    """Check a TOML table against a msgspec Struct; where ("config.toml: model") starts each error."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), kind, where)) from None


def _explain(message: str, kind: type[Any], where: str) -> str:
    text, _, path = message.partition(" - at `$")
    keys = path.rstrip("`").lstrip(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
    if unknown:
        names = _names(kind, keys)
        return f"{_join(where, keys, unknown[1])}: unknown key{nearest(unknown[1], names)}"
    text = text.replace("`", "")
    return f"{_join(where, keys)}: {text[:1].lower()}{text[1:]}"


def _join(where: str, *keys: str) -> str:
    inner = ".".join(key for key in keys if key)
    if not inner:
        return where
    return f"{where}{inner}" if where.endswith(" ") else f"{where}.{inner}"


def _names(kind: type[Any], keys: str) -> list[str]:
    """The keys known at a dotted path below a Struct."""
    for key in filter(None, re.split(r"[.\[]", keys)):
        types = {field.name: field.type for field in msgspec.structs.fields(kind)}
        kind = next((t for t in _structs(types.get(key))), kind)
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def _structs(annotation: Any) -> list[type[Any]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return [annotation]
    return [s for part in getattr(annotation, "__args__", ()) for s in _structs(part)]


def nearest(name: str, known: list[str]) -> str:
    """`, did you mean …?` with the nearest known name, or the list of all."""
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; known are: {', '.join(sorted(known))}"
