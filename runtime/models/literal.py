"""A reader for the JSON and Python literals inside model files: bounded in length and depth.

`ast.literal_eval` would do for friendly files; hostile ones make it recurse, take hundreds of bytes
for each of theirs, or raise half a dozen kinds of exceptions.
"""

from __future__ import annotations

import math
import re
from typing import Any

from npud.errors import ModelError
from runtime.models.bounds import MAX_LITERAL

MAX_DEPTH = 16
TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[][(){},:])
    |(?P<string>"[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*')
    |(?P<number>[-+]?(?:\d[\d.eE+-]*|\.\d[\deE+-]*))
    |(?P<word>[A-Za-z]+))""",
    re.VERBOSE | re.DOTALL,
)
ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
WORDS = {"None": None, "null": None, "True": True, "true": True, "False": False, "false": False,
         "nan": math.nan, "NaN": math.nan, "inf": math.inf, "Infinity": math.inf}  # fmt: skip
CLOSING = {"[": "]", "(": ")", "{": "}"}


def parse(text: str) -> Any:
    """The value of a literal: None, bool, int, float, str, list (also for tuples) or dict.

    Raises ModelError for anything else, for more than 256 Ki characters and 16 levels.
    """
    if len(text) > MAX_LITERAL:
        raise ModelError(f"expected at most {MAX_LITERAL} characters of JSON, got {len(text)}")
    reader = _Reader(text)
    value = reader.value(reader.next(), MAX_DEPTH)
    if reader.next() != ("", ""):
        raise ModelError("expected one JSON value, got more")
    return value


def mapping(text: str) -> dict[Any, Any]:
    """The dict that a literal holds; {} where it is unreadable or no dict."""
    try:
        value = parse(text)
    except ModelError:
        return {}
    return value if isinstance(value, dict) else {}


def numbers(value: Any, limit: int = 16) -> tuple[float, ...]:
    """A list of finite numbers as a tuple; () where it is anything else."""
    values = value if isinstance(value, list) else [value]
    if len(values) > limit or not all(type(v) in (int, float) for v in values):
        return ()
    return tuple(map(float, values)) if all(abs(v) < 1e30 for v in values) else ()


class _Reader:
    """Tokens of a text, and the values they make."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def next(self) -> tuple[str, str]:
        """The next token as (kind, text); ("", "") at the end."""
        found = TOKEN.match(self._text, self._at)
        if found is None:
            rest = self._text[self._at :].strip()
            if rest:
                raise ModelError(f"expected JSON, got {rest[:20]!r}")
            return "", ""
        self._at = found.end()
        kind = found.lastgroup or ""
        return kind, found[kind]

    def value(self, token: tuple[str, str], depth: int) -> Any:
        """The value that begins with `token`."""
        kind, text = token
        if kind == "string":
            return _unescaped(text[1:-1])
        if kind == "number":
            return _number(text)
        if kind == "word" and text in WORDS:
            return WORDS[text]
        if kind == "mark" and text in CLOSING:
            if depth == 0:
                raise ModelError(f"expected at most {MAX_DEPTH} levels of JSON, got more")
            return self._items(text, depth - 1)
        raise ModelError(f"expected JSON, got {text[:20]!r}")

    def _items(self, opening: str, depth: int) -> Any:
        items: list[Any] = []
        pairs: dict[Any, Any] = {}
        end = ("mark", CLOSING[opening])
        while (token := self.next()) != end:
            value = self.value(token, depth)
            if opening == "{":
                if isinstance(value, (list, dict)) or self.next() != ("mark", ":"):
                    raise ModelError("expected key: value in a JSON object")
                pairs[value] = self.value(self.next(), depth)
            else:
                items.append(value)
            after = self.next()
            if after == end:
                break
            if after != ("mark", ","):
                raise ModelError(f"expected a comma in JSON, got {after[1][:20]!r}")
        return pairs if opening == "{" else items


def _number(text: str) -> int | float:
    try:
        return int(text) if len(text) < 19 and text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise ModelError(f"expected a number, got {text[:20]!r}") from None


def _unescaped(text: str) -> str:
    """The text with its escapes resolved; halves of surrogate pairs are joined or replaced."""
    if "\\" not in text:
        return text
    joined = ESCAPE.sub(_unescape, text).encode("utf-16", "surrogatepass")
    return joined.decode("utf-16", "replace")


def _unescape(found: re.Match[str]) -> str:
    code = found[1]
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return ESCAPES.get(code, code)
