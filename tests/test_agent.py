"""The agent: one decision of the router, one prompt for the answer, and no tool can crash it."""

from __future__ import annotations

import asyncio
import threading
from typing import Literal

import dspy
import pytest
from scripted import scripted_lm
from toolbelt import TOOLS, count_letters, small_router, square_root

from dspy_router import HashEncoder, RoutedAgent, Router
from dspy_router.program.filling.argument_prompt import ArgumentError

ROOT = "what is the square root of 16"


def agent(signature="question -> answer", tools=TOOLS, **settings) -> RoutedAgent:
    return RoutedAgent(signature, tools, encoder="hash", **settings)


@pytest.fixture
def lm():
    lm = scripted_lm({"answer": "It is 4."})
    with dspy.context(lm=lm):
        yield lm


class TestResult:
    def test_one_prompt_writes_the_answer_from_the_tools_result(self, lm):
        prediction = agent()(question=ROOT)
        assert prediction.answer == "It is 4."
        (step,) = prediction.steps
        assert (step.tool, dict(step.arguments), step.result, step.filled_by) == (
            "square_root",
            {"number": 16},
            4.0,
            "rules",
        )
        assert prediction.decision == agent().choose(question=ROOT)
        (prompt,) = lm.engine.prompts
        assert "[[ ## tool_result ## ]]\n4.0" in prompt

    def test_it_stands_where_react_stood(self, lm):
        prediction = RoutedAgent("question -> answer", TOOLS, 5, encoder="hash")(question=ROOT, max_iters=3)
        assert prediction.answer == "It is 4."

    def test_the_prompt_does_not_grow_with_the_tools(self, lm):
        def other(n: int):
            def tool(key: str) -> str:
                return key

            return dspy.Tool(tool, name=f"zebra_{n}", desc=f"Feed zebra number {n}.")

        agent()(question=ROOT)
        prediction = agent(tools=[*TOOLS, *map(other, range(100))])(question=ROOT)
        assert prediction.steps[0].tool == "square_root"
        small, large = lm.engine.prompts
        assert small == large
        assert "count_letters" not in large

    async def test_it_is_awaited_as_well(self, lm):
        async def later(number: float) -> float:
            """Square root of a number."""
            await asyncio.sleep(0)
            return number**0.5

        prediction = await agent(tools=[later, count_letters]).acall(question=ROOT)
        assert (prediction.answer, prediction.steps[0].result) == ("It is 4.", 4.0)

    @pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # DSPy drops it
    def test_an_async_tool_called_in_sync_is_an_observation_that_says_what_to_do(self, lm):
        async def later(number: float) -> float:
            """Square root of a number."""
            return number**0.5

        program = agent(tools=[later, count_letters])
        assert "please use `acall`" in program(question=ROOT).steps[0].error
        with dspy.context(allow_tool_async_sync_conversion=True):
            assert program(question=ROOT).steps[0].result == 4.0


class TestNone:
    def test_the_result_is_the_answer_and_costs_no_language_model(self):
        program = agent("question -> answer: float", synthesis="none")
        assert program(question=ROOT).answer == 4.0
        assert agent(synthesis="none")(question=ROOT).answer == "4.0"

    def test_a_failed_tool_has_no_answer(self):
        def square_root(number: float) -> float:
            """Square root of a number."""
            raise ArithmeticError("no root today")

        prediction = agent(tools=[square_root, count_letters], synthesis="none")(question=ROOT)
        assert prediction.answer is None
        assert prediction.steps[0].error == "ArithmeticError: no root today"

    def test_a_result_of_another_type_is_an_observation(self):
        prediction = agent("question -> answer: Literal['a', 'b']", synthesis="none")(question=ROOT)
        assert prediction.answer is None
        assert "ValidationError" in prediction.steps[0].error

    def test_a_call_that_cannot_be_filled_asks_for_a_language_model(self):
        with pytest.raises(ArgumentError, match=r"'square_root'.*'number'.*dspy\.configure"):
            agent(synthesis="none")(question="the square root of 16 or 25")


class TestHistory:
    def test_the_model_sees_a_call_of_its_own(self, lm):
        assert agent(synthesis="history")(question=ROOT).answer == "It is 4."
        (request,) = lm.engine.requests
        assert '"name": "square_root"' in request.messages[1].text


class TestUnsure:
    def test_the_fallback_answers_and_the_decision_comes_with_it(self, lm):
        program = agent(threshold=1.0, fallback=dspy.ChainOfThought("question -> answer"))
        prediction = program(question=ROOT)
        assert (prediction.answer, prediction.reasoning, prediction.steps) == ("It is 4.", "some reasoning", ())
        assert (prediction.decision.accepted, prediction.decision.source) == (False, "router")
        assert "tool_result" not in lm.engine.prompts[0]

    async def test_the_fallback_is_awaited_as_well(self, lm):
        program = agent(threshold=1.0, fallback=dspy.Predict("question -> answer"))
        assert (await program.acall(question=ROOT)).answer == "It is 4."

    def test_a_fallback_may_do_without_a_language_model(self):
        class Shrug(dspy.Module):
            def forward(self, question: str) -> dspy.Prediction:
                return dspy.Prediction(answer=f"no idea about {question}")

        assert agent(threshold=1.0, fallback=Shrug())(question="it").answer == "no idea about it"

    def test_without_a_fallback_the_model_answers_without_a_tool(self, lm):
        prediction = agent(threshold=1.0, fallback=None)(question=ROOT)
        assert (prediction.answer, prediction.steps) == ("It is 4.", ())
        assert "No tool was called." in lm.engine.prompts[0]

    def test_without_a_model_there_is_no_answer(self):
        prediction = agent(threshold=1.0, synthesis="none", fallback=None)(question=ROOT)
        assert (prediction.answer, prediction.steps) == (None, ())

    def test_none_goes_to_the_fallback_however_sure(self, lm):
        router = small_router()
        with pytest.MonkeyPatch.context() as patch:
            sure = router.decide(ROOT)
            patch.setattr(Router, "decide", lambda *_, **__: type(sure)(None, {}, 1.0))
            program = RoutedAgent(
                "question -> answer", TOOLS, router=router, fallback=dspy.Predict("question -> answer")
            )
            prediction = program(question=ROOT)
        assert (prediction.steps, prediction.decision.tool) == ((), None)

    def test_a_fallback_must_answer_with_a_prediction(self):
        class Wrong(dspy.Module):
            def forward(self, question):
                return question

        with pytest.raises(TypeError, match=r"must return a dspy\.Prediction; got str"):
            agent(threshold=1.0, fallback=Wrong())(question=ROOT)


class TestMisuse:
    @pytest.mark.parametrize(
        ("settings", "error", "message"),
        [
            ({"tools": [square_root, square_root]}, ValueError, "Two tools are called 'square_root'"),
            ({"tools": [square_root, "root"]}, TypeError, "got str: 'root'"),
            ({"signature": "question -> answer, score", "synthesis": "none"}, ValueError, "exactly one output field"),
            ({"signature": "picture: dspy.Image -> answer"}, ValueError, "none of the inputs is one: picture"),
            ({"synthesis": "nothing"}, ValueError, "must be 'result', 'history' or 'none'"),
            ({"max_steps": 2}, ValueError, "max_steps must be 1"),
            ({"max_iters": 0}, ValueError, "max_iters must be a whole number"),
            ({"tool_timeout": 0}, ValueError, "tool_timeout must be a positive number"),
            ({"threshold": 2}, ValueError, "threshold"),
            ({"fallback": print}, TypeError, "fallback must be a dspy.Module"),
            ({"router": "minilm"}, TypeError, "must be a dspy_router.Router; got str"),
            ({"router": small_router(), "threshold": 0.5}, ValueError, "set router.threshold instead"),
            ({"router": small_router(), "tools": TOOLS[:2]}, ValueError, "opening_hours"),
        ],
    )
    def test_is_refused_at_construction(self, settings, error, message):
        with pytest.raises(error, match=message):
            agent(**settings)

    def test_a_missing_model_is_told_before_the_tool_is_called(self):
        called = []

        def shout(text: str) -> None:
            """Shout the letters of a text."""
            called.append(text)

        with pytest.raises(ValueError, match=r"No language model is configured to write the answer.*synthesis='none'"):
            agent(tools=[shout, square_root])(question="shout the text 'hey'")
        assert not called

    def test_missing_and_empty_inputs_are_told(self, lm):
        with pytest.raises(ValueError, match="expected an input among question"):
            agent()(query=ROOT)
        with pytest.raises(ValueError, match="must not be empty"):
            agent()(question=" ")

    def test_a_hundred_kilobytes_are_fine(self, lm):
        assert agent()(question=f"count the letters of '{'letters ' * 13_000}'").steps[0].result == 91_000


class TestTools:
    @pytest.mark.parametrize("timeout", [None, 5.0])
    def test_a_tool_that_raises_is_told_to_the_model(self, lm, timeout):
        def square_root(number: float) -> float:
            """Square root of a number."""
            raise ArithmeticError("no root today")

        prediction = agent(tools=[square_root, count_letters], tool_timeout=timeout)(question=ROOT)
        assert prediction.answer == "It is 4."
        assert "Error: ArithmeticError: no root today" in lm.engine.prompts[0]

    async def test_a_hanging_tool_is_told_to_the_model(self, lm):
        release = threading.Event()

        def square_root(number: float) -> None:
            """Square root of a number."""
            release.wait(30)

        program = agent(tools=[square_root, count_letters], tool_timeout=0.05)
        assert "no result within 0.05 s" in program(question=ROOT).steps[0].error
        assert "no result within 0.05 s" in (await program.acall(question=ROOT)).steps[0].error
        release.set()

    def test_an_interrupt_passes(self, lm):
        def square_root(number: float) -> None:
            """Square root of a number."""
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            agent(tools=[square_root, count_letters])(question=ROOT)


def test_several_inputs_are_read_in_the_signatures_order():
    program = agent("question, place -> answer", synthesis="none")
    one, other = program.choose(question=ROOT, place="Rome"), program.choose(place="Rome", question=ROOT)
    assert one == other == program.router.decide(f"question: {ROOT}\nplace: Rome")


def test_a_conversation_is_not_read_by_the_router(lm):
    program = agent("question, past: dspy.History -> answer")
    past = dspy.History(messages=[{"question": "when do you open?", "answer": "at 9"}])
    assert program.choose(question=ROOT, past=past) == small_router().decide(ROOT)
    program(question=ROOT, past=past)
    assert "at 9" in lm.engine.prompts[0]


def test_a_type_of_the_callers_is_found_in_the_signature():
    Colour = Literal["red", "blue"]
    program = agent("question -> colour: Colour", synthesis="none")
    assert program.signature.output_fields["colour"].annotation == Colour


def test_an_encoder_may_be_handed_over():
    encoder = HashEncoder()
    assert RoutedAgent("q -> a", TOOLS, encoder=encoder).router.encoder is encoder
