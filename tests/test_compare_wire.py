"""Every kind of program over the wire, through the clients of DSPy and LiteLLM: what is told is what the server saw."""

from __future__ import annotations

import dspy
import pytest
from contenders import NATIVE, every_program, is_right, play
from toolbelt import LABELLED, TOOLS, examples
from wire import wire_lm

from benchmarks.loopback import Loopback, Reply
from dspy_router import RoutedAgent, compare

HARD = len([tool for _, tool, _ in LABELLED if tool is not None])
N = len(LABELLED)


def over_the_wire(programs, engine="auto", *, reply=play, **settings):
    with Loopback(reply) as server, dspy.context(lm=wire_lm(server, engine), adapter=NATIVE):
        return compare(programs, examples(), is_right, progress=False, **settings), server.requests


@pytest.fixture(scope="module")
def everything():
    return over_the_wire(every_program(), num_threads=4)


class TestEveryProgram:
    def test_each_is_right_where_its_chooser_is(self, everything):
        comparison, _ = everything
        assert not [one.first_error for one in comparison.programs if one.errors]
        by_lm = [comparison[name] for name in ("ReAct", "ReActV2", "native", "three calls", "routed, LM")]
        assert {one.score for one in by_lm} == {1.0}
        assert {one.tool_accuracy for one in by_lm} == {1.0}

    def test_calls_per_answer_are_those_that_the_way_of_choosing_takes(self, everything):
        comparison, _ = everything
        calls = {one.name: one.lm_calls for one in comparison.programs}
        filled = sum(tool in ("square_root", "count_letters") for _, tool, _ in LABELLED)
        assert calls["ReAct"] == pytest.approx((3 * HARD + 2 * (N - HARD)) / N)  # a turn, the end of it, the extraction
        assert calls["ReActV2"] == calls["native"] == pytest.approx((2 * HARD + (N - HARD)) / N)
        assert calls["three calls"] == pytest.approx((2 * N + filled) / N)
        assert calls["routed"] == calls["routed, history"] == 1.0
        assert calls["routed, none"] == 0.0

    def test_every_request_is_counted_once_and_its_tokens_are_the_servers(self, everything):
        comparison, requests = everything
        assert sum(len(run.calls) for run in comparison.runs) == len(requests)
        assert all(call.input_tokens and call.output_tokens for run in comparison.runs for call in run.calls)

    def test_those_that_share_a_router_choose_alike(self, everything):
        """Whoever writes the answer."""
        comparison, _ = everything
        names = ("routed", "routed, history", "routed, none")
        chosen = {name: [run.tools for run in comparison.runs if run.program == name] for name in names}
        assert chosen["routed"] == chosen["routed, history"] == chosen["routed, none"]
        assert comparison["routed"].latency["router"]["p50"] > 0
        assert comparison["ReAct"].latency["router"]["p95"] == 0

    def test_prompts_grow_with_every_call_of_a_loop(self, everything):
        comparison, _ = everything
        for name in ("ReActV2", "native"):
            first, second = comparison[name].context
            assert second.tokens > first.tokens
        assert len(comparison["routed"].context) == 1

    def test_every_pair_is_tested(self, everything):
        comparison, _ = everything
        count = len(comparison.programs)
        assert len(comparison.pairs) == count * (count - 1) // 2
        assert {pair.n for pair in comparison.pairs} == {N}

    def test_dollars_are_those_of_the_price_table(self, everything):
        comparison, _ = everything
        for one in comparison.programs:
            expected = N * ((one.input_tokens or 0) * 0.15 + (one.output_tokens or 0) * 0.60) / 1e6
            assert one.dollars == pytest.approx(expected)
        assert comparison.spent == pytest.approx(sum(one.dollars or 0 for one in comparison.programs))


# A temperature of its own each, as DSPy's cache does not mind which client asks.
@pytest.mark.parametrize(("engine", "temperature"), [("auto", 0.25), ("litellm", 0.26)])
class TestTheCache:
    def test_what_it_answers_costs_nothing_and_is_counted_as_such(self, engine, temperature):
        agent = every_program()["routed"]
        with Loopback(play) as server, dspy.context(lm=wire_lm(server, engine, cache=True, temperature=temperature)):
            first = compare({"a": agent}, examples(), is_right, progress=False)["a"]
            again = compare({"a": agent}, examples(), is_right, progress=False)["a"]
            assert len(server.requests) == N
        assert (first.cached_calls, first.lm_calls) == (0, 1.0)
        assert (again.cached_calls, again.lm_calls) == (N, 1.0)
        assert (again.dollars, again.input_tokens, again.output_tokens) == (0, 0, 0)
        assert first.dollars and first.dollars > 0
        assert again.price == pytest.approx(first.price)  # as if there were no cache


class TestTrouble:
    def test_a_language_model_that_refuses_some_is_told_and_the_others_go_on(self):
        def reply(body):
            return Reply("busy", status=429) if "hamlet" in str(body["messages"]) else play(body)

        comparison, _ = over_the_wire({"routed": every_program()["routed"]}, reply=reply, num_threads=2)
        one = comparison["routed"]
        assert (one.n, one.errors, one.failed_calls) == (N, 1, 1)
        assert "LMRateLimitError" in str(one.first_error)
        assert one.score == pytest.approx((N - 1) / N)
        assert one.dollars is not None  # a refusal is on no bill

    def test_a_price_that_nobody_knows_is_said_and_can_be_told(self):
        agent = RoutedAgent("question -> answer", TOOLS, encoder="hash")
        with Loopback(play) as server:
            lm = dspy.LM("openai/my-own-llama", api_base=server.url, api_key="none", cache=False)
            with dspy.context(lm=lm):
                unknown = compare({"a": agent}, examples()[:3], is_right, progress=False)["a"]
                prices = {"openai/my-own-llama": (1.0, 2.0)}
                told = compare({"a": agent}, examples()[:3], is_right, prices=prices, progress=False)["a"]
        assert (unknown.dollars, unknown.unpriced) == (None, ("openai/my-own-llama",))
        assert unknown.input_tokens == told.input_tokens
        expected = 3 * ((told.input_tokens or 0) * 1.0 + (told.output_tokens or 0) * 2.0) / 1e6
        assert told.dollars == pytest.approx(expected)
