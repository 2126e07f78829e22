"""Plain values: what becomes of anything else, what is cut, and what a hash says."""

from __future__ import annotations

import enum
import json
import math
from decimal import Decimal
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.data.store.values import clean, dump, hash_inputs, plain, trim


class Colour(enum.StrEnum):
    RED = "red"


class Mute:
    def __str__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": (1, 2.5, True, None)}, {"a": [1, 2.5, True, None]}),
        (MappingProxyType({1: {"x"}}), {"1": ["x"]}),
        (Colour.RED, "red"),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        ([math.nan, -math.inf], ["nan", "-inf"]),
        (Decimal("1.10"), "1.10"),
        (b"ab", "b'ab'"),
        (2**5000, hex(2**5000)),
        (complex(1, 2), "(1+2j)"),
        (Mute(), "<Mute, whose text is not to be had: RuntimeError>"),
    ],
)
def test_anything_becomes_plain(value, expected):
    assert plain(value) == expected
    json.dumps(plain(value), allow_nan=False)


def test_what_refers_to_itself_ends():
    loop: list = [1]
    loop.append(loop)
    text = dump(plain(loop))
    assert text.startswith("[1,[1,[1,")
    assert "\\u2026" in text


def test_what_is_too_long_is_cut_and_says_so():
    assert plain(list(range(5)), most=4) == [0, 1, 2, "…"]
    assert plain({"a": 1, "b": 2, "c": 3}, most=3) == {"a": 1, "b": 2, "…": "…"}
    assert trim("abcdef", 4) == "abcd… (2 more characters)"
    assert trim({"text": "abcdef", "next": "x"}, 6) == {"text": "ab… (4 more characters)", "…": "…"}
    assert trim("abcd", 4) == "abcd"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=30,
)


@given(values)
def test_plain_values_are_json_and_stay_as_they_are(value):
    once = plain(value)
    assert json.loads(json.dumps(once, allow_nan=False)) == once
    assert plain(once) == once


@given(values, st.integers(0, 200))
def test_cut_values_have_about_as_many_characters_as_allowed(value, most):
    cut = trim(plain(value), most)

    def strings(part):
        if isinstance(part, str):
            return [part]
        if isinstance(part, dict):
            return [text for key, item in part.items() for text in (key, *strings(item))]
        return [text for item in part for text in strings(item)] if isinstance(part, list) else []

    notes = 40  # what says that something was cut, once a level
    assert sum(map(len, strings(cut))) <= most + notes * (1 + len(strings(cut)))
    assert json.loads(dump(cut)) == cut


def test_a_hash_is_of_the_text_that_the_router_reads():
    assert hash_inputs({"query": "hello"}) == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert hash_inputs({"query": "hello"}) == hash_inputs({"question": "hello"}) != hash_inputs({"query": "Hello"})
    assert len(hash_inputs({"query": "\ud800"})) == 64


def test_lone_surrogates_are_written_out():
    assert clean("a\ud800b") == "a\\ud800b"
    assert clean("grüß\x00") == "grüß\x00"
