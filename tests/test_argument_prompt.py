"""Filling a call by a language model: validated, with one retry that shows what was wrong."""

from __future__ import annotations

from datetime import date
from typing import Literal

import dspy
import pytest
from scripted import scripted_lm

from dspy_router.program.calls import run
from dspy_router.program.filling.argument_prompt import (
    ArgumentError,
    FillArguments,
    ask_arguments,
    find_fault,
    require_lm,
)
from dspy_router.records import ToolCard


def book(day: date, seats: int, kind: Literal["window", "aisle"] = "aisle") -> None:
    """Book seats."""


CARD = ToolCard.from_tool(book)


def ask(*answers):
    """The outcome, and the prompts, of a model that gives these answers one after the other."""
    script = iter(answers)
    lm = scripted_lm(script=lambda prompt: {"arguments": next(script)})
    with dspy.context(lm=lm):
        return run(ask_arguments(dspy.Predict(FillArguments), CARD, {"question": "two seats"})), lm.engine.prompts


def test_the_prompt_shows_the_request_and_the_schema_of_this_tool_alone():
    arguments, (prompt,) = ask({"day": "2024-03-12", "seats": 2})
    assert arguments == {"day": "2024-03-12", "seats": 2}
    assert "two seats" in prompt
    assert "book: Book seats." in prompt
    assert '"enum": ["window", "aisle"]' in prompt


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        ({"seats": 2}, "'day' is a required property"),
        ({"day": "2024-03-12", "seats": "two"}, "seats: 'two' is not of type 'integer'"),
        ({"day": "12 March", "seats": 2}, "day: '12 March' is not a 'date'"),
        ({"day": "2024-03-12", "seats": 2, "kid": "aisle"}, "There is no parameter 'kid'; did you mean 'kind'?"),
        ("nonsense", "The answer was not in the format asked for"),
    ],
)
def test_the_second_attempt_sees_what_was_wrong(first, complaint):
    # What cannot be parsed is asked for once more by DSPy itself, through its JSON adapter.
    wrong = [first, first] if isinstance(first, str) else [first]
    arguments, prompts = ask(*wrong, {"day": "2024-03-12", "seats": 2})
    assert arguments == {"day": "2024-03-12", "seats": 2}
    assert complaint not in prompts[0]
    assert complaint in prompts[-1]


def test_two_wrong_answers_are_an_error():
    with pytest.raises(ArgumentError, match=r"did not fill a valid call of 'book'.*'day' is a required property"):
        ask({"seats": 1}, {"seats": 2})


def test_null_for_an_optional_parameter_leaves_it_out():
    arguments, _ = ask({"day": "2024-03-12", "seats": 2, "kind": None})
    assert arguments == {"day": "2024-03-12", "seats": 2}


def test_arguments_must_be_an_object():
    assert find_fault(CARD, ["2024-03-12"]) == "The arguments must be a JSON object, not list."


def test_a_broken_schema_leaves_the_check_to_the_tool():
    card = ToolCard("odd", parameters={"properties": {"x": {"type": "nothing"}}})
    assert find_fault(card, {"x": 1}) is None
    assert find_fault(card, {"y": 1}) is not None


def test_a_model_may_be_configured_or_set():
    filler = dspy.Predict(FillArguments)
    with pytest.raises(ArgumentError, match="'book'"):
        require_lm(filler, CARD, {"question": "two seats"})
    with dspy.context(lm=scripted_lm()):
        require_lm(filler, CARD, {})
    filler.lm = scripted_lm()
    require_lm(filler, CARD, {})
