"""TOML -> typed values, with errors that name the key: `config.toml: model.score_threshold: …`."""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from npud.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 1 << 20  # a config or manifest larger than this is a mistake or an attack
T = TypeVar("T")
TOML_NAMES = {"str": "string", "int": "integer", "bool": "boolean", "object": "table"}


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises ConfigError naming the file, and the line where TOML does."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: expected at most {MAX_BYTES} bytes of TOML, got {len(data)}")
    try:
        return parse_toml(data.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected TOML: {error}") from None


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Parse TOML; raises ConfigError that starts with `where`."""
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: expected TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{where}: expected TOML, got one nested too deeply") from None
    return document


def convert(value: Any, kind: type[T], where: str) -> T:
    """Check a TOML table against a Struct; where ("config.toml: model") starts each error."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), value, kind, where)) from None


def _explain(message: str, value: Any, kind: type[Any], where: str) -> str:
    """Put msgspec's "Expected `float`, got `str` - at `$.a`" into TOML's words, key first."""
    text, _, path = message.partition(" - at `$")
    keys = [key for key in re.split(r"[.\[\]]+", path.rstrip("`")) if key]
    here: Any = kind
    for key in keys:
        here = _below(here, key)
        value = _item(value, key)
    if found := re.fullmatch(r"Object contains unknown field `(.*)`", text):
        return f"{_join(where, *keys, found[1])}: unknown key{nearest(found[1], _fields(here))}"
    if found := re.fullmatch(r"Object missing required field `(.*)`", text):
        return f"{_join(where, *keys, found[1])}: this key is required"
    if text.startswith("Invalid enum value"):
        choices = ", ".join(repr(c) for c in _choices(here))
        choices = f"an integer or {choices}" if int in _parts(here) else f"one of {choices}"
        return f"{_join(where, *keys)}: expected {choices}, got {value!r}"
    if "int | str" in text:  # a number or a word
        text = text.replace("`int | str`", f"integer or {_choices(here)[0]!r}")
    for python, toml in TOML_NAMES.items():
        text = text.replace(f"`{python}`", toml)
    if ", got " not in text:
        text += f", got {value!r}"
    return f"{_join(where, *keys)}: {text[:1].lower()}{text[1:].replace('`', '')}"


def _join(where: str, *keys: str) -> str:
    inner = ".".join(keys)
    if not inner:
        return where.rstrip(": ")
    return f"{where}{inner}" if where.endswith(" ") else f"{where}.{inner}"


def _item(value: Any, key: str) -> Any:
    try:
        return value[int(key)] if isinstance(value, list) else value[key]
    except (LookupError, TypeError, ValueError):
        return value


def _below(kind: Any, key: str) -> Any:
    """The type of a key of a Struct (or of a list's items) inside any Annotated and Optional."""
    for part in _parts(kind):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            types = {field.encode_name: field.type for field in msgspec.structs.fields(part)}
            return types.get(key, kind)
    return kind


def _parts(kind: Any) -> list[Any]:
    inner = [p for argument in get_args(kind) for p in _parts(argument)]
    return [kind, *inner]


def _fields(kind: Any) -> list[str]:
    structs = [p for p in _parts(kind) if isinstance(p, type) and issubclass(p, msgspec.Struct)]
    return [field.encode_name for part in structs for field in msgspec.structs.fields(part)]


def _choices(kind: Any) -> list[Any]:
    return [c for part in _parts(kind) if get_origin(part) is Literal for c in get_args(part)]


def nearest(name: str, known: list[str]) -> str:
    """`, did you mean …?` with the nearest known name, or the list of all."""
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; known are: {', '.join(sorted(known))}"
