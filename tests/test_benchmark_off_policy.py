"""The off-policy benchmark: its behaviour, its logs and its reward model, on a world of three options."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks.off_policy import (
    DR,
    IPS,
    PAIRED,
    WHOLE,
    ZERO,
    Log,
    Trial,
    cross_fitted,
    draw_log,
    explore,
    fewest_hits,
    fit_rewards,
    value_all,
)

INPUTS, OPTIONS = 90, 3


@pytest.fixture(scope="module")
def trial() -> Trial:
    """Thirty inputs of each kind, whose vectors tell the kind; the right option is the kind's."""
    draw = np.random.default_rng(0)
    kinds = np.arange(INPUTS) % OPTIONS
    vectors = (np.eye(OPTIONS)[kinds] + draw.normal(scale=0.1, size=(INPUTS, OPTIONS))).astype(np.float32)
    behaviour = explore(draw.dirichlet(np.ones(OPTIONS), size=INPUTS) + 1e-3, temperature=2, exploration=0.3)
    right, wrong = np.eye(OPTIONS)[kinds], np.eye(OPTIONS)[(kinds + (np.arange(INPUTS) < 30)) % OPTIONS]
    policies = {ZERO: wrong, WHOLE: right}
    return Trial(behaviour, policies, right * 0.8 + 0.1, vectors)


def test_exploration_leaves_no_option_out_and_softens_the_rest():
    sharp = np.array([[0.98, 0.01, 0.01]])
    soft = explore(sharp, temperature=2, exploration=0.3)
    assert soft.sum() == pytest.approx(1)
    # √0.98 : √0.01 : √0.01 is 0.8319 : 0.0840 : 0.0840, seven tenths of it and 0.1 each.
    assert soft[0] == pytest.approx([0.6823, 0.1588, 0.1588], abs=1e-4)


def test_a_log_is_drawn_as_its_propensities_say(trial):
    log = draw_log(trial, 3000, seed=0)
    assert log.propensities == pytest.approx(trial.behaviour[log.inputs, log.actions])
    # A policy's probability over the propensity of what was drawn is 1 on average.
    assert (1 / (OPTIONS * log.propensities)).mean() == pytest.approx(1, abs=0.05)
    earned = (trial.behaviour * trial.rewards).sum(axis=1).mean()
    assert binomtest(int(log.rewards.sum()), 3000, earned).pvalue > 0.001
    assert all(np.array_equal(a, b) for a, b in zip(log, draw_log(trial, 3000, seed=0), strict=True))
    assert not np.array_equal(log.actions, draw_log(trial, 3000, seed=1).actions)


def test_the_reward_model_learns_from_the_log(trial):
    predicted = fit_rewards(trial.vectors, trial.behaviour, draw_log(trial, 3000, seed=0))
    assert np.array_equal(predicted.argmax(axis=1), trial.policies[WHOLE].argmax(axis=1))
    assert ((predicted > 0) & (predicted < 1)).all()


def test_no_prediction_has_seen_a_reward_of_its_own_input(trial):
    log = draw_log(trial, 600, seed=0)
    first = cross_fitted(trial, log, seed=3)
    changed = int(log.inputs[0])
    flipped = np.where(log.inputs == changed, 1 - log.rewards, log.rewards)
    second = cross_fitted(trial, Log(log.inputs, log.actions, flipped, log.propensities), seed=3)
    same = np.max(np.abs(first - second), axis=1) < 1e-12
    assert same[log.inputs == changed].all()
    assert not same.all()  # the other half did see them


def test_the_estimates_are_near_the_truth(trial):
    found = value_all(trial, draw_log(trial, 3000, seed=0), seed=0)
    assert trial.value(WHOLE) == pytest.approx(0.9)
    assert trial.value(ZERO) == pytest.approx((60 * 0.9 + 30 * 0.1) / 90)
    for estimator in (IPS, DR):
        assert found[estimator, WHOLE].value == pytest.approx(0.9, abs=0.1)
    assert found[PAIRED, ""].low > 0


def test_how_few_hits_a_binomial_test_lets_pass():
    """Of 20 at 95 %: at most 16 has probability 0.016, at most 17 has 0.075."""
    assert fewest_hits(20, 0.95, significance=0.05) == 17
    assert (
        binomtest(17, 20, 0.95, alternative="less").pvalue > 0.05 > binomtest(16, 20, 0.95, alternative="less").pvalue
    )
