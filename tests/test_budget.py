"""A budget in dollars: what is let in, what is set aside, and what cannot be kept."""

from __future__ import annotations

import pytest

from dspy_router.evaluation.runs import LMCall, Run
from dspy_router.program.comparing.budget import Budget, UnknownPriceError, check_prices


def run(dollars: float | None, *, program: str = "a", judge: float | None = 0.0) -> Run:
    return Run(program, "f", "1", 1.0, calls=(LMCall("my/model", 0.1, 10, 1, dollars),), judge_dollars=judge)


def test_without_a_limit_all_is_let_in_and_added_up():
    budget = Budget()
    for dollars in (0.5, 1.5):
        reserved = budget.admit("a")
        assert reserved == 0
        budget.settle(run(dollars), reserved)
    assert (budget.spent, budget.exhausted) == (2.0, False)
    budget.settle(run(None))
    assert budget.spent is None


def test_a_run_is_let_in_only_if_the_dearest_so_far_is_still_there():
    budget = Budget(1.0)
    budget.settle(run(0.3), budget.admit("a") or 0.0)
    budget.settle(run(0.2), budget.admit("a") or 0.0)
    assert budget.spent == pytest.approx(0.5)
    assert budget.admit("a") == pytest.approx(0.3)  # under way: 0.5 + 0.3, and another would make 1.1
    assert budget.admit("a") is None
    assert budget.exhausted


def test_what_was_set_aside_comes_back():
    budget = Budget(1.0)
    budget.settle(run(0.4), budget.admit("a") or 0.0)
    budget.settle(run(0.1), budget.admit("a") or 0.0)
    assert budget.admit("a") == pytest.approx(0.4)


def test_a_judge_costs_as_well_and_so_does_an_earlier_sitting():
    budget = Budget(1.0)
    budget.book([run(0.3, judge=0.6)])
    assert budget.spent == pytest.approx(0.9)
    assert budget.knows("a") and not budget.knows("b")
    assert budget.admit("a") is None


def test_an_unknown_price_cannot_be_kept_and_the_ways_out_are_named():
    with pytest.raises(
        UnknownPriceError, match=r"what a call of 'my/model' costs.*prices=\{'my/model': \(0\.15, 0\.60\)"
    ):
        Budget(1.0).settle(run(None))
    with pytest.raises(UnknownPriceError, match="the metric's language model"):
        Budget(1.0).settle(run(0.1, judge=None))


@pytest.mark.parametrize("limit", [0, -1.0, True, "5"])
def test_a_limit_is_a_positive_number(limit):
    with pytest.raises(ValueError, match="positive number of dollars"):
        Budget(limit)


def test_prices_are_pairs_of_numbers():
    assert check_prices({"a": [1, 2.5]}) == {"a": (1.0, 2.5)}
    assert check_prices(None) == {}
    for price in (1.0, [1], [1, -2], ["1", 2], [True, 1]):
        with pytest.raises(ValueError, match="The price of 'a' must be two numbers"):
            check_prices({"a": price})
