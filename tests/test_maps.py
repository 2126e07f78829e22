"""Calibration maps: by hand, and that no map puts another option above the choice."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dspy_router.routing.trust.maps import confidence_log_loss, fit_isotonic, fit_temperature, fit_vector, log_loss
from dspy_router.runtime.maps import (
    Isotonic,
    Temperature,
    VectorScaling,
    describe_map,
    read_map,
    repair,
    selection_scores,
    softmax,
    with_top,
)

ROWS = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 7)), elements=st.floats(-8, 8))


def test_scores_by_hand():
    """Logits 1 and 0: log-odds of e² against 1 is 2; with another 0, e² against 2."""
    logits = np.array([[1.0, 0.0, -np.inf], [1.0, 0.0, 0.0]])
    assert selection_scores(logits, np.array([0, 0])) == pytest.approx([2.0, 2 - np.log(2)])


def test_scores_of_the_certain_are_finite():
    logits = np.array([[500.0, 0.0], [0.0, -np.inf]])
    assert selection_scores(logits, np.array([0, 0])).tolist() == [50.0, 50.0]


class TestRepair:
    def test_by_hand(self):
        """The choice, 0.2, shares with 0.5 alone: 0.35 each. 0.1 with 0.4 and 0.35: 0.85 / 3 each, above 0.15."""
        rows = np.array([[0.5, 0.2, 0.3], [0.4, 0.35, 0.15]])
        fixed = repair(rows, np.array([1, 2]))
        assert fixed[0] == pytest.approx([0.35, 0.35, 0.3])
        assert fixed[1] == pytest.approx([0.3, 0.3, 0.3])

    @given(ROWS, st.data())
    def test_the_choice_is_on_top_and_nothing_is_lost(self, logits, data):
        rows = softmax(logits)
        choices = np.array([data.draw(st.integers(0, rows.shape[1] - 1)) for _ in rows])
        fixed = repair(rows, choices)
        chosen = fixed[np.arange(len(rows)), choices]
        assert (fixed.max(axis=1) <= chosen + 1e-12).all()
        assert fixed.sum(axis=1) == pytest.approx(1.0)
        assert (fixed >= 0).all()
        right = rows[np.arange(len(rows)), choices] == rows.max(axis=1)
        assert np.array_equal(fixed[right], rows[right])  # what was right already stays


class TestWithTop:
    def test_the_others_share_the_rest_in_proportion(self):
        rows = with_top(np.array([[0.6, 0.3, 0.1]]), np.array([0]), np.array([0.8]))
        assert rows[0] == pytest.approx([0.8, 0.15, 0.05])

    def test_one_that_would_come_out_above_is_held_down(self):
        """Of 0.6 to share 9 to 1, 0.54 is held down to 0.4, and the third has the 0.2 that is left."""
        rows = with_top(np.array([[0.5, 0.45, 0.05]]), np.array([0]), np.array([0.4]))
        assert rows[0] == pytest.approx([0.4, 0.4, 0.2])

    def test_an_option_that_is_not_allowed_gets_nothing(self):
        rows = with_top(np.array([[0.7, 0.0, 0.3]]), np.array([0]), np.array([0.1]))
        assert rows[0] == pytest.approx([0.5, 0.0, 0.5])

    @given(ROWS, st.data())
    def test_the_choice_is_on_top_with_its_confidence(self, logits, data):
        rows = softmax(logits)
        choices = rows.argmax(axis=1)
        confidence = np.array([data.draw(st.floats(0, 1)) for _ in rows])
        fixed = with_top(rows, choices, confidence)
        chosen = fixed[np.arange(len(rows)), choices]
        assert (fixed.max(axis=1) <= chosen + 1e-9).all()
        assert fixed.sum(axis=1) == pytest.approx(1.0)
        assert chosen == pytest.approx(np.clip(confidence, 1 / rows.shape[1], 1.0), abs=1e-9)


def test_losses_by_hand():
    """−log 0.5 and −log(0.2 + 0.2), as two options are right; −log 0.9 and −log(1 − 0.6)."""
    rows, right = np.array([[0.5, 0.3, 0.2], [0.6, 0.2, 0.2]]), np.array([[1, 0, 0], [0, 1, 1]], dtype=bool)
    assert log_loss(rows, right) == pytest.approx((-np.log(0.5) - np.log(0.4)) / 2)
    hits = np.array([True, False])
    assert confidence_log_loss(np.array([0.9, 0.6]), hits) == pytest.approx((-np.log(0.9) - np.log(0.4)) / 2)


def drawn(n=4000, k=5, seed=0):
    """Logits, and one right option a row drawn from their softmax."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(n, k)) * 2
    options = (softmax(logits).cumsum(axis=1) > draw.random((n, 1))).argmax(axis=1)
    return logits, np.eye(k, dtype=bool)[options]


def test_the_temperature_that_was_applied_is_found():
    logits, right = drawn()
    assert fit_temperature(3 * logits, right).value == pytest.approx(3.0, rel=0.05)


def test_vector_scaling_finds_the_option_that_was_moved():
    logits, right = drawn()
    moved = logits + np.array([0, 0, 0, 0, -1.5])
    found = fit_vector(moved, right, ("a", "b", "c", "d"), start=Temperature(), prior=1.0)
    summands = found.arrays(("a", "b", "c", "d"))[1]
    assert summands[-1] - summands[:-1].mean() == pytest.approx(1.5, abs=0.2)
    assert found.arrays(("d", "c", "b", "a"))[1].tolist() == [*summands[:-1][::-1], summands[-1]]
    held = fit_vector(moved, right, ("a", "b", "c", "d"), start=Temperature(), prior=1e9)
    assert held.arrays(("a", "b", "c", "d"))[1] == pytest.approx(np.zeros(5), abs=1e-3)


class TestIsotonic:
    def test_it_finds_the_share_that_is_right(self):
        draw = np.random.default_rng(0)
        scores = draw.uniform(-4, 4, 20_000)
        truth = 0.9 / (1 + np.exp(-2 * scores))  # even the surest are wrong in a tenth
        found = fit_isotonic(scores, draw.random(20_000) < truth)
        assert found(np.array([-3.0, 0.0, 3.0])) == pytest.approx([0.0, 0.45, 0.9], abs=0.04)

    @given(st.lists(st.tuples(st.floats(-50, 50), st.booleans()), min_size=2, max_size=60))
    def test_it_rises_and_stays_within_0_and_1(self, rows):
        scores, hits = np.array([s for s, _ in rows]), np.array([h for _, h in rows])
        values = fit_isotonic(scores, hits)(np.linspace(-60, 60, 200))
        assert (np.diff(values) >= -1e-12).all()
        assert ((values > 0) & (values < 1)).all()

    def test_twenty_that_are_all_right_do_not_make_it_certain(self):
        assert fit_isotonic(np.linspace(0, 5, 20), np.ones(20, dtype=bool))(np.array([5.0]))[0] < 0.999


@pytest.mark.parametrize(
    "one", [None, Temperature(0.7), VectorScaling({"a": (1.0, 0.5)}, (2.0, -0.5)), Isotonic((0.0, 1.0), (0.2, 0.9))]
)
def test_a_map_survives_json(one):
    assert read_map(json.loads(json.dumps(describe_map(one)))) == one
