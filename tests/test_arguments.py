"""Filling a call from the text: exactly one reading fills it, none or several leave it alone."""

from __future__ import annotations

import enum
import time
from datetime import date, datetime
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from dspy_router.program.arguments import fill, unsettled_parameters
from dspy_router.records import Step, ToolCard

Unit = Literal["miles", "kilometers", "feet", "in", "square meter"]


class Priority(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Address(BaseModel):
    street: str


class Customer(BaseModel):
    address: Address


def now(): ...
def convert(value: float, from_unit: Unit, to_unit: Unit): ...
def root(x: Annotated[float, Field(ge=0)]): ...
def roll(dice: int, sides: int = 6): ...
def days_between(start: date, end: date): ...
def remind(when: datetime): ...
def search(query: str, limit: int = 5): ...
def translate(text: str, language: Literal["French", "German"]): ...
def mean(values: list[float]): ...
def percentile(values: list[float], share: float): ...
def sort(values: list[float], reverse: bool = False): ...
def round_to(value: float, digits: int = 0): ...
def rectangle(width: float, height: float): ...
def tip(amount: float, percent: float): ...
def weather(city: str = "here", days: int = 3): ...
def replace_text(text: str, old: str, new: str): ...
def ticket(number: Annotated[str, Field(pattern=r"^[A-Z]{2}-\d+$")], priority: Priority = Priority.LOW): ...
def note(day: date | None = None): ...
def ship(customer: Customer, others: list[Customer] | None = None): ...
def power(bits: Literal[8, 16, 32]): ...
def mail(to: Annotated[str, Field(json_schema_extra={"format": "email"})]): ...
def paint(colours: list[Literal["red", "blue", "green"]]): ...


def fill_from(function, text):
    return fill(ToolCard.from_tool(function), {"question": text})


@pytest.mark.parametrize(
    ("function", "text", "arguments"),
    [
        (now, "what time is it? 3", {}),
        (convert, "convert 5 miles to kilometers", {"value": 5, "from_unit": "miles", "to_unit": "kilometers"}),
        (convert, "20miles to feet", {"value": 20, "from_unit": "miles", "to_unit": "feet"}),
        (convert, "Turn 1,200.5 SQUARE METERS to foot or feet", None),
        (convert, "1,200.5 square meters to feet", {"value": 1200.5, "from_unit": "square meter", "to_unit": "feet"}),
        (convert, "5 in to feet", {"value": 5, "from_unit": "in", "to_unit": "feet"}),
        (convert, "a dozen miles to feet", {"value": 12, "from_unit": "miles", "to_unit": "feet"}),
        (root, "the square root of 16?", {"x": 16}),
        (roll, "roll two dice", {"dice": 2}),
        (roll, "sides: 20, dice: 3", {"dice": 3, "sides": 20}),
        (days_between, "start 2024-01-01 end 1 February 2024", {"start": "2024-01-01", "end": "2024-02-01"}),
        (remind, "remind me on 12 March 2024 at 3 pm", {"when": "2024-03-12T15:00:00"}),
        (search, "what's new in electric cars?", {"query": "what's new in electric cars?"}),
        (search, 'look for "electric cars", limit 3', {"query": "electric cars", "limit": 3}),
        (translate, 'translate "I love German food" to French', {"text": "I love German food", "language": "French"}),
        (mean, "the mean of 1, 2, 3.5 and -4", {"values": [1, 2, 3.5, -4]}),
        (sort, "sort 3 1 2", {"values": [3, 1, 2]}),
        (sort, "sort 3 1 2, reverse: yes", {"values": [3, 1, 2], "reverse": True}),
        (round_to, "round 3.14159 to 2 places", {"value": 3.14159, "digits": 2}),
        (rectangle, "a rectangle of width 3 and height 4", {"width": 3, "height": 4}),
        (rectangle, "height=4,width=3", {"width": 3, "height": 4}),
        (rectangle, "3 by 3", {"width": 3, "height": 3}),
        (tip, "12% of 30", {"amount": 30, "percent": 12}),
        (weather, "weather for city 'Paris' in 5 days", {"city": "Paris", "days": 5}),
        (replace_text, "in text 'abc' old 'a' becomes new 'x'", {"text": "abc", "old": "a", "new": "x"}),
        (ticket, "close AB-12 with high priority", {"number": "AB-12", "priority": "high"}),
        (note, "for 2024-01-01", {"day": "2024-01-01"}),
        (note, "for whenever", {}),
        (power, "use 16 bits", {"bits": 16}),
        (mail, "write to ann@example.org.", {"to": "ann@example.org"}),
        (paint, "red and greens", {"colours": ["red", "green"]}),
    ],
)
def test_one_reading_fills_the_call(function, text, arguments):
    assert fill_from(function, text) == arguments


@pytest.mark.parametrize(
    ("function", "text", "why"),
    [
        (convert, "20 miles in feet", "which unit comes first?"),
        (convert, "convert miles to feet", "no value"),
        (convert, "5 miles and 3 feet to kilometers", "a unit and a number too many"),
        (convert, "100 km/h to miles", "another unit than those of the tool"),
        (root, "the square root of -4", "the schema allows no negative number"),
        (root, "the square root of 1/2", "a fraction is two numbers"),
        (root, "the square root of 12%", "12 or 0.12?"),
        (roll, "roll two dice with 20 sides", "two numbers, two parameters"),
        (days_between, "between 2024-01-01 and 2024-02-01", "nobody said which is the start"),
        (days_between, "start 03/04/2024 end 2024-12-01", "day and month may change places"),
        (days_between, "start today end 2024-12-01", "the text does not say which day it is"),
        (search, "the 3 musketeers", "three hits, or the book?"),
        (search, '"this" or "that"', "two quotations"),
        (translate, "translate good morning to French", "where does the text end?"),
        (mean, "mean of 1,5", "a decimal comma?"),
        (mean, "mean of 100,200,300", "a long number?"),
        (mean, "the mean of nothing", "no number"),
        (percentile, "the percentile 0.9 of 1, 2, 3", "one of the numbers is the share"),
        (sort, "sort 3 1 2 in reverse", "the flag is named without a value"),
        (round_to, "round 10 to 1", "both are whole numbers"),
        (rectangle, "a 3 by 4 rectangle", "which side is the width?"),
        (rectangle, "width 3 and width 4", "the cue points at both"),
        (weather, "weather in Paris in 5 days", "the city is said, but not marked"),
        (replace_text, "replace 'a' by 'x' in 'abc'", "three quotations without a cue"),
        (ship, "ship it to Main Street", "an object is not read from text"),
        (power, "use 12 bits", "not a member"),
        (note, "for next Friday", "a date was said, and would be ignored"),
    ],
)
def test_no_reading_or_several_leave_the_call_alone(function, text, why):
    assert fill_from(function, text) is None, why


def test_a_number_beside_free_text_is_never_dropped():
    """The whole text is the query only if nothing in it could be another argument."""
    assert fill_from(search, "electric cars") == {"query": "electric cars"}
    assert fill_from(search, "electric cars, 3 of them") is None


def test_inputs_with_a_parameters_name_are_its_value():
    card = ToolCard.from_tool(translate)
    assert fill(card, {"text": "good morning", "language": "French"}) == {"text": "good morning", "language": "French"}
    assert fill(card, {"text": "good morning", "language": "Latin"}) is None
    assert fill(ToolCard.from_tool(rectangle), {"width": 3, "height": 4.5}) == {"width": 3, "height": 4.5}
    assert fill(ToolCard.from_tool(search), {"question": "cars", "limit": 3}) == {"query": "cars", "limit": 3}


def test_an_object_is_taken_as_an_input_but_never_read_from_text():
    card = ToolCard.from_tool(ship)
    customer = {"address": {"street": "Main Street"}}
    assert fill(card, {"question": "ship it", "customer": customer}) == {"customer": customer}
    assert fill(card, {"question": "ship it", "customer": {"address": {}}}) is None


def test_the_only_text_is_read_rather_than_taken_for_a_parameter_of_its_name():
    assert fill(ToolCard.from_tool(translate), {"text": "say 'yes' in German"}) == {"text": "yes", "language": "German"}


def test_after_a_step_the_text_alone_settles_nothing():
    step = (Step("root", {"x": 16}, 4.0),)
    assert fill(ToolCard.from_tool(root), {"question": "and of 16?"}, step) is None
    assert fill(ToolCard.from_tool(now), {"question": "and the time?"}, step) == {}


def test_members_that_differ_by_case_are_told_apart():
    def scale(prefix: Literal["m", "M"]): ...

    assert fill_from(scale, "use M please") == {"prefix": "M"}
    assert fill_from(scale, "use m please") == {"prefix": "m"}


def test_hidden_references_and_null_unions_are_read():
    schema = {
        "type": "object",
        "properties": {"unit": {"$ref": "#/$defs/Unit"}, "count": {"type": ["integer", "null"]}},
        "required": ["unit"],
        "$defs": {"Unit": {"type": "string", "enum": ["kg", "lb"]}},
    }
    assert fill(ToolCard("weigh", parameters=schema), {"q": "3 kg"}) == {"unit": "kg", "count": 3}


def test_a_broken_schema_fills_nothing():
    for schema in ({"type": "string", "pattern": "("}, {"$ref": "#/$defs/Missing"}, {"type": "nothing"}):
        card = ToolCard("odd", parameters={"properties": {"x": schema}, "required": ["x"]})
        assert fill(card, {"q": "anything"}) is None
        assert fill(card, {"q": "anything", "x": "a"}) is None


@given(
    st.integers(-(10**6), 10**6), st.sampled_from(["miles", "kilometers", "feet"]), st.sampled_from(["miles", "feet"])
)
def test_whatever_is_filled_was_said(value, source, target):
    arguments = fill_from(convert, f"convert {value} {source} to {target}")
    assert arguments == {"value": value, "from_unit": source, "to_unit": target}


@given(st.text(max_size=60))
def test_no_text_breaks_the_rules(text):
    for function in (convert, remind, search, mean, ticket, weather):
        arguments = fill_from(function, text)
        assert arguments is None or set(arguments) <= set(ToolCard.from_tool(function).properties)


@pytest.mark.parametrize(
    "text", ["12 " * 33_000, "one " * 25_000, "1," * 50_000, "miles " * 16_000, "2024-01-01 " * 9_000]
)
@pytest.mark.parametrize("function", [convert, mean])
def test_a_hundred_kilobytes_take_no_more_than_a_moment(function, text):
    started = time.perf_counter()
    fill_from(function, text)
    assert time.perf_counter() - started < 10  # quadratic work takes a minute and more


def test_the_parameters_in_doubt_are_named():
    card = ToolCard.from_tool(convert)
    assert unsettled_parameters(card, {"q": "5 miles in feet"}) == ["from_unit", "to_unit"]
    assert unsettled_parameters(card, {"q": "some miles"}) == ["value"]
