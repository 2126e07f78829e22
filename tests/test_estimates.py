"""Intervals of means: by hand, against the textbook's where nothing is skewed, and how often they hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from dspy_router.evaluation.estimates import effective_size, mean_interval


def test_of_symmetric_values_it_is_the_textbooks():
    """Values 0 and 2: mean 1, standard deviation √2, standard error √2/√2 = 1; z is 1.960 at 95 %, 1.645 at 90 %."""
    assert mean_interval([0, 2]) == pytest.approx((1 - 1.959964, 1 + 1.959964), abs=1e-6)
    assert mean_interval([0, 2], level=0.9) == pytest.approx((1 - 1.644854, 1 + 1.644854), abs=1e-6)


def test_of_skewed_values_by_hand():
    """Values 0, 0, 0, 4: mean 1, deviations −1, −1, −1, 3.

    s² = 12/3 = 4 and s/√n = 1. The moments are m₂ = 12/4 = 3 and m₃ = (−3 + 27)/4 = 6, so γ = 6/3^1.5 = 1.1547.
    t(z) = 3·2/1.1547 · [∛(1 + 1.1547·(1.95996/2 − 1.1547/24)) − 1] = 5.19615 · (∛2.07603 − 1) = 1.43250
    t(−z) = 5.19615 · (∛(1 + 1.1547·(−0.97998 − 0.04811)) − 1) = 5.19615 · (∛−0.18714 − 1) = −8.16826
    """
    low, high = mean_interval([0, 0, 0, 4])
    assert low == pytest.approx(1 - 1.4325, abs=1e-3)
    assert high == pytest.approx(1 + 8.1683, abs=1e-3)


def test_coefficients_that_were_fitted_widen_it():
    """Values −1, −1, 1, 1 with three coefficients: s² = 4/1 and s/√n = 1."""
    assert mean_interval([-1, -1, 1, 1], spent=3) == pytest.approx((-1.959964, 1.959964), abs=1e-6)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_it_contains_the_mean_and_turns_with_the_values(values):
    mean = np.mean(values)
    low, high = mean_interval(values)
    slack = 1e-6 * (1 + abs(mean))
    assert low - slack <= mean <= high + slack
    assert mean_interval([-value for value in values]) == pytest.approx((-high, -low), rel=1e-6, abs=1e-6)


def test_equal_values_leave_no_doubt():
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_rare_large_values_are_covered_more_often_than_by_the_textbook():
    """A failure in a hundred rows that weighs twenty rows: its mean, 0.8, is overestimated while none has been seen."""
    draw, trials, n = np.random.default_rng(0), 2000, 400
    rows = 1 - 20 * (draw.uniform(size=(trials, n)) < 0.01)
    half = norm.ppf(0.975) * rows.std(axis=1, ddof=1) / math.sqrt(n)
    textbook = (abs(rows.mean(axis=1) - 0.8) <= half).mean()
    ours = np.mean([low <= 0.8 <= high for low, high in map(mean_interval, rows)])
    assert textbook < 0.91
    assert 0.935 < ours < 0.975


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1, 2], {"level": 95}, r"in \(0, 1\), such as 0.95; got 95"),
        ([1, 2], {"level": 0}, "got 0"),
        ([1], {}, "more than 1 rows; got 1"),
        ([1, 2, 3], {"spent": 3}, "more than 3 rows; got 3"),
    ],
)
def test_what_allows_no_interval_is_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        mean_interval(values, **options)


def test_effective_size_by_hand():
    """Equal weights count all; (3 + 1)² / (9 + 1) = 1.6; no weight, no row."""
    assert effective_size(np.array([2.0, 2.0, 2.0])) == pytest.approx(3)
    assert effective_size(np.array([3.0, 1.0, 0.0])) == pytest.approx(1.6)
    assert effective_size(np.zeros(3)) == 0
