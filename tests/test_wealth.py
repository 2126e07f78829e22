"""Evidence that may be looked at at any time: its arithmetic, that it deceives hardly ever, and that it grows."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.evaluation.wealth import P_VALUE_BETS, Wealth, grow, log_wealth, p_value_factors, risk_bets


def test_two_observations_by_hand():
    """One bet, factors 2 and 3: the start at 1 is worth 2·3, that at 2 is worth 3, the rest is kept."""
    first, second = 1 - 1 / math.log(1 + math.e), 1 / math.log(1 + math.e) - 1 / math.log(2 + math.e)
    wealth = Wealth.of(1).after([2.0]).after([3.0])
    assert math.exp(wealth.log) == pytest.approx(6 * first + 3 * second + 1 / math.log(2 + math.e))
    assert wealth.count == 2
    assert wealth.peak == wealth.log


def test_the_peak_stays():
    wealth = Wealth.of(2).after([2.0, 3.0]).after([0.0, 0.1])
    assert wealth.log < 0 < wealth.peak


@given(st.integers(1, 6), st.lists(st.just(1.0), max_size=60))
def test_fair_bets_that_neither_win_nor_lose_leave_the_wealth_at_one(bets, observations):
    wealth = Wealth.of(bets)
    for factor in observations:
        wealth = wealth.after([factor] * bets)
    assert wealth.log == pytest.approx(0.0, abs=1e-9)


def test_the_stakes_are_kellys():
    # For a bound of 0.1 and a mean of 0.2: (0.2 − 0.1) / (0.1·0.9); ten times the bound is no probability.
    stakes = risk_bets(0.1)
    assert stakes[1] == pytest.approx(0.1 / 0.09)
    assert stakes[-1] == pytest.approx((0.55 - 0.1) / 0.09)
    assert (1 - stakes * 0.1 > 0).all()


@given(st.floats(0.001, 0.999))
def test_no_bet_on_a_risk_can_lose_everything(bound):
    assert (1 - risk_bets(bound) * bound > 0).all()


def test_bets_on_p_values_are_fair_and_never_negative():
    grid = (np.arange(10_000) + 0.5) / 10_000
    factors = np.array([p_value_factors(p) for p in grid])
    assert factors.shape == (10_000, P_VALUE_BETS)
    assert factors.mean(axis=0) == pytest.approx(np.ones(P_VALUE_BETS), abs=1e-6)
    assert (factors >= 0).all()


def alarms(bound, risk, *, streams, length, after=0, doubled=None, level=0.05):
    """When each of many streams first raised an alarm; 0 where it did not."""
    rng, stakes = np.random.default_rng(0), risk_bets(bound)
    logs, first = np.full((streams, len(stakes)), -np.inf), np.zeros(streams, dtype=int)
    for t in range(1, length + 1):
        wrong = rng.random(streams) < (risk if t <= after or doubled is None else doubled)
        logs = grow(logs, 1 + stakes * (wrong[:, None] - bound), t)
        found = (first == 0) & (log_wealth(logs, t) >= math.log(1 / level))
        first[found] = t
    return first


@pytest.mark.parametrize("bound", [0.02, 0.05])
def test_false_alarms_are_as_rare_as_promised_even_right_at_the_bound(bound):
    """Of 1,000 streams of 3,000 checks at most 5 % may alarm; 68 would be beyond chance (at 0.5 %)."""
    assert (alarms(bound, bound, streams=1000, length=3000) > 0).sum() < 68


def test_a_doubled_risk_is_found_early_and_late():
    """From 2 % to 4 %: in half of the cases within 800 checks from the start, within 1,500 after 1,000 in order."""
    at_once = alarms(0.02, 0.04, streams=200, length=2500)
    assert (at_once > 0).mean() > 0.95
    assert np.median(at_once) < 800
    late = alarms(0.02, 0.02, streams=200, length=4000, after=1000, doubled=0.04)
    late = late[late > 1000]
    assert len(late) > 180
    assert np.median(late) < 2500


def test_it_goes_on_after_a_restart():
    wealth = Wealth.of(2)
    assert json.loads(json.dumps(wealth.to_dict())) == wealth.to_dict()
    for factors in ([1.5, 0.0], [1.2, 3.0]):
        again = Wealth.from_dict(json.loads(json.dumps(wealth.to_dict()))).after(factors)
        wealth = wealth.after(factors)
        assert (again.log, again.peak, again.count) == (wealth.log, wealth.peak, wealth.count)


@pytest.mark.parametrize("bound", [0, 1, -0.1, math.nan])
def test_a_bound_out_of_range(bound):
    with pytest.raises(ValueError, match=r"must be within \(0, 1\)"):
        risk_bets(bound)
