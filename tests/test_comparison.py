"""A comparison from runs that are written out: every figure of it is worked out by hand."""

from __future__ import annotations

import json

import pytest
from measured import LOOP, ROUTED
from pydantic import TypeAdapter

from dspy_router.evaluation.comparison import Comparison
from dspy_router.evaluation.runs import LMCall, Run


@pytest.fixture
def comparison() -> Comparison:
    return Comparison.of(["loop", "routed"], [*LOOP, *ROUTED], examples=3)


class TestStanding:
    def test_calls_and_tokens_are_per_answer_and_what_the_cache_or_an_error_answered_is_not_on_the_bill(
        self, comparison
    ):
        loop = comparison["loop"]
        assert (loop.lm_calls, loop.cached_calls, loop.failed_calls) == (2.0, 1, 1)
        assert (loop.input_tokens, loop.output_tokens) == (150.0, 15.0)
        assert loop.dollars == pytest.approx(0.03)
        assert loop.price == pytest.approx(0.03)  # (0.01 + 0.02 + 0.03) / 2: as if there were no cache
        assert loop.tokens == pytest.approx((110 + 220 + 330) / 2)
        assert comparison.spent == pytest.approx(0.03 + 0.005)

    def test_prompts_by_step_count_those_of_the_cache_too(self, comparison):
        assert [(one.step, one.tokens, one.n) for one in comparison["loop"].context] == [(1, 200.0, 2), (2, 200.0, 1)]

    def test_latency_is_split(self, comparison):
        latency = comparison["loop"].latency
        assert latency["all"] == pytest.approx({"p50": 2.0, "p95": 2.9})
        assert latency["lm"]["p50"] == pytest.approx(0.4)
        assert latency["tool"]["p50"] == pytest.approx(0.05)
        assert comparison["routed"].latency["router"]["p95"] > 0

    def test_a_run_that_raised_counts_the_minimum_and_is_told(self, comparison):
        routed = comparison["routed"]
        assert (routed.n, routed.errors, routed.first_error) == (3, 1, "ValueError: too hard")
        assert routed.score == pytest.approx(2 / 3)
        other = Comparison.of(["loop", "routed"], [*LOOP, *ROUTED], minimum=-1.0)
        assert other["routed"].score == pytest.approx(1 / 3)

    def test_the_difference_is_to_the_first_on_what_both_have_answered(self, comparison):
        assert comparison["loop"].difference is None
        assert comparison["routed"].difference == 0.0  # 1 − 1 and 0 − 0; the third the loop never saw

    def test_tool_accuracy_where_it_is_known(self, comparison):
        loop, routed = comparison["loop"], comparison["routed"]
        assert (loop.labelled, loop.tool_accuracy) == (2, 0.5)
        assert (routed.labelled, routed.tool_accuracy, routed.tool_interval) == (0, None, None)

    def test_an_unknown_price_is_not_zero(self):
        run = Run("a", "f", "1", 1.0, calls=(LMCall("m", 0.1, 10, 1, 0.5), LMCall("mine/llama", 0.1, 10, 1)))
        one = Comparison.of(["a"], [run])
        assert (one["a"].dollars, one["a"].price, one.spent) == (None, None, None)
        assert one["a"].unpriced == ("mine/llama",)
        assert one["a"].input_tokens == 20

    def test_unreported_tokens_are_not_zero(self):
        one = Comparison.of(["a"], [Run("a", "f", "1", 1.0, calls=(LMCall("m", 0.1),))])["a"]
        assert (one.input_tokens, one.output_tokens, one.tokens, one.context) == (None, None, None, ())


class TestForms:
    def test_a_row_a_program_flat_and_ready_for_json(self, comparison):
        rows = [json.loads(line) for line in comparison.to_json_lines().splitlines()]
        assert rows == comparison.to_rows()
        assert [row["name"] for row in rows] == ["loop", "routed"]
        assert rows[0]["context_2"] == 200.0
        assert rows[0]["score_low"] < rows[0]["score"] < rows[0]["score_high"]
        assert not [value for row in rows for value in row.values() if isinstance(value, dict | list)]

    def test_the_dict_is_ready_for_json(self, comparison):
        told = json.loads(json.dumps(comparison.to_dict()))
        assert [one["name"] for one in told["programs"]] == ["loop", "routed"]
        assert told["pairs"][0]["test"] == "McNemar, exact"
        assert told["examples"] == 3
        assert "runs" not in told

    @pytest.mark.parametrize("run", [*LOOP, *ROUTED])
    def test_a_run_is_read_back_as_it_was(self, run):
        assert TypeAdapter(Run).validate_python(json.loads(json.dumps(run.to_dict()))) == run

    def test_a_program_that_was_not_reached_is_left_out(self):
        one = Comparison.of(["loop", "never"], LOOP, stopped="interrupted")
        assert [standing.name for standing in one.programs] == ["loop"]
        with pytest.raises(KeyError, match="No program 'never' was run; there are loop"):
            _ = one["never"]

    def test_nothing_at_all(self):
        one = Comparison.of(["loop"], [])
        assert (one.programs, one.pairs, one.spent) == ((), (), 0)
