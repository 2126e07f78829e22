"""Which map is picked: the one that the data were made by, judged on examples that it was not fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from dspy_router.reliability import expected_calibration_error
from dspy_router.routing.trust.candidates import Sample, pick
from dspy_router.routing.trust.maps import log_loss
from dspy_router.runtime.maps import selection_scores, softmax

NAMES = ("add", "clock", "units", "search")


def sample(n=1500, *, temperature=1.0, none=0.0, seed=0) -> Sample:
    """Decisions whose logits are right once they are divided by a temperature and *none* is raised by so much."""
    draw = np.random.default_rng(seed)
    truth = draw.normal(size=(n, 5)) * 2
    options = (softmax(truth).cumsum(axis=1) > draw.random((n, 1))).argmax(axis=1)
    logits = (truth - np.array([0, 0, 0, 0, none])) * temperature
    right, choices = np.eye(5, dtype=bool)[options], logits.argmax(axis=1)
    hits = right[np.arange(n), choices]
    return Sample(logits, choices, selection_scores(logits, choices), right, hits, NAMES)


def test_what_is_right_already_is_hardly_changed():
    data = sample()
    picked = pick(data, seed=0, rising=False)
    assert log_loss(picked.held_out, data.right) < log_loss(softmax(data.logits), data.right) + 0.01
    assert picked.row_losses.keys() >= {"none", "temperature"}


def test_one_temperature_too_low_is_found():
    picked = pick(sample(temperature=3.0), seed=0, rising=False)
    assert picked.name.startswith("temperature")
    factors, _ = picked.row_map.arrays(NAMES)
    assert factors == pytest.approx(np.full(5, 1 / 3), rel=0.1)


def test_an_option_that_is_asked_for_more_often_than_the_policy_thinks_wants_vector_scaling():
    data = sample(none=2.0)
    picked = pick(data, seed=0, rising=False)
    assert picked.name.startswith("vector scaling")
    assert picked.top_map is not None  # its own confidence has been repaired and means little
    at = (np.arange(len(data)), data.choices)
    assert expected_calibration_error(picked.held_out[at], data.hits) < 0.05


def test_under_a_bar_confidence_rises_with_the_score():
    data = sample(temperature=2.0)
    picked = pick(data, seed=0, rising=True)
    assert picked.top_map is not None
    confidence = picked.top_map(np.sort(data.scores))
    assert (np.diff(confidence) >= 0).all()
    assert set(picked.top_losses) == {"isotonic"}


def test_held_out_means_that_an_example_did_not_calibrate_itself():
    """Twenty examples whose labels are noise: fitted on themselves they would look better than they are."""
    draw = np.random.default_rng(0)
    data = sample(60)
    noise = np.eye(5, dtype=bool)[draw.integers(0, 5, 60)]
    data = Sample(data.logits, data.choices, data.scores, noise, noise[np.arange(60), data.choices], NAMES)
    picked = pick(data, seed=0, rising=False)
    factors, summands = picked.row_map.arrays(NAMES)
    own = log_loss(softmax(data.logits * factors + summands), data.right)
    assert picked.row_losses[picked.name.split(" + ")[0]] > own
