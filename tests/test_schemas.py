"""Schemas of parameters: what a tool of DSPy forgets of its function's annotations is found again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import dspy
import pytest
from pydantic import BaseModel, Field

from dspy_router import ToolCard
from dspy_router.schemas import object_schema, restore_annotations

Day = Annotated[str, Field(json_schema_extra={"format": "date"}, description="a day")]


def book(
    days: Annotated[list[Day], Field(max_length=2)],
    code: Annotated[str, Field(pattern="^[A-Z]{3}$")],
    size: Annotated[Literal["s", "l"], Field(description="which")] = "s",
    until: Day | None = None,
) -> None:
    """Book a room."""


def test_an_object_schema_keeps_what_a_card_needs():
    assert object_schema({}) == {"type": "object", "properties": {}}
    given = {"properties": {"a": {}}, "required": [], "title": "x", "additionalProperties": False, "$defs": {"b": {}}}
    assert object_schema(given) == {"type": "object", "properties": {"a": {}}, "$defs": {"b": {}}}


@pytest.mark.parametrize("tool", [book, dspy.Tool(book), dspy.Tool(book, name="book", desc="Book a room.")])
def test_annotations_of_a_function_survive_in_a_tool_of_dspy(tool):
    card = ToolCard.from_tool(tool)
    assert card.properties["days"]["items"]["format"] == "date"
    assert card.properties["days"]["maxItems"] == 2
    assert card.properties["code"]["pattern"] == "^[A-Z]{3}$"
    assert (card.properties["size"]["description"], card.properties["size"]["default"]) == ("which", "s")
    assert card.properties["until"]["anyOf"][0]["format"] == "date"
    assert card.required == ("days", "code")


def test_what_was_said_of_the_tool_itself_wins():
    described = ToolCard.from_tool(dspy.Tool(book, arg_desc={"code": "three letters"}))
    assert described.properties["code"] == {"type": "string", "pattern": "^[A-Z]{3}$", "description": "three letters"}
    retyped = ToolCard.from_tool(dspy.Tool(book, args={"code": {"type": "integer"}}))
    assert retyped.properties == {"code": {"type": "integer"}}


def test_a_callable_object_is_read_too():
    class Book:
        """Book a room."""

        def __call__(self, code: Annotated[str, Field(pattern="^[A-Z]{3}$")]) -> None: ...

    assert ToolCard.from_tool(dspy.Tool(Book())).properties["code"]["pattern"] == "^[A-Z]{3}$"


class Guest(BaseModel):
    name: str


@pytest.mark.parametrize(
    ("schema", "hint"),
    [
        ({}, Any),
        ({"type": "string"}, str),
        ({"type": "object", "properties": {"name": {"type": "string"}}}, list[Guest]),
        ({"type": "string", "enum": ["a", "b"]}, Annotated[Literal["a"], Field(description="x")]),
    ],
)
def test_a_hint_that_adds_nothing_or_says_something_else_changes_nothing(schema, hint):
    assert restore_annotations(schema, hint) == schema
