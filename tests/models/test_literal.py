"""The literal reader against json and ast."""

from __future__ import annotations

import ast
import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npud.errors import ModelError
from runtime.models import literal

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(values)
def test_json_is_read_as_json_reads_it(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        with contextlib.suppress(RecursionError):
            assert literal.parse(text) == json.loads(text)


@given(
    st.dictionaries(st.integers(0, 999), st.text("abc 'é\n\\\"", max_size=9))
    | st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none())
)
def test_python_literals_are_read_as_ast_reads_them(value: object) -> None:
    assert literal.parse(repr(value)) == ast.literal_eval(repr(value)) == value


def test_tuples_are_lists_and_halves_of_surrogates_join() -> None:
    assert literal.parse("(1, (2,), [])") == [1, [2], []]
    assert literal.parse('"\\ud83d\\ude00"') == "\U0001f600"
    assert literal.parse('"\\ud83d"').isprintable()
    assert math.isnan(literal.parse("NaN"))


@pytest.mark.parametrize(
    "text",
    ["", "[", "{", "[1 2]", "{1}", "{[]: 1}", "{1: 2,, }", "abc", "__import__('os')", "1 2", "'a",
     "1-2", "--1", "b'x'", "[" * 17 + "]" * 17, "[" * 200_000, "x" * 300_000, "\x00", "1" * 4999 + "e"],
)  # fmt: skip
def test_anything_else_is_a_model_error(text: str) -> None:
    with pytest.raises(ModelError, match=r"expected"):
        literal.parse(text)


@given(st.text("[](){},:'\"\\0123.eE+-xu truefalsNn", max_size=60))
def test_any_text_is_a_value_or_a_model_error(text: str) -> None:
    with contextlib.suppress(ModelError):
        literal.parse(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [([1, 2.5], (1, 2.5)), (3, (3,)), ([], ()), ("3", ()), ([True], ()), ([math.nan], ()),
     ([math.inf], ()), ([1] * 17, ()), (None, ()), ({}, ())],
)  # fmt: skip
def test_numbers(value: object, expected: tuple[float, ...]) -> None:
    assert literal.numbers(value) == expected
