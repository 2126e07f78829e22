"""Where the language model that should take over fails: three policies, tried over the wire and without one."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import LMError, LMRateLimitError, LMServerError, LMTimeoutError, LMTransportError
from litellm.exceptions import RateLimitError
from toolbelt import TOOLS
from wire import ADAPTERS, ROOT, ask, calling, submitting, wire_lm

from benchmarks.loopback import Loopback, Reply
from dspy_router import RoutedAgent
from dspy_router.program.escalation import NoLanguageModelError, is_lm_trouble
from dspy_router.program.route import forced

NATIVE = ADAPTERS["chat, native"]
SQUARE_ROOT, FOUR = calling(NATIVE, [("square_root", {"number": 16})]), submitting(NATIVE, answer="four")


def agent(tools: Any = TOOLS, **settings: Any) -> Any:
    return RoutedAgent("question -> answer", tools, encoder="hash", **{"threshold": 1.0, **settings})


TROUBLE = {
    "429": (Reply("slow down", status=429), {}, LMRateLimitError, "slow down"),
    "500": (Reply("oh dear", status=500), {}, LMServerError, "oh dear"),
    # DSPy's own engine calls it an error of the transport.
    "timeout": (Reply("late", delay=600), {"timeout": 0.2}, LMTimeoutError | LMTransportError, "(?i)timed out|timeout"),
}


@pytest.mark.parametrize(("reply", "settings", "error", "told"), TROUBLE.values(), ids=TROUBLE)
@pytest.mark.parametrize("engine", ["auto", "litellm"])
class TestTrouble:
    def test_raise(self, engine, reply, settings, error, told):
        with pytest.raises(LMError, match=told) as raised:
            ask(agent(), reply, engine=engine, **settings)
        assert isinstance(raised.value, error)

    def test_best_effort_acts_on_the_routers_choice(self, engine, reply, settings, error, told):
        program = agent(synthesis="none", on_error="best_effort")
        prediction, requests = ask(program, reply, engine=engine, **settings)
        assert (prediction.answer, [step.tool for step in prediction.steps]) == ("4.0", ["square_root"])
        decision = prediction.decision
        assert (decision.tool, decision.accepted, decision.source) == ("square_root", False, "router")
        assert re.search(told, decision.error)
        assert len(requests) == 1

    def test_none_calls_nothing(self, engine, reply, settings, error, told):
        prediction, _ = ask(agent(on_error="none"), reply, engine=engine, **settings)
        assert (prediction.answer, prediction.steps) == (None, ())
        decision = prediction.decision
        assert (decision.tool, decision.accepted, decision.source) == (None, False, "router")
        assert re.search(told, decision.error)


class TestMoreTrouble:
    def test_what_the_model_did_before_it_failed_is_not_done_again(self):
        program = agent(synthesis="none", on_error="best_effort")
        prediction, _ = ask(program, calling(NATIVE, [("opening_hours", {})]), Reply("oh dear", status=500))
        assert (prediction.answer, [step.tool for step in prediction.steps]) == ("9 to 5", ["opening_hours"])
        assert (prediction.decision.tool, prediction.decision.source) == ("opening_hours", "lm")
        assert "oh dear" in prediction.decision.error

    def test_time_is_up_for_the_whole_of_it_and_for_its_tools(self):
        called, release = [], threading.Event()

        def square_root(number: float) -> float:
            """Square root of a number."""
            called.append(number)
            return 4.0

        def replies(body):
            release.wait(30)
            return SQUARE_ROOT

        program = agent(tools=[square_root], on_error="none", fallback_timeout=0.1)
        with Loopback(replies) as server, dspy.context(lm=wire_lm(server), adapter=NATIVE):
            prediction = program(question=ROOT)
            assert prediction.decision.error == "TimeoutError: The fallback gave no result within 0.1 s."
            release.set()
            while len(server.requests) < 3:  # its calls of the tool are refused, and it asks on
                time.sleep(0.01)
        assert not called

    async def test_time_is_up_when_awaited_too(self):
        program = agent(on_error="none", fallback_timeout=0.1)
        with Loopback([Reply(delay=600)]) as server, dspy.context(lm=wire_lm(server), adapter=NATIVE):
            prediction = await program.acall(question=ROOT)
        assert "no result within 0.1 s" in prediction.decision.error

    def test_a_model_that_never_submits_is_trouble(self):
        prediction, _ = ask(agent(on_error="none"), *[SQUARE_ROOT] * 30)
        assert prediction.decision.error.startswith("ValueError: ReActV2 failed to produce final outputs")
        assert {step.tool for step in prediction.steps} == {"square_root"}

    def test_errors_of_the_program_are_raised(self):
        class Broken(dspy.Module):
            def forward(self, question: str) -> dspy.Prediction:
                raise KeyError("a bug")

        for policy in ("best_effort", "none"):
            with pytest.raises(KeyError, match="a bug"):
                ask(agent(fallback=Broken(), on_error=policy), FOUR)

    def test_a_module_may_be_limited_too(self):
        class Limited(dspy.Module):
            def forward(self, question: str) -> dspy.Prediction:
                raise LMRateLimitError("slow down")

        program = agent(fallback=Limited(), on_error="best_effort", synthesis="none")
        assert ask(program, FOUR)[0].answer == "4.0"

    def test_a_forced_choice_stays(self):
        class Limited(dspy.Module):
            def forward(self, question: str) -> dspy.Prediction:
                raise LMRateLimitError("slow down")

        with forced(None):
            prediction, _ = ask(agent(fallback=Limited(), on_error="none"), FOUR)
        assert (prediction.decision.tool, prediction.decision.accepted) == (None, True)

    def test_without_any_model_that_is_said(self):
        program = agent(synthesis="none")
        with pytest.raises(NoLanguageModelError, match=r"'square_root'.*no language model.*fallback=None"):
            program(question=ROOT)
        assert agent(synthesis="none", on_error="best_effort")(question=ROOT).answer == "4.0"
        prediction = agent(synthesis="none", on_error="none")(question=ROOT)
        assert prediction.answer is None
        assert prediction.decision.error.startswith("NoLanguageModelError")

    def test_litellms_own_errors_count(self):
        assert is_lm_trouble(RateLimitError("slow down", "openai", "gpt"))
        assert is_lm_trouble(ConnectionResetError())
        assert not is_lm_trouble(ValueError("a bug"))
        assert not is_lm_trouble(TypeError())
