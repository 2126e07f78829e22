"""What a meter sees of a run: calls with their reports, tools, routers, and whose the time was."""

from __future__ import annotations

import asyncio
import time

import dspy
import pytest
from dspy.clients import costs
from dspy.utils.exceptions import LMError
from hypothesis import given
from hypothesis import strategies as st
from scripted import scripted_lm
from toolbelt import TOOLS, small_router

from dspy_router import RoutedAgent
from dspy_router.program.comparing.metering import Meter, Span, split_time

DOLLARS = 0.25


@pytest.fixture
def predict():
    with dspy.context(lm=scripted_lm()):
        yield dspy.Predict("question -> answer")


@pytest.fixture
def _prices(monkeypatch):
    monkeypatch.setattr(costs, "estimate_cost", lambda *_, **__: (DOLLARS, {}))


class TestCalls:
    def test_each_has_its_own_report(self, predict, _prices):
        with Meter().watching() as meter:
            predict(question="one?")
            predict(question="two?")
        predict(question="three?")
        assert [(call.model, call.input_tokens, call.output_tokens, call.dollars) for call in meter.calls] == [
            ("scripted/model", 1, 1, DOLLARS)
        ] * 2
        assert all(call.spent and 0 < call.seconds <= meter.seconds for call in meter.calls)

    def test_meters_at_the_same_time_see_their_own(self, predict):
        """One model, many threads: its history is shared, the meters are not."""

        def ask(number):
            with Meter().watching() as meter:
                for _ in range(number % 3):
                    predict(question=f"number {number}?")
            return len([call for call in meter.calls if call.input_tokens == 1])

        together = dspy.Parallel(num_threads=8, disable_progress_bar=True)
        assert together([(ask, (number,)) for number in range(30)]) == [number % 3 for number in range(30)]

    def test_threads_that_a_program_starts_are_its_own(self, predict):
        with Meter().watching() as meter:
            dspy.Parallel(num_threads=4, disable_progress_bar=True)(
                [(predict, {"question": f"number {number}?"}) for number in range(12)]
            )
        assert [call.input_tokens for call in meter.calls] == [1] * 12

    def test_asynchronous_calls_at_once(self, predict):
        async def ask():
            await asyncio.gather(*(predict.acall(question=f"number {number}?") for number in range(5)))

        with Meter().watching() as meter:
            asyncio.run(ask())
        assert [call.input_tokens for call in meter.calls] == [1] * 5

    def test_the_cache_is_not_the_model(self, predict, _prices):
        with dspy.context(lm=scripted_lm().copy(cache=True)), Meter().watching() as meter:
            for _ in range(3):
                predict(question="the same for the meter?")
        assert [call.cached for call in meter.calls] == [False, True, True]
        assert [call.input_tokens for call in meter.calls] == [1, 1, 1]  # the prompt was as long
        assert [call.dollars for call in meter.calls] == [DOLLARS] * 3  # what it cost when it was made

    def test_a_call_that_fails_is_a_call_with_an_error_and_without_a_report(self):
        def script(prompt):
            raise ConnectionError("gone")

        lm = scripted_lm(script=script, num_retries=0)
        with Meter().watching() as meter, dspy.context(lm=lm), pytest.raises(LMError):
            dspy.Predict("question -> answer")(question="one?")
        (call,) = meter.calls
        assert call.error is not None and "gone" in call.error
        assert (call.spent, call.input_tokens, call.dollars) == (False, None, None)

    def test_prices_of_ones_own_go_first(self, predict, _prices):
        with Meter({"scripted/model": (1_000_000.0, 2_000_000.0)}).watching() as meter:
            predict(question="one?")
        assert meter.calls[0].dollars == 3.0

    def test_an_unknown_price_stays_unknown(self, predict):
        with Meter().watching() as meter:
            predict(question="one?")
        assert meter.calls[0].dollars is None


class TestParties:
    def test_tools_and_routers_are_seen(self):
        agent = RoutedAgent("question -> answer", TOOLS, router=small_router())
        with dspy.context(lm=scripted_lm()), Meter().watching() as meter:
            answer = agent(question="what is the square root of 16")
        assert meter.tools == ["square_root"]
        assert meter.decision == answer.decision
        seconds = meter.seconds_of()
        assert all(value > 0 for value in seconds.values())
        assert sum(seconds.values()) <= meter.seconds

    def test_a_tool_waits_for_the_language_model_that_it_asks(self):
        """Its time is its own part only."""

        def slow(prompt):
            time.sleep(0.2)
            return {}

        def ask(question: str) -> str:
            """Ask."""
            return dspy.Predict("question -> answer")(question=question).answer

        with dspy.context(lm=scripted_lm(script=slow)), Meter().watching() as meter:
            dspy.Tool(ask)(question="why?")
        seconds = meter.seconds_of()
        assert seconds["lm"] >= 0.2
        assert seconds["tool"] <= meter.seconds - 0.2


class TestSplitTime:
    def test_by_hand(self):
        """Two questions at once from 1 to 3 and 2 to 4; a tool from 0 to 2 and 5 to 6; a router from 5 to 8."""
        spans = [
            Span("lm", 1, 3),
            Span("lm", 2, 4),
            Span("tool", 0, 2),
            Span("tool", 5, 6),
            Span("router", 5, 8),
        ]
        assert split_time(spans, 0, 10) == {"lm": 3, "tool": 2, "router": 2}

    def test_what_goes_on_after_the_end_is_left_out(self):
        assert split_time([Span("tool", 1, 9)], 0, 3) == {"lm": 0, "tool": 2, "router": 0}

    @given(
        st.lists(st.tuples(st.sampled_from(["lm", "tool", "router"]), st.integers(0, 9), st.integers(0, 9)), max_size=8)
    )
    def test_no_moment_is_counted_twice(self, drawn):
        spans = [Span(party, min(a, b), max(a, b)) for party, a, b in drawn]  # type: ignore[arg-type]
        seconds = split_time(spans, 0, 9)
        covered = {second for one in spans for second in range(int(one.start), int(one.end))}
        assert sum(seconds.values()) == len(covered)
