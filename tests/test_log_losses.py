"""The losses of logs with propensities, against arithmetic written out."""

from __future__ import annotations

from math import inf, isclose, log, nan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.learning.losses import doubly_robust, expected_reward, ips, reward_regression, snips


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# The odds 1 : 2 : 5 and 3 : 3 : 2, so that the probabilities are eighths: 1, 2, 5 and 3, 3, 2 of them.
LOGITS = tensor([[1, 2, 5], [3, 3, 2]]).log()
ROW = LOGITS[:1]

# A log of both rows: the third option was drawn with probability 1/4 and earned 1/2, the first with 3/4 and earned 1.
# The importance weights are 5/8 : 1/4 = 5/2 and 3/8 : 3/4 = 1/2.
ACTIONS, LOGGED, PROPENSITIES = torch.tensor([2, 0]), tensor([0.5, 1]), tensor([0.25, 0.75])


def gradient(loss, logits):
    """Of a loss by the logits it is given."""
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(logits), logits)[0]


class TestFromLogs:
    def test_ips_by_hand(self):
        """5/2 · 1/2 and 1/2 · 1, their mean 7/8."""
        assert ips(LOGITS, ACTIONS, LOGGED, PROPENSITIES).item() == pytest.approx(-7 / 8)

    def test_snips_by_hand(self):
        """(5/4 + 1/2) / (5/2 + 1/2) = 7/12."""
        assert snips(LOGITS, ACTIONS, LOGGED, PROPENSITIES).item() == pytest.approx(-7 / 12)

    def test_doubly_robust_by_hand(self):
        """Row 1: 2/8 · 1/2 + 5/8 · 1/4 = 9/32, and 5/2 · (1/2 − 1/4) = 20/32. Row 2: 3/8 + 2/8 · 1/2 = 16/32, exact.

        The mean of 29/32 and 16/32 is 45/64.
        """
        predicted = tensor([[0, 0.5, 0.25], [1, 0, 0.5]])
        assert doubly_robust(LOGITS, ACTIONS, LOGGED, PROPENSITIES, predicted).item() == pytest.approx(-45 / 64)

    def test_clipped_at_two(self):
        """The first weight becomes 2, and no gradient flows through it.

        IPS: (2 · 1/2 + 1/2) / 2 = 3/4. Self-normalised: (1 + 1/2) / (2 + 1/2) = 3/5. Doubly robust with a model that
        says 1/2 everywhere: 1/2 + (2 · 0 + 1/2 · 1/2) / 2 = 5/8.
        """
        log_of_two = (ACTIONS, LOGGED, PROPENSITIES)
        assert ips(LOGITS, *log_of_two, clip=2).item() == pytest.approx(-3 / 4)
        assert snips(LOGITS, *log_of_two, clip=2).item() == pytest.approx(-3 / 5)
        half = torch.full((2, 3), 0.5, dtype=torch.float64)
        assert doubly_robust(LOGITS, *log_of_two, half, clip=2).item() == pytest.approx(-5 / 8)
        result = gradient(lambda x: ips(x, *log_of_two, clip=2), LOGITS)
        assert (result[0] == 0).all() and (result[1] != 0).any()

    def test_ips_is_unbiased_whoever_drew(self):
        """Every action weighted by its propensity gives the exact value of the policy."""
        rewards, drawing = tensor([0.3, 1, 0.6]), tensor([0.7, 0.2, 0.1])
        value = sum(
            p * ips(ROW, torch.tensor([a]), rewards[a, None], drawing[a, None], clip=inf) for a, p in enumerate(drawing)
        )
        assert float(value) == pytest.approx(expected_reward(ROW, rewards[None]).item())

    @pytest.mark.parametrize(("model", "honest"), [("wrong", True), ("exact", False), ("exact", True)])
    def test_doubly_robust_is_unbiased_if_either_is_right(self, model, honest):
        """A wrong model with true propensities, or an exact one with propensities that are made up."""
        rewards, drawing = tensor([0.3, 1, 0.6]), tensor([0.7, 0.2, 0.1])
        predicted = rewards[None] if model == "exact" else tensor([[0.9, -2, 0.1]])
        said = drawing if honest else tensor([0.1, 0.5, 0.9])
        value = sum(
            p * doubly_robust(ROW, torch.tensor([a]), rewards[a, None], said[a, None], predicted, clip=inf)
            for a, p in enumerate(drawing)
        )
        assert float(value) == pytest.approx(expected_reward(ROW, rewards[None]).item())

    def test_with_an_exact_model_no_row_is_left_to_chance(self):
        """Not in the mean alone: each single action gives the direct value."""
        rewards = tensor([[0.3, 1, 0.6]])
        exact = expected_reward(ROW, rewards).item()
        for action in range(3):
            log_of_one = (torch.tensor([action]), rewards[:, action], tensor([0.01]))
            assert doubly_robust(ROW, *log_of_one, rewards).item() == pytest.approx(exact)

    def test_without_a_model_doubly_robust_is_ips(self):
        nothing = torch.zeros(2, 3, dtype=torch.float64)
        plain = ips(LOGITS, ACTIONS, LOGGED, PROPENSITIES).item()
        assert doubly_robust(LOGITS, ACTIONS, LOGGED, PROPENSITIES, nothing).item() == pytest.approx(plain)

    def test_who_cares_what_is_added_to_all_rewards(self):
        """10 more is 10 more to the self-normalised value, and the same gradient; to IPS it is 10 · (5/2 + 1/2) / 2."""
        more = LOGGED + 10
        plain, added = (snips(LOGITS, ACTIONS, rewards, PROPENSITIES).item() for rewards in (LOGGED, more))
        assert added == pytest.approx(plain - 10)
        gradients = [gradient(lambda x, r=r: snips(x, ACTIONS, r, PROPENSITIES), LOGITS) for r in (LOGGED, more)]
        assert torch.allclose(*gradients)
        assert ips(LOGITS, ACTIONS, more, PROPENSITIES).item() == pytest.approx(-7 / 8 - 15)

    def test_a_policy_that_chooses_nothing_that_was_logged_has_a_value_still(self):
        """No weight at all: nothing is known, and 0 is said rather than 0 / 0."""
        logits = tensor([[-2000, 0, -2000]])
        assert snips(logits, torch.tensor([0]), tensor([1]), tensor([0.5])).item() == 0


class TestRewardRegression:
    def test_by_hand(self):
        """Log-odds ln 3 are 3/4; rewards 1 and 1/4 there, and log-odds 0 are 1/2 whatever the reward; one is unknown.

        The mean of ln(4/3), 1/4 · ln(4/3) + 3/4 · ln 4 and ln 2.
        """
        logits, rewards = tensor([[log(3), 7], [log(3), 0]]), tensor([[1, nan], [0.25, 0.8]])
        expected = (log(4 / 3) + log(4 / 3) / 4 + 0.75 * log(4) + log(2)) / 3
        assert reward_regression(logits, rewards).item() == pytest.approx(expected)

    @given(st.floats(0.01, 0.99))
    def test_it_is_least_where_the_model_says_the_reward(self, reward):
        at_reward = gradient(lambda x: reward_regression(x, tensor([[reward]])), tensor([[reward]]).logit())
        assert isclose(at_reward.item(), 0, abs_tol=1e-9)


ONE_EACH = (torch.tensor([0, 2, 1]), tensor([1, 0.2, 0.7]), tensor([0.5, 0.9, 0.3]))
PREDICTED = tensor([[0.1, 0.2, 0.3, 0.4, 0.5]]).repeat(3, 1)
UNKNOWN = tensor([[1, nan, 0.3, 0, 0.5], [nan, nan, 0.2, nan, nan], [0, 1, 1, 0, 0]])


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: ips(x, *ONE_EACH),
        lambda x: snips(x, *ONE_EACH),
        lambda x: doubly_robust(x, *ONE_EACH, PREDICTED),
        lambda x: reward_regression(x, UNKNOWN),
    ],
    ids=["ips", "snips", "doubly_robust", "regression"],
)
def test_gradients(loss):
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, logits)
