"""What is worth trying next: expected improvement by hand, and what it must never suggest."""

from __future__ import annotations

import math

import pytest
import torch

from dspy_router.learning.trials import ExploreConfig, Trials

OPTIONS = ("calculate", "search", "wire_money", None)
# The policy's probabilities for one example; the last column is none.
BELIEF = torch.tensor([[0.4, 0.3, 0.2, 0.1]])


def test_before_any_try_the_improvement_is_the_probability():
    """Nothing was earned, so that trying option a improves by π(a) · (1 − 0)."""
    assert Trials(1, OPTIONS).gains(BELIEF, temperature=0.1).tolist()[0] == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_a_failure_hands_its_probability_to_the_others():
    """τ = ½ makes a reward of 0 weigh e^{−1}: the others share 0.6 / (0.6 + 0.4/e) between them."""
    trials = Trials(1, OPTIONS)
    trials.record(0, "calculate", 0.0)
    rest = 0.6 + 0.4 / math.e
    expected = [0.0, 0.3 / rest, 0.2 / rest, 0.1 / rest]
    assert trials.gains(BELIEF, temperature=0.5).tolist()[0] == pytest.approx(expected)


def test_a_middling_reward_leaves_only_what_is_missing_to_the_maximum():
    """A reward of ½ says nothing for or against a tool; of 1 only ½ is left to gain: 0.3 · ½ and so on."""
    trials = Trials(1, OPTIONS)
    trials.record(0, "calculate", 0.5)
    assert trials.gains(BELIEF, temperature=0.1).tolist()[0] == pytest.approx([0.0, 0.15, 0.1, 0.05])


def test_an_example_at_the_maximum_is_done():
    trials = Trials(1, OPTIONS)
    trials.record(0, "search", 1.0)
    assert trials.gains(BELIEF, temperature=0.1).max() == 0


def test_where_rewards_may_be_wrong_an_unlikely_success_is_tried_against():
    """The policy is sure of `calculate`; `search` earned 1 all the same: doubted if rewards may be wrong, else done."""
    trials = Trials(1, OPTIONS)
    trials.record(0, "search", 1.0)
    sure = torch.tensor([[0.997, 0.001, 0.001, 0.001]])
    assert trials.gains(sure, temperature=0.25, noisy=True).argmax() == 0
    assert trials.gains(sure, temperature=0.25).max() == 0


def test_the_maximum_sets_what_is_left_to_gain():
    """Of a metric up to 10, a reward of 5 is the middle: half of the range is left."""
    trials = Trials(1, OPTIONS, maximum=10.0)
    trials.record(0, "calculate", 5.0)
    assert trials.gains(BELIEF, temperature=0.1).tolist()[0] == pytest.approx([0.0, 0.15, 0.1, 0.05])


def test_rewards_below_zero_and_beyond_the_maximum_widen_the_range():
    trials = Trials(2, OPTIONS)
    trials.record(0, "search", -1.0)
    trials.record(1, "search", 3.0)
    assert trials.range == (-1.0, 3.0)


def test_a_metric_that_is_never_positive_has_a_range_too():
    """A loss made negative: its best value is 0."""
    trials = Trials(1, OPTIONS, maximum=0.0)
    trials.record(0, "search", -4.0)
    assert trials.range == (-4.0, 0.0)


def test_forbidden_tools_and_failed_tries_are_never_suggested():
    trials = Trials(1, OPTIONS, forbidden=["wire_money"])
    trials.record(0, "calculate", None)
    gains = trials.gains(BELIEF, temperature=0.1)[0]
    assert (gains[0], gains[2]) == (0, 0)
    assert gains.argmax() == 1


def test_costly_tools_come_last():
    trials = Trials(1, OPTIONS, costly=["calculate"])
    for tool in ("search", "wire_money"):
        assert trials.gains(BELIEF, temperature=0.1)[0, 0] == 0
        trials.record(0, tool, 0.0)
    trials.record(0, None, 0.0)
    assert trials.gains(BELIEF, temperature=0.1)[0].tolist() == pytest.approx([1.0, 0, 0, 0], abs=0.02)


def test_an_unknown_costly_tool_is_named():
    with pytest.raises(ValueError, match=r"no tool 'serach'; it knows calculate, search, .*Did you mean 'search'\?"):
        Trials(1, OPTIONS, costly=["serach"])


def test_a_reward_of_an_unknown_tool_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"no tool 'calculat'; .*Did you mean 'calculate'\?"):
        Trials(1, OPTIONS).record(0, "calculat", 1.0)


def test_noise_becomes_the_temperature_that_gives_its_odds():
    """A reward of 1 against one of 0 must weigh ((1 − ε)/ε)²: once for the tool that has it, once against the other."""
    for noise in (0.01, 0.1, 0.3):
        odds = math.exp(1.0 / ExploreConfig(noise=noise).temperature)
        assert odds == pytest.approx(((1 - noise) / noise) ** 2)


def test_the_noisier_the_rewards_the_less_sure_the_policy_may_be():
    smoothings = [ExploreConfig(noise=noise).smoothing for noise in (0.0, 0.1, 0.4)]
    assert smoothings == pytest.approx([0.0, 0.1, 0.4])


def test_rewards_that_are_never_wrong_are_taken_at_their_word_by_one_hidden_layer():
    assert (ExploreConfig().robustness, ExploreConfig().members) == (0.0, None)
    assert ExploreConfig(noise=0.1).robustness > 0
    assert (ExploreConfig(noise=0.1).members or 1) > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tries": 0}, "tries must be a positive number"),
        ({"noise": 0.5}, r"noise must lie in \[0, 0.5\), got 0.5"),
        ({"rounds": 0}, "rounds must be a whole number of at least 1, got 0"),
        ({"growth": 0.5}, r"growth must lie in \[1, "),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ExploreConfig(**settings)
