"""Credit by counterfactuals: each loss splits into routing, failed calls and synthesis, with no remainder."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.evaluation.credit import CreditSplit, assign_credit, split_credit

TOOLS = st.sampled_from(["a", "b", "c", None])
ROWS = st.dictionaries(TOOLS, st.floats(-10, 1), min_size=1)


@st.composite
def cases(draw):
    """One example: what was tried, which of it failed, and what was chosen among it."""
    rewards = draw(ROWS)
    tried = st.sampled_from(list(rewards))
    return draw(tried), rewards, draw(st.sets(tried))


@given(st.lists(cases(), min_size=1, max_size=20))
def test_the_parts_add_up_to_the_maximum_and_none_is_negative(rows):
    chosen, rewards, failed = zip(*rows, strict=True)
    split = split_credit(chosen, rewards, failed=failed)
    parts = (split.routing_regret, split.failures, split.synthesis_shortfall)
    assert math.isclose(split.score + sum(parts), split.maximum, rel_tol=0, abs_tol=1e-12)
    assert min(parts) >= 0
    assert split.score == pytest.approx(sum(row[tool] for tool, row, _ in rows) / len(rows))


@given(cases(), st.floats(-10, 1))
def test_trying_another_tool_never_lowers_the_regret(case, reward):
    """What is said to be the router's fault stays so, whatever else is tried."""
    chosen, rewards, failed = case
    before = assign_credit(chosen, rewards, failed=failed)
    after = assign_credit(chosen, {**rewards, "another": reward}, failed=failed)
    assert after.score == before.score
    assert after.routing_regret >= before.routing_regret


def test_by_hand():
    """Four examples, maximum 1.

    Wrong tool, the right one earns all: regret 1. Right tool, badly written up: shortfall 0.25. Wrong tool, and the
    right one is badly written up too: regret 0.5, shortfall 0.5. Right tool, call failed: failure 1.
    """
    split = split_credit(
        ["a", "b", "a", "b"],
        [{"a": 0.0, "b": 1.0}, {"b": 0.75}, {"a": 0.0, "b": 0.5, None: 0.25}, {"a": 0.0, "b": 0.0}],
        failed=[["a"], [], [], ["b"]],
    )
    assert split == CreditSplit(
        4, score=0.75 / 4, maximum=1.0, routing_regret=1.5 / 4, synthesis_shortfall=0.75 / 4, failures=1 / 4
    )


def test_a_metric_may_have_another_maximum():
    split = split_credit(["a"], [{"a": 60, None: 90}], maximum=100)
    assert (split.score, split.routing_regret, split.synthesis_shortfall) == (60, 30, 10)


class TestTies:
    def test_the_chosen_tool_is_the_best_of_equals(self):
        credit = assign_credit("a", {"b": 0.0, "a": 0.0}, failed=["a"])
        assert (credit.best, credit.failures, credit.synthesis_shortfall) == ("a", 1.0, 0.0)

    def test_else_one_whose_call_went_well(self):
        credit = assign_credit("c", {"a": 0.5, "b": 0.5, "c": 0.0}, failed=["a"])
        assert (credit.best, credit.failures, credit.synthesis_shortfall) == ("b", 0.0, 0.5)


def test_it_is_ready_for_json():
    split = split_credit(["a"], [{"a": 0.5}])
    assert CreditSplit(**json.loads(json.dumps(split.to_dict()))) == split


@pytest.mark.parametrize(
    ("chosen", "rewards", "message"),
    [
        (["a"], [{"b": 1.0, None: 0.0}], "chosen tool 'a' must be known; tried were: 'b', None"),
        (["a"], [{"a": 60.0}], r"reward of 'a' is 60\.0; expected a number of at most 1.*maximum=…"),
        (["a"], [{"a": 0.0, "b": math.nan}], "reward of 'b' is nan"),
        (["a", "b"], [{"a": 0.0}], "got 2, 1 and 2"),
        ([], [], "at least one; got 0, 0 and 0"),
    ],
)
def test_what_cannot_be_split_is_refused(chosen, rewards, message):
    with pytest.raises(ValueError, match=message):
        split_credit(chosen, rewards)
