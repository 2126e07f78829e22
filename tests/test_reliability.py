"""Reliability, against arithmetic by hand and the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.reliability import brier_score, expected_calibration_error, reliability_bins, risk_coverage


def test_calibration_error_by_hand():
    """Two bins: confidences 0.6, 0.6 with one right (gap 0.1), and 0.9, 0.9 with both right (gap 0.1)."""
    assert expected_calibration_error([0.6, 0.9, 0.6, 0.9], [1, 1, 0, 1], bins=2) == pytest.approx(0.1)
    # One bin hides the difference: mean confidence 0.75, three of four right.
    assert expected_calibration_error([0.6, 0.9, 0.6, 0.9], [1, 1, 0, 1], bins=1) == pytest.approx(0.0)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.8, 0.99, 1.0]), st.booleans()), min_size=1), st.randoms())
def test_calibration_error_is_a_share_whatever_the_order(pairs, random):
    error = expected_calibration_error(*zip(*pairs, strict=True))
    random.shuffle(pairs)
    assert expected_calibration_error(*zip(*pairs, strict=True)) == pytest.approx(error)
    assert 0 <= error <= 1


def test_calibrated_confidences_have_little_error_and_overconfident_ones_much():
    draw = np.random.default_rng(0)
    confidence = draw.uniform(0.2, 1, 20_000)
    right = draw.uniform(size=20_000) < confidence
    assert expected_calibration_error(confidence, right) < 0.02
    assert expected_calibration_error(np.ones(20_000), right) == pytest.approx(0.4, abs=0.02)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
        brier_score([0.1, 0.2], [1, 0, 1])


def test_brier_by_hand():
    """(0.1² + 0.6²) / 2 = 0.185."""
    assert brier_score([0.9, 0.6], [1, 0]) == pytest.approx(0.185)


def test_bins_by_hand():
    """Two bins of two: confidences 0.6 and 0.7 with one right, 0.9 twice with both right."""
    low, high = reliability_bins([0.9, 0.7, 0.6, 0.9], [1, 1, 0, 1], bins=2)
    assert low == (pytest.approx(0.65), pytest.approx(0.5), 2)
    assert high == (pytest.approx(0.9), pytest.approx(1.0), 2)


def test_risk_by_coverage_by_hand():
    """Ranked: right (0.9), wrong (0.8), right and wrong tied (0.5): 0 of 1, 1 of 2, 2 of 4."""
    curve = risk_coverage([0.5, 0.9, 0.8, 0.5], [True, True, False, False])
    assert curve == [(0.25, 0.0), (0.5, 0.5), (1.0, 0.5)]


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1), st.integers(2, 6))
def test_risk_by_coverage_ends_with_everything_and_thins_out_to_its_own_points(rows, points):
    scores, right = zip(*rows, strict=True)
    curve = risk_coverage(scores, right)
    assert curve[-1] == (1.0, pytest.approx(1 - sum(right) / len(right)))
    assert [coverage for coverage, _ in curve] == sorted({coverage for coverage, _ in curve})
    thin = risk_coverage(scores, right, points=points)
    assert len(thin) <= points
    assert set(thin) <= set(curve)
    assert thin[-1] == curve[-1]
