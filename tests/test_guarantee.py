"""The guarantee: that it holds as often as promised, keeps what it can, and says what is missing where it cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from dspy_router.routing.trust.guarantee import at_least, at_most, certify, cheapest_bar, minimum_examples
from dspy_router.runtime.certificate import Certificate


def ranked(*wrong: int):
    """Scores from high to low, and which of them are wrong."""
    flags = np.array(wrong, dtype=bool)
    return np.arange(len(flags), 0, -1).astype(float), flags


@pytest.mark.parametrize(
    ("max_risk", "confidence", "least"), [(0.01, 0.95, 299), (0.02, 0.95, 149), (0.05, 0.95, 59), (0.5, 0.5, 1)]
)
def test_the_minimum_is_where_no_error_at_all_is_just_enough(max_risk, confidence, least):
    """0.98¹⁴⁸ = 0.0503 is above 0.05, 0.98¹⁴⁹ = 0.0493 is not."""
    assert minimum_examples(max_risk, confidence) == least
    assert (1 - max_risk) ** least <= 1 - confidence + 1e-12
    assert (1 - max_risk) ** (least - 1) > 1 - confidence


def test_a_single_mistake_at_the_end_of_the_least_that_can_be_certified():
    """Of 60 at 5 %, 59 without an error pass (0.95⁵⁹ = 0.0485); the 60th is wrong and does not."""
    scores, wrong = ranked(*[0] * 59, 1)
    found = certify(scores, wrong, max_risk=0.05, confidence=0.95)
    assert (found.kept, found.wrong, found.examples) == (59, 0, 60)
    assert scores[59] < found.bar < scores[58]
    assert found.coverage == pytest.approx(59 / 60)


def test_without_an_error_everything_is_kept():
    found = certify(*ranked(*[0] * 60), max_risk=0.05, confidence=0.95)
    assert (found.bar, found.kept, found.certified) == (-math.inf, 60, True)


def test_equal_scores_are_kept_or_handed_over_together():
    """The last of ten equal ones is wrong: none of the ten can be kept without it."""
    scores = np.array([2.0] * 90 + [1.0] * 10)
    wrong = np.array([False] * 99 + [True])
    assert certify(scores, wrong, max_risk=0.05, confidence=0.95).kept == 100
    wrong[90:] = True
    found = certify(scores, wrong, max_risk=0.05, confidence=0.95)
    assert (found.kept, found.bar) == (90, pytest.approx(1.5))


@given(st.randoms(use_true_random=False), st.integers(60, 400))
def test_order_and_scale_of_the_scores_have_no_effect(random, n):
    draw = np.random.default_rng(random.randrange(2**32))
    scores = draw.normal(size=n).round(2)
    wrong = draw.random(n) < 0.02 + 0.1 * (scores < 0)
    found = certify(scores, wrong, max_risk=0.05, confidence=0.9)
    order = draw.permutation(n)
    turned = certify(scores[order] * 3, wrong[order], max_risk=0.05, confidence=0.9)
    assert (turned.kept, turned.wrong) == (found.kept, found.wrong)
    assert (scores >= found.bar).sum() == found.kept
    assert wrong[scores >= found.bar].sum() == found.wrong
    # What is kept passes its own exact test at least.
    assert found.kept == 0 or binom.cdf(found.wrong, found.kept, 0.05) <= 0.1 + 1e-12


def true_risk(bar: float) -> float:
    """Of scores uniform on [0, 1] and wrong with probability 0.5 · (1 − score): the mean over scores above the bar."""
    return 0.25 * (1 - max(bar, 0.0))


class TestHowOftenItHolds:
    """Against a truth in closed form; a rule without a guarantee breaks it about every second time."""

    def draws(self, count, n, risk, rule):
        draw = np.random.default_rng(0)
        broken = kept = 0
        for _ in range(count):
            scores = draw.random(n)
            wrong = draw.random(n) < 0.5 * (1 - scores)
            bar = rule(scores, wrong, risk)
            if bar < 1:
                broken += true_risk(bar) > risk + 1e-9
                kept += 1 - max(bar, 0.0)
        return broken, kept / count

    @pytest.mark.parametrize(("n", "risk"), [(200, 0.05), (600, 0.05), (600, 0.02)])
    def test_at_most_as_often_as_promised(self, n, risk):
        def rule(scores, wrong, risk):
            return certify(scores, wrong, max_risk=risk, confidence=0.9).bar

        broken, _ = self.draws(300, n, risk, rule)
        assert binomtest(broken, 300, 0.1, alternative="greater").pvalue > 0.01

    def test_and_it_keeps_what_it_can(self):
        """At 5 % a fifth could be kept by who knew the truth."""

        def rule(scores, wrong, risk):
            return certify(scores, wrong, max_risk=risk, confidence=0.9).bar

        _, kept = self.draws(50, 3000, 0.05, rule)
        assert 0.05 < kept < 0.2

    def test_a_bar_that_just_meets_the_risk_breaks_it_far_more_often(self):
        def rule(scores, wrong, risk):
            order = np.argsort(-scores)
            rates = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
            met = np.flatnonzero(rates <= risk)
            return scores[order[met[-1]]] if len(met) else 2.0

        broken, _ = self.draws(200, 600, 0.05, rule)
        assert broken > 60


class TestWhatIsMissing:
    def test_too_few_examples(self):
        """Ten without an error; a hundred with one are passed: 0.95¹⁰⁰ + 100 · 0.05 · 0.95⁹⁹ = 0.037."""
        found = certify(*ranked(*[0] * 10), max_risk=0.05, confidence=0.95)
        assert not found.certified
        assert (found.kept, found.bar, found.coverage) == (0, math.inf, 0.0)
        assert found.more_examples is not None
        assert 83 <= found.more_examples <= 300

    def test_none_at_all(self):
        found = certify(np.zeros(0), np.zeros(0, dtype=bool), max_risk=0.05, confidence=0.95)
        assert (found.more_examples, found.coverage) == (59, 0.0)

    def test_errors_that_no_number_of_examples_makes_good(self):
        found = certify(*ranked(*[1, 0] * 100), max_risk=0.05, confidence=0.95)
        assert (found.certified, found.more_examples) == (False, None)

    def test_so_many_more_of_the_same_kind_would_indeed_do(self):
        """The search begins at 59 of 100, one of which is wrong."""
        scores, wrong = ranked(*(int(rank in (20, 60, 90)) for rank in range(100)))
        found = certify(scores, wrong, max_risk=0.05, confidence=0.95)
        assert not found.certified
        assert found.more_examples is not None
        times = math.ceil((100 + found.more_examples) / 100)
        more = np.repeat(scores, times) - np.tile(np.arange(times) / times, 100)
        assert certify(more, np.repeat(wrong, times), max_risk=0.05, confidence=0.95).certified


class TestCheapestBar:
    def test_by_hand(self):
        """Keeping three costs 1 · 10 + 2 · 3 = 16, keeping two 9, one 12, none 15, all 20: two are kept."""
        scores, wrong = ranked(0, 0, 1, 0, 1)
        assert cheapest_bar(scores, wrong, wrong_costs=10, asking_costs=3) == pytest.approx(3.5)

    def test_all_or_nothing(self):
        scores, wrong = ranked(0, 1, 0)
        assert cheapest_bar(scores, wrong, wrong_costs=1, asking_costs=10) == -math.inf
        scores, wrong = ranked(1, 1, 0)
        assert cheapest_bar(scores, wrong, wrong_costs=10, asking_costs=1) == math.inf


@given(st.integers(1, 300), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.99]))
def test_exact_bounds_agree_with_scipy(n, fraction, confidence):
    successes = round(n * fraction)
    low = binomtest(successes, n, alternative="greater").proportion_ci(confidence).low
    high = binomtest(successes, n, alternative="less").proportion_ci(confidence).high
    assert at_least(successes, n, confidence) == pytest.approx(low, abs=1e-9)
    assert at_most(successes, n, confidence) == pytest.approx(high, abs=1e-9)


@pytest.mark.parametrize("bar", [math.inf, -math.inf, 0.25])
def test_a_certificate_survives_json(bar):
    import json

    one = Certificate("add", 0.02, 0.95, bar, 100, 10, 1, None)
    assert Certificate.from_dict(json.loads(json.dumps(one.to_dict(), allow_nan=False))) == one
