"""Paired statistics against numbers worked out by hand, and what must hold of any of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.evaluation.paired import (
    MCNEMAR,
    PERMUTATION,
    bootstrap_interval,
    compare_pairs,
    difference_and_interval,
    holm,
    mcnemar,
    mean_and_interval,
    paired_test,
    permutation_p,
)
from dspy_router.evaluation.statistics import wilson_interval


class TestMcNemar:
    def test_by_hand(self):
        """Alone right: the first 1 time, the second 6 times. 2 · (C(7,0) + C(7,1)) / 2⁷ = 16 / 128."""
        first = [1] + [0] * 6 + [1, 1, 0]
        second = [0] + [1] * 6 + [1, 1, 0]
        assert mcnemar(first, second) == pytest.approx(16 / 128)
        assert mcnemar(second, first) == pytest.approx(16 / 128)

    def test_those_who_never_disagree(self):
        assert mcnemar([1, 0, 1], [1, 0, 1]) == 1.0

    def test_other_scores_are_refused(self):
        with pytest.raises(ValueError, match="scores of 0 and 1"):
            mcnemar([0.5, 1], [1, 0])


class TestPermutation:
    def test_by_hand(self):
        """Three differences of one sign: 2 of the 2³ sign patterns have as large a mean."""
        assert permutation_p([0.1, 0.2, 0.3], [0.4, 0.6, 0.9]) == pytest.approx(2 / 8)

    def test_no_difference_and_a_single_one_say_nothing(self):
        assert permutation_p([0.1, 0.2], [0.1, 0.2]) == 1.0
        assert permutation_p([0.1, 0.2], [0.1, 0.9]) == 1.0

    def test_many_equal_improvements_are_no_chance(self):
        first = np.linspace(0, 1, 60)
        assert permutation_p(first, first + 0.1) < 0.001

    def test_it_is_for_scores_that_are_not_binary(self):
        assert paired_test([0, 1, 1], [1, 1, 1])[0] == MCNEMAR
        assert paired_test([0, 0.5, 1], [1, 1, 1])[0] == PERMUTATION


class TestHolm:
    def test_by_hand(self):
        """0.01·4, max(0.04, 0.02·3), max(0.06, 0.03·2), max(0.06, 0.9·1), in the order given."""
        assert holm([0.9, 0.01, 0.03, 0.02]) == pytest.approx([0.9, 0.04, 0.06, 0.06])

    def test_none_is_none(self):
        assert holm([]) == []

    @given(st.lists(st.floats(0, 1), max_size=12))
    def test_between_the_p_value_and_bonferronis_in_the_same_order(self, p_values):
        adjusted = holm(p_values)
        for p, other in zip(p_values, adjusted, strict=True):
            assert p <= other <= min(1.0, len(p_values) * p) or other == pytest.approx(min(1.0, len(p_values) * p))
        by_p = sorted(range(len(p_values)), key=lambda at: p_values[at])
        assert [adjusted[at] for at in by_p] == sorted(adjusted)


class TestIntervals:
    def test_binary_scores_get_wilsons(self):
        assert mean_and_interval([1, 1, 1, 0]) == (0.75, wilson_interval(3, 4))
        low, high = mean_and_interval([1, 1, 1])[1] or (0, 0)
        assert low < 1 and high == 1  # where all went well the bootstrap would promise that all will

    def test_others_the_bootstraps_about_as_wide_as_the_textbooks(self):
        values = np.random.default_rng(3).normal(5, 2, 400)
        mean, interval = mean_and_interval(values)
        assert interval is not None
        half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
        assert interval == pytest.approx((mean - half, mean + half), abs=0.1 * half)

    def test_one_score_says_nothing_of_the_others(self):
        assert mean_and_interval([0.3]) == (0.3, None)
        assert difference_and_interval([0.3], [0.5]) == (pytest.approx(0.2), None)

    def test_pairing_takes_out_what_the_examples_share(self):
        """Hard and easy examples differ far more than the programs do."""
        hardness = np.random.default_rng(0).uniform(0, 1, 80)
        difference, interval = difference_and_interval(hardness, hardness + 0.05)
        assert difference == pytest.approx(0.05)
        assert interval == pytest.approx((0.05, 0.05))

    def test_the_same_seed_the_same_interval(self):
        values = np.random.default_rng(1).uniform(size=30)
        assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4)
        assert bootstrap_interval(values, seed=4) != bootstrap_interval(values, seed=5)

    def test_a_higher_level_is_wider(self):
        values = np.random.default_rng(1).uniform(size=30)
        (low, high), (lower, higher) = bootstrap_interval(values, level=0.8), bootstrap_interval(values, level=0.99)
        assert lower < low < high < higher

    @pytest.mark.parametrize("level", [0, 1, 95])
    def test_a_level_is_a_probability(self, level):
        with pytest.raises(ValueError, match=r"in \(0, 1\), such as 0\.95"):
            mean_and_interval([0.1, 0.2], level=level)

    def test_nothing_is_refused(self):
        with pytest.raises(ValueError, match="non-empty"):
            mean_and_interval([])


def test_each_pair_is_compared_on_what_both_have_answered():
    scores = [
        ("a", {"x": 1.0, "y": 1.0, "z": 0.0}),
        ("b", {"x": 0.0, "y": 1.0}),
        ("c", {"z": 1.0}),
    ]
    ab, ac = compare_pairs(scores)
    assert (ab.first, ab.second, ab.n, ab.difference) == ("a", "b", 2, -0.5)
    assert (ac.first, ac.second, ac.n, ac.difference) == ("a", "c", 1, 1.0)
    assert (ac.low, ac.high) == (None, None)
    assert [pair.p_holm for pair in (ab, ac)] == holm([ab.p, ac.p])
