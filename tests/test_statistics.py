"""Plain figures, against arithmetic by hand, scipy and their definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from dspy_router.evaluation.statistics import auroc, wilson_interval


@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilson_agrees_with_scipy_and_contains_the_share(n, fraction):
    successes = round(n * fraction)
    low, high = wilson_interval(successes, n)
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= successes / n <= high <= 1
    assert low < high


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match=f"got {successes} of {n}"):
        wilson_interval(successes, n)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2).filter(lambda x: len({k for _, k in x}) == 2))
def test_auroc_is_the_share_of_ordered_pairs(rows):
    scores, kinds = zip(*rows, strict=True)
    pairs = [(p, n) for p, is_p in rows if is_p for n, is_n in rows if not is_n]
    by_definition = sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs)
    assert auroc(scores, kinds) == pytest.approx(by_definition)


def test_auroc_of_one_kind_is_refused():
    with pytest.raises(ValueError, match="both kinds; all 3"):
        auroc([0.1, 0.2, 0.3], [True, True, True])


def test_lengths_must_agree():
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
        auroc([0.1, 0.2], [1, 0, 1])
