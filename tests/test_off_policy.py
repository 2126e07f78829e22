"""Off-policy estimates: by hand, on what is known exactly, and over many logs from a world whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from dspy_router.evaluation.off_policy import difference, direct_method, doubly_robust, ips, snips

# Three rows, two actions. The weights are 0.5/0.5 = 1, 1/0.25 = 4 and 0/0.5 = 0.
TARGET = np.array([[0.5, 0.5], [0.0, 1.0], [0.0, 1.0]])
LOG: dict[str, Any] = {"actions": [0, 1, 0], "rewards": [1.0, 0.5, 1.0], "propensities": [0.5, 0.25, 0.5]}
PREDICTED = np.array([[0.8, 0.4], [0.6, 0.3], [0.9, 0.1]])

ESTIMATES: dict[Any, Callable[..., Any]] = {
    "ips": ips,
    "snips": snips,
    "doubly_robust": doubly_robust,
    "direct_method": direct_method,
}


class TestByHand:
    def test_ips(self):
        """(1·1 + 4·0.5 + 0·1) / 3 = 1. The terms 1, 2, 0 are symmetric: s = 1, ± 1.96 / √3."""
        estimate = ips(TARGET, **LOG)
        assert estimate.value == pytest.approx(1.0)
        assert (estimate.low, estimate.high) == pytest.approx((1 - 1.131586, 1 + 1.131586), abs=1e-6)
        assert (estimate.n, estimate.clipped) == (3, 0)
        assert estimate.effective_sample_size == pytest.approx(25 / 17)  # (1 + 4)² / (1 + 16)
        assert estimate.mean_weight == pytest.approx(5 / 3)

    def test_ips_clipped(self):
        """The weight of 4 becomes 3: (1 + 1.5) / 3, and the mean of the unclipped weights is still told."""
        estimate = ips(TARGET, **LOG, clip=3)
        assert estimate.value == pytest.approx(2.5 / 3)
        assert (estimate.clipped, estimate.mean_weight) == (1, pytest.approx(5 / 3))

    def test_snips(self):
        """(1·1 + 4·0.5) / (1 + 4 + 0) = 0.6."""
        assert snips(TARGET, **LOG).value == pytest.approx(0.6)
        assert snips(TARGET, **LOG, clip=3).value == pytest.approx(2.5 / 4)

    def test_the_interval_of_snips(self):
        """Two rows, weights 1 and 3, rewards 1 and 0: V = 1/4.

        The delta method: [1²·(3/4)² + 3²·(1/4)²] / 4² = (9/16 + 9/16) / 16 = 9/128, times n/(n − 1) = 2: 9/64.
        Two terms are symmetric: 0.25 ± 1.96·3/8.
        """
        estimate = snips([[0.5, 0.5], [0.0, 1.0]], [0, 1], [1.0, 0.0], [0.5, 1 / 3])
        assert estimate.value == pytest.approx(0.25)
        assert (estimate.low, estimate.high) == pytest.approx((0.25 - 0.734986, 0.25 + 0.734986), abs=1e-6)

    def test_direct_method(self):
        """Rows of Σ π·q: 0.5·0.8 + 0.5·0.4 = 0.6, then 0.3 and 0.1: 1.0 / 3."""
        assert direct_method(TARGET, **LOG, predicted=PREDICTED).value == pytest.approx(1 / 3)

    def test_doubly_robust(self):
        """Σ π·q plus w(r − q): 0.6 + 1·(1 − 0.8) = 0.8, 0.3 + 4·(0.5 − 0.3) = 1.1, 0.1 + 0 = 0.1: 2.0 / 3."""
        assert doubly_robust(TARGET, **LOG, predicted=PREDICTED, recalibrate=False).value == pytest.approx(2 / 3)

    def test_doubly_robust_clipped(self):
        """The second row becomes 0.3 + 2·(0.5 − 0.3) = 0.7: 1.6 / 3."""
        assert doubly_robust(TARGET, **LOG, predicted=PREDICTED, recalibrate=False, clip=2).value == pytest.approx(
            1.6 / 3
        )

    def test_difference(self):
        """Of the first action always and of `TARGET`, by IPS: terms 2, 0, 2 less terms 1, 2, 0 are 1, −2, 2."""
        always = np.array([[1.0, 0.0]] * 3)
        found = difference(always, TARGET, **LOG, method="ips")
        assert found.value == pytest.approx(1 / 3)
        assert found.effective_sample_size == pytest.approx(49 / 21)  # weights differ by 1, −4, 2
        assert found.low < 1 / 3 < found.high


class TestWhatIsKnownExactly:
    def test_the_logging_policy_itself_earned_the_mean_reward(self):
        draw = np.random.default_rng(0)
        target = draw.dirichlet(np.ones(4), size=50)
        actions, rewards = draw.integers(4, size=50), draw.normal(size=50)
        log = (target, actions, rewards, target[np.arange(50), actions])
        assert ips(*log).value == pytest.approx(rewards.mean())
        assert snips(*log).value == pytest.approx(rewards.mean())
        assert ips(*log).effective_sample_size == pytest.approx(50)

    def test_a_perfect_model_leaves_nothing_to_correct(self):
        """Whatever the propensities say: that is the second of the two robustnesses."""
        world, draw = World(), np.random.default_rng(1)
        inputs, actions, _, propensities = world.log(40, draw)
        exact, target = world.mean_reward[inputs], world.policies["sharp"][inputs]
        rewards = exact[np.arange(40), actions]
        wrong = np.clip(propensities * draw.uniform(0.5, 1.5, 40), 0, 1)
        found = doubly_robust(target, actions, rewards, wrong, predicted=exact, recalibrate=False)
        assert found.value == pytest.approx((target * exact).sum(axis=1).mean())

    def test_recalibration_undoes_a_models_scale_and_offset(self):
        """Rewards that are exactly the model's but for both: the interval is nearly that of the perfect model."""
        inputs, actions, _, propensities = WORLD.log(4000, np.random.default_rng(2))
        exact, target = WORLD.mean_reward[inputs], WORLD.policies["sharp"][inputs]
        log = (target, actions, exact[np.arange(4000), actions], propensities)
        perfect = doubly_robust(*log, predicted=exact, recalibrate=False)
        plain = doubly_robust(*log, predicted=2 * exact + 1, recalibrate=False)
        recalibrated = doubly_robust(*log, predicted=2 * exact + 1)
        assert recalibrated.high - recalibrated.low < 1.2 * (perfect.high - perfect.low)
        assert plain.high - plain.low > 10 * (perfect.high - perfect.low)

    def test_equal_policies_do_not_differ(self):
        found = difference(TARGET, TARGET, **LOG)
        assert (found.value, found.low, found.high, found.effective_sample_size) == (0, 0, 0, 0)

    @given(st.integers(0, 2**32 - 1), st.floats(-5, 5))
    def test_a_constant_on_all_rewards_is_added_to_snips(self, seed, constant):
        inputs, actions, rewards, propensities = WORLD.log(30, np.random.default_rng(seed))
        target = WORLD.policies["soft"][inputs]
        plain = snips(target, actions, rewards, propensities)
        moved = snips(target, actions, rewards + constant, propensities)
        assert moved.value == pytest.approx(plain.value + constant)
        assert moved.high - moved.low == pytest.approx(plain.high - plain.low, rel=1e-3, abs=1e-6)
        assert rewards.min() - 1e-9 <= plain.value <= rewards.max() + 1e-9

    @pytest.mark.parametrize("method", ESTIMATES)
    def test_a_difference_is_the_difference_of_the_values_whichever_comes_first(self, method):
        inputs, actions, rewards, propensities = WORLD.log(200, np.random.default_rng(3))
        one, other = WORLD.policies["sharp"][inputs], WORLD.policies["soft"][inputs]
        model: dict[str, Any] = {"predicted": WORLD.model[inputs]}
        estimate, log = ESTIMATES[method], (actions, rewards, propensities)
        needed = model if method.startswith("d") else {}
        there = difference(one, other, *log, method=method, **model)
        back = difference(other, one, *log, method=method, **model)
        assert there.value == pytest.approx(estimate(one, *log, **needed).value - estimate(other, *log, **needed).value)
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


class World:
    """Six kinds of inputs, four actions, rewards of 0 or 1, and policies whose values are known."""

    def __init__(self) -> None:
        draw = np.random.default_rng(7)
        self.mean_reward = draw.uniform(0.05, 0.95, size=(6, 4))
        self.behaviour = 0.6 * draw.dirichlet(np.ones(4), size=6) + 0.4 / 4
        sharp = np.eye(4)[self.mean_reward.argmax(axis=1)]
        self.policies = {"sharp": sharp, "soft": draw.dirichlet(np.ones(4), size=6), "worst": np.roll(sharp, 1, axis=1)}
        self.model = self.mean_reward + draw.normal(scale=0.15, size=(6, 4))

    def value(self, name: str) -> float:
        return float((self.policies[name] * self.mean_reward).sum(axis=1).mean())

    def log(self, n: int, draw: np.random.Generator) -> tuple[Any, Any, Any, Any]:
        inputs = draw.integers(6, size=n)
        actions = np.array([draw.choice(4, p=row) for row in self.behaviour[inputs]])
        rewards = (draw.uniform(size=n) < self.mean_reward[inputs, actions]).astype(float)
        return inputs, actions, rewards, self.behaviour[inputs, actions]


WORLD = World()
LOGS, ROWS = 400, 250


@pytest.fixture(scope="module")
def estimates() -> dict[tuple[str, str], list[Any]]:
    """Every estimate of every policy on every log."""
    draw, found = np.random.default_rng(11), {}
    for _ in range(LOGS):
        inputs, *log = WORLD.log(ROWS, draw)
        model: dict[str, Any] = {"predicted": WORLD.model[inputs]}
        for name, policy in WORLD.policies.items():
            target = policy[inputs]
            for method, estimate in {
                "ips": ips(target, *log),
                "snips": snips(target, *log),
                "doubly robust": doubly_robust(target, *log, **model, recalibrate=False),
                "recalibrated": doubly_robust(target, *log, **model),
                "direct": direct_method(target, *log, **model),
                "clipped": ips(target, *log, clip=2.0),
            }.items():
                found.setdefault((method, name), []).append(estimate)
        better = difference(WORLD.policies["sharp"][inputs], WORLD.policies["soft"][inputs], *log)
        found.setdefault(("difference", "sharp - soft"), []).append(better)
    return found


def errors(found: list[Any], truth: float) -> np.ndarray:
    return np.array([estimate.value for estimate in found]) - truth


@pytest.mark.parametrize("policy", ["sharp", "soft", "worst"])
class TestOverManyLogs:
    @pytest.mark.parametrize("method", ["ips", "doubly robust"])
    def test_unbiased(self, estimates, method, policy):
        off = errors(estimates[method, policy], WORLD.value(policy))
        assert abs(off.mean()) < 3 * off.std() / LOGS**0.5

    @pytest.mark.parametrize("method", ["ips", "snips", "doubly robust", "recalibrated"])
    def test_the_interval_covers_the_truth_as_often_as_it_says(self, estimates, method, policy):
        truth = WORLD.value(policy)
        hits = sum(estimate.low <= truth <= estimate.high for estimate in estimates[method, policy])
        assert binomtest(hits, LOGS, 0.95).pvalue > 0.005, hits

    def test_recalibrated_is_as_exact_as_each_of_the_others(self, estimates, policy):
        truth = WORLD.value(policy)
        error = {m: (errors(estimates[m, policy], truth) ** 2).mean() ** 0.5 for m, p in estimates if p == policy}
        # What it gives away for two coefficients fitted on few rows is a few hundredths.
        assert error["recalibrated"] <= 1.03 * min(error["ips"], error["snips"], error["doubly robust"])

    def test_clipping_leans_downwards_and_scatters_less(self, estimates, policy):
        truth = WORLD.value(policy)
        clipped, plain = errors(estimates["clipped", policy], truth), errors(estimates["ips", policy], truth)
        assert clipped.mean() < -5 * clipped.std() / LOGS**0.5
        assert clipped.std() < plain.std()

    def test_the_models_error_stays_with_the_direct_method_alone(self, estimates, policy):
        """The bias of the model is the same in every log; its interval does not know of it."""
        off = errors(estimates["direct", policy], WORLD.value(policy))
        bias = (WORLD.policies[policy] * (WORLD.model - WORLD.mean_reward)).sum(axis=1).mean()
        assert off.mean() == pytest.approx(bias, abs=0.005)


def test_the_paired_interval_of_a_difference_covers_and_is_narrower_than_two_apart(estimates):
    truth = WORLD.value("sharp") - WORLD.value("soft")
    found = estimates["difference", "sharp - soft"]
    hits = sum(estimate.low <= truth <= estimate.high for estimate in found)
    assert binomtest(hits, LOGS, 0.95).pvalue > 0.005, hits
    widths = [np.mean([e.high - e.low for e in estimates["snips", name]]) for name in ("sharp", "soft")]
    assert np.mean([estimate.high - estimate.low for estimate in found]) < math.hypot(*widths)


class TestBadInput:
    def test_a_policy_the_log_says_nothing_about(self):
        never = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        for estimate in (ips, snips):
            with pytest.raises(ValueError, match="none of the 3 logged actions: the log says nothing"):
                estimate(never, **LOG)
        assert direct_method(never, **LOG, predicted=PREDICTED).effective_sample_size == 0

    def test_a_misspelt_method_is_answered_with_the_nearest(self):
        with pytest.raises(ValueError, match="no method 'snip'; did you mean 'snips'"):
            difference(TARGET, TARGET, **LOG, method="snip")  # type: ignore[arg-type]

    def test_a_model_is_asked_for_where_one_is_needed(self):
        with pytest.raises(ValueError, match="needs a reward model's predictions"):
            difference(TARGET, TARGET, **LOG, method="doubly_robust")

    def test_policies_for_other_options_are_not_compared(self):
        wider = np.pad(TARGET, ((0, 0), (0, 1)))
        with pytest.raises(ValueError, match=r"shapes \[3, 2\] and \[3, 3\]"):
            difference(TARGET, wider, **LOG)

    def test_too_few_rows_to_recalibrate(self):
        with pytest.raises(ValueError, match="more than 3 rows; got 3"):
            doubly_robust(TARGET, **LOG, predicted=PREDICTED)
