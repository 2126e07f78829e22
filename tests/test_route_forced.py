"""A forced tool: within `forced` a route says what it is told to, wherever DSPy takes the call."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest
from crowds import CARDS, crowded
from toolbelt import LABELLED, TOOLS, examples, small_router

from dspy_router import RoutedAgent
from dspy_router.program.route import Route, forced


def agent(**settings: Any) -> Any:
    return RoutedAgent("question -> answer", TOOLS, router=small_router(), **settings)


def hit(example, prediction, trace=None):
    return prediction.answer == example.answer


def test_the_forced_tool_is_called_however_unsure_the_router_is():
    program = agent(synthesis="none")
    program.router.threshold = 1.0
    with forced("opening_hours"):
        prediction = program(question="the square root of 16")
    assert prediction.answer == "9 to 5"
    own = program.choose(question="the square root of 16")
    decision = prediction.decision
    assert (decision.tool, decision.accepted) == ("opening_hours", True)
    assert (decision.source, decision.propensity) == ("router", 1.0)
    assert (dict(decision.probabilities), decision.none_probability) == (
        dict(own.probabilities),
        own.none_probability,
    )
    assert not own.accepted


def test_none_goes_to_the_fallback():
    class Shrug(dspy.Module):
        def forward(self, question: str) -> dspy.Prediction:
            return dspy.Prediction(answer="no idea")

    program = agent(synthesis="none", fallback=Shrug())
    assert program(question="the square root of 16").answer == "4.0"
    with forced(None):
        assert program(question="the square root of 16").answer == "no idea"


def test_it_may_depend_on_the_text():
    program = agent(synthesis="none")
    texts = {"the square root of 16": "opening_hours", "are you open today": None}
    with forced(texts):
        answers = [program(question=question).answer for question in (*texts, "count the letters of 'abc'")]
    assert answers == ["9 to 5", None, "3"]


def test_the_innermost_counts_and_the_outer_one_returns():
    route = Route(small_router())
    free = route.consult("the square root of 16")
    with forced("opening_hours"):
        with forced({"another text": None}):
            assert route.consult("the square root of 16") == free
        with pytest.raises(KeyError), forced("count_letters"):
            assert route.consult("the square root of 16").tool == "count_letters"
            raise KeyError
        assert route.consult("the square root of 16").tool == "opening_hours"
    assert route.consult("the square root of 16") == free


def test_it_reaches_the_threads_of_parallel_and_evaluate():
    program = agent(synthesis="none")
    rows = examples()
    with forced("opening_hours"):
        together = dspy.Parallel(num_threads=3, disable_progress_bar=True)
        predictions: Any = together([(program, example.inputs()) for example in rows])
        score = dspy.Evaluate(devset=rows, metric=hit, num_threads=3)(program).score
    assert {prediction.answer for prediction in predictions} == {"9 to 5"}
    assert score == round(100 * sum(answer == "9 to 5" for *_, answer in LABELLED) / len(rows), 2)


async def test_it_reaches_async_tasks_and_keeps_them_apart():
    program = agent(synthesis="none")

    async def ask(tool: str) -> Any:
        with forced(tool):
            await asyncio.sleep(0)
            return (await program.acall(question="count the letters of '16'")).steps[0].tool

    tools = ["square_root", "count_letters", "opening_hours"] * 3
    assert await asyncio.gather(*map(ask, tools)) == tools


def test_it_reaches_the_thread_of_a_tool_with_a_time_limit():
    """Such a tool may ask an agent of its own."""
    inner = Route(small_router())

    def ask(text: str) -> str | None:
        """Ask the other agent."""
        return inner.consult(text).tool

    program = RoutedAgent("question -> answer", [ask, *TOOLS], encoder="hash", synthesis="none", tool_timeout=5.0)
    with forced({"please ask": "ask", "the root of 16": "opening_hours", "ask 'the root of 16'": "ask"}):
        assert program(question="ask 'the root of 16'").steps[0].result == "opening_hours"


@pytest.mark.parametrize("tools", ["opening_hour", {"the root of 16": "opening_hour"}])
def test_an_unknown_tool_is_refused_with_the_nearest_name(tools):
    with forced(tools), pytest.raises(ValueError, match=r"no tool 'opening_hour'.*Did you mean 'opening_hours'"):
        Route(small_router()).consult("the root of 16")


def test_a_tool_that_may_not_be_chosen_here_is_refused():
    with forced("opening_hours"), pytest.raises(ValueError, match="only these may be chosen here: square_root"):
        Route(small_router()).consult("the root of 16", ["square_root"])


@pytest.mark.parametrize("tools", [7, ["opening_hours"], {"the root of 16": 7}])
def test_what_is_no_name_is_refused_at_once(tools):
    with pytest.raises(TypeError, match="must be a tool's name, or None"), forced(tools):
        pass


def test_a_tool_that_the_decision_does_not_list_can_be_forced_unless_it_is_not_allowed():
    route = Route(crowded())
    decision = route.consult("a flight")
    unlisted = next(card.name for card in CARDS if card.name not in decision.probabilities)
    with forced(unlisted):
        assert route.consult("a flight").tool == unlisted
        with pytest.raises(ValueError, match="only these may be chosen here"):
            route.consult("a flight", allowed=[card.name for card in CARDS if card.name != unlisted])
