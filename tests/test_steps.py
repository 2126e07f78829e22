"""Steps: whatever a tool does short of stopping the process becomes an observation."""

from __future__ import annotations

import datetime

import dspy
import pytest
from pydantic import BaseModel
from scripted import scripted_lm

from dspy_router.program.calls import run
from dspy_router.program.filling.argument_prompt import ArgumentError, FillArguments
from dspy_router.program.steps import LONGEST_OBSERVATION, describe_error, show, take_step
from dspy_router.records import ToolCard


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no picture of me")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Point(BaseModel):
    x: int
    day: datetime.date


def step(function, text="go", lm=None, **settings):
    tool = dspy.Tool(function)
    with dspy.context(lm=lm):
        plan = take_step(tool, ToolCard.from_tool(tool), {"q": text}, filler=dspy.Predict(FillArguments), **settings)
        return run(plan)


def test_a_step_tells_what_was_done():
    def root(x: float) -> float:
        return x**0.5

    taken = step(root, "the root of 16")
    assert (taken.tool, dict(taken.arguments), taken.result, taken.error) == ("root", {"x": 16}, 4.0, None)
    assert taken.filled_by == "rules"
    assert taken.seconds > 0


def test_a_tool_that_raises_is_an_observation():
    def explode() -> None:
        raise ValueError("boom")

    assert step(explode).error == "ValueError: boom"
    assert step(explode).filled_by == "none"


def test_a_result_that_cannot_be_shown_is_an_observation():
    def draw() -> object:
        return Unprintable()

    taken = step(draw)
    assert taken.result is None
    assert taken.error == "RuntimeError: no picture of me"


def test_a_hanging_tool_is_an_observation():
    def hang() -> None:
        import time

        time.sleep(1)

    assert step(hang, timeout=0.02).error == "TimeoutError: The tool gave no result within 0.02 s."


def test_an_error_without_words_has_its_name():
    assert describe_error(Mute()) == "Mute: (its message cannot be shown)"
    assert describe_error(KeyError()) == "KeyError"
    assert len(describe_error(ValueError("x" * 10**6))) < 3_000


def test_an_interrupt_passes():
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        step(stop)


def add(a: float, b: float) -> float:
    return a + b


def test_the_language_model_fills_what_the_rules_cannot():
    lm = scripted_lm({"arguments": {"a": 2, "b": 3}})
    taken = step(add, "2 and 3", lm)
    assert (taken.result, taken.filled_by, len(lm.engine.requests)) == (5.0, "lm", 1)


def test_a_call_that_nobody_can_fill_is_an_observation():
    lm = scripted_lm({"arguments": {"a": "two"}})
    taken = step(add, "2 and 3", lm)
    assert taken.error is not None
    assert taken.error.startswith("ArgumentError: The language model did not fill a valid call of 'add'.")
    assert (taken.filled_by, dict(taken.arguments), len(lm.engine.requests)) == ("lm", {}, 2)


def test_without_a_language_model_the_way_out_is_told():
    with pytest.raises(ArgumentError, match=r"'add' .* parameters 'a', 'b' .*dspy\.configure\(lm=.*quote a text"):
        step(add, "2 and 3")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (4.0, "4.0"),
        (None, "None"),
        ({"a": [1, datetime.date(2024, 1, 1)]}, '{"a":[1,"2024-01-01"]}'),
        (Point(x=1, day=datetime.date(2024, 1, 1)), '{"x":1,"day":"2024-01-01"}'),
        ([object], "[\"<class 'object'>\"]"),
        ("é".encode(), "é"),
        (b"\xff\xfe", "2 bytes of binary data"),
        ({"data": b"\xff"}, "{'data': b'\\xff'}"),
    ],
)
def test_any_result_reads_as_text(value, text):
    assert show(value) == text


def test_a_circle_reads_as_text():
    circle: list[object] = [1]
    circle.append(circle)
    assert show(circle) == "[1, [...]]"


def test_a_huge_result_is_cut_for_the_reader_and_kept_in_the_step():
    huge = "x" * (LONGEST_OBSERVATION + 7)
    assert show(huge) == "x" * LONGEST_OBSERVATION + "… [7 more characters left out]"

    def big() -> str:
        return huge

    assert step(big).result == huge


def test_an_image_stays_whole_for_the_adapter():
    image = dspy.Image("data:image/png;base64," + "A" * (LONGEST_OBSERVATION + 1))
    assert show(image) == str(image)
