"""What the rules make of a parameter's schema: its kind, its cues and the members of an enumeration."""

from __future__ import annotations

from typing import Any

import pytest

from dspy_router.program.filling.mentions import Mention
from dspy_router.program.filling.parameters import find_mentions, read_parameters
from dspy_router.records import ToolCard


def parameter(schema: dict[str, Any], name: str = "x"):
    return read_parameters(ToolCard("tool", parameters={"properties": {name: schema}, "required": [name]}))[0]


@pytest.mark.parametrize(
    ("schema", "kind", "many"),
    [
        ({"type": "number"}, "number", False),
        ({"type": "integer"}, "number", False),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "number", False),
        ({"type": "boolean"}, "boolean", False),
        ({"type": "string"}, "text", False),
        ({"type": "string", "format": "date"}, "date", False),
        ({"type": "string", "format": "hostname"}, None, False),
        ({"type": "string", "pattern": "a+"}, "pattern", False),
        ({"enum": ["a", "b"]}, "enum", False),
        ({"const": "a"}, "enum", False),
        ({"enum": [1, 2]}, "number", False),
        ({"enum": [1, "a"]}, None, False),
        ({"type": "array", "items": {"type": "number"}}, "number", True),
        ({"type": "array"}, None, False),
        ({"type": "object"}, None, False),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, None, False),
        ({}, None, False),
    ],
)
def test_the_schema_tells_the_kind(schema, kind, many):
    assert (parameter(schema).kind, parameter(schema).many) == (kind, many)


def test_a_word_that_two_names_share_is_no_cue():
    properties = {"from_unit": {"type": "string"}, "to_unit": {"type": "string"}}
    source, target = read_parameters(ToolCard("convert", parameters={"properties": properties}))
    assert (source.cues, target.cues) == ({"from"}, {"to"})


@pytest.mark.parametrize(
    "text", ["width 3", "Width: 3", "width=3", "width of 3", "the width is 3", "width-3", "width $3"]
)
def test_a_cue_stands_directly_before(text):
    assert parameter({"type": "number"}, "width").is_cued(Mention(text.index("3"), len(text)), text)


@pytest.mark.parametrize("text", ["width and 3", "3 width", "bandwidth 3", "7 width of 3"])
def test_a_word_elsewhere_is_no_cue(text):
    at = text.rindex("3")
    assert not parameter({"type": "number"}, "width").is_cued(Mention(at, at + 1), text)


def test_a_one_letter_name_needs_its_sign():
    one = parameter({"type": "number"}, "a")
    assert one.is_cued(Mention(4, 5), "a = 3")
    assert not one.is_cued(Mention(2, 3), "a 3 by 4 rectangle")


def members(names: list[str], text: str) -> list[Any]:
    return [m.value for m in find_mentions(parameter({"enum": names}), text, frozenset()) if not m.weak]


def test_members_are_found_as_whole_words_in_any_case_and_number():
    assert members(["kilometer", "mile"], "Kilometers, not milestones") == ["kilometer"]
    assert members(["new_york", "city"], "New York cities") == ["new_york", "city"]
    assert members(["meter", "square meter"], "a square meter") == ["square meter"]
    assert members(["km"], "100km, 100 km/h, km^2") == ["km"]


def test_a_spelling_of_two_members_is_left_unread():
    found = find_mentions(parameter({"enum": ["glass", "glasse"]}), "glasses", frozenset())
    assert [mention.readable for mention in found] == [False]


def test_an_everyday_word_is_a_member_only_after_a_number():
    found = find_mentions(parameter({"enum": ["in", "cm"]}), "5 in as cm in total", frozenset())
    assert [(mention.value, mention.weak) for mention in found] == [("in", False), ("cm", False), ("in", True)]
