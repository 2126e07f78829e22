"""Quick checks by schema: the very answers of `jsonschema`, for schemas and values of any kind."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dspy_router.program.schema_checks import BROKEN_SCHEMA, find_error, is_valid

TYPES = ["string", "number", "integer", "boolean", "array", "object", "null"]
NOTES = st.fixed_dictionaries(
    {}, optional={"description": st.just("what for"), "default": st.none(), "format": st.just("date")}
)
SIMPLE = st.builds(lambda kind, notes: {"type": kind, **notes}, st.sampled_from(TYPES), NOTES)
OTHERS = st.sampled_from(
    [
        {},
        {"enum": ["a", 1, None]},
        {"type": "string", "enum": ["a", "b", 1]},
        {"type": ["string", "null"]},
        {"type": "string", "minLength": 2},
        {"type": "number", "minimum": 1},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": "array", "items": {"type": "integer"}},
        {"type": "whatever"},
        {"type": "object", "properties": {"a": {"type": "whatever"}}},
        {"$ref": "#/$defs/missing"},
        True,
        False,
    ]
)
SCHEMAS = st.recursive(
    SIMPLE | OTHERS,
    lambda inner: st.builds(
        lambda properties, required: {"type": "object", "properties": properties, **required},
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        st.sampled_from([{}, {"required": ["a"]}, {"required": []}, {"additionalProperties": False}]),
    ),
    max_leaves=4,
)
VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, 2.5, "", "a", "abc", float("nan")]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=4,
)


def by_the_library(schema, value):
    try:
        return Draft202012Validator(schema).is_valid(value)
    except BROKEN_SCHEMA:
        return False


@given(SCHEMAS, VALUES)
def test_is_valid_says_what_the_validator_says(schema, value):
    assert is_valid(schema, value) == is_valid(schema, value) == by_the_library(schema, value)


@given(SCHEMAS, VALUES)
def test_find_error_finds_what_validate_raises(schema, value):
    try:
        jsonschema.validate(value, schema)
        expected = None
    except jsonschema.ValidationError as error:
        expected = error.message
    except BROKEN_SCHEMA as error:
        with pytest.raises(type(error)):
            find_error(schema, value)
        return
    found = find_error(schema, value)
    assert (None if found is None else found.message) == expected
