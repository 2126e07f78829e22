"""The losses of rewards, against arithmetic written out."""

from __future__ import annotations

from itertools import product
from math import exp, inf, log, nan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from dspy_router.learning.losses import (
    aspire,
    cross_entropy,
    evidence,
    expected_reward,
    gumbel_softmax,
    policy_gradient,
    soft_expected_reward,
)


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# The odds 1 : 2 : 5 and 3 : 3 : 2, so that the probabilities are eighths: 1, 2, 5 and 3, 3, 2 of them.
LOGITS = tensor([[1, 2, 5], [3, 3, 2]]).log()
ROW = LOGITS[:1]


def gradient(loss, logits):
    """Of a loss by the logits it is given."""
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(logits), logits)[0]


class TestExpectedReward:
    def test_by_hand(self):
        """Row 1: 1/8 · 1 + 5/8 · 0.4 = 3/8. Row 2: 3/8 · 1 + 2/8 · 0.5 = 1/2. −7/16 is minus their mean."""
        assert expected_reward(LOGITS, tensor([[1, 0, 0.4], [0, 1, 0.5]])).item() == pytest.approx(-7 / 16)

    def test_an_unknown_reward_is_left_out(self):
        """Among the odds 1 and 5 the first has 1/6."""
        assert expected_reward(ROW, tensor([[1, nan, 0]])).item() == pytest.approx(-1 / 6)
        assert gradient(lambda x: expected_reward(x, tensor([[1, nan, 0]])), ROW)[0, 1] == 0

    def test_the_gradient_is_the_analytic_one(self):
        """`−π(a) (r(a) − Σ_b π(b) r(b))` of each row, over the number of rows; in single precision."""
        logits, rewards = 3 * torch.randn(64, 151), torch.rand(64, 151)
        probabilities = logits.softmax(1)
        value = (probabilities * rewards).sum(1, keepdim=True)
        analytic = -probabilities * (rewards - value) / 64
        assert (gradient(lambda x: expected_reward(x, rewards), logits) - analytic).abs().max() < 1e-6


class TestSoftExpectedReward:
    def test_by_hand(self):
        """With τ = 1 and b = 0 the rewards ln 2, unknown and ln 4 weigh 2, 1 and 4: (1 · 2 + 2 · 1 + 5 · 4) / 8 = 3."""
        rewards = tensor([[log(2), nan, log(4)]])
        assert soft_expected_reward(ROW, rewards, temperature=1).item() == pytest.approx(-log(3))

    def test_temperature_and_baseline_by_hand(self):
        """τ = 1/2 squares the weights: (4 + 2 + 80) / 8. b = ln 2 halves them, but of the unknown: (1 + 2 + 10) / 8."""
        rewards = tensor([[log(2), nan, log(4)]])
        assert soft_expected_reward(ROW, rewards, temperature=0.5).item() == pytest.approx(-log(86 / 8))
        assert soft_expected_reward(ROW, rewards, temperature=1, baseline=log(2)).item() == pytest.approx(-log(13 / 8))

    def test_smoothing_by_hand(self):
        """A tenth of the mean of −ln(1/8), −ln(2/8) and −ln(5/8), and nine tenths of −ln 3."""
        rewards = tensor([[log(2), nan, log(4)]])
        uniform = (log(8) + log(4) + log(8 / 5)) / 3
        loss = soft_expected_reward(ROW, rewards, temperature=1, smoothing=0.1)
        assert loss.item() == pytest.approx(0.1 * uniform - 0.9 * log(3))

    def test_robustness_by_hand(self):
        """Of the weights 2, 1 and 4 it earns 3 where 4 is the most: (1 − √(3/4)) / ½ with q = ½, 1 − 3/4 with 1."""
        rewards = tensor([[log(2), nan, log(4)]])
        for q, expected in ((0.5, 2 * (1 - 0.75**0.5)), (1.0, 0.25)):
            loss = soft_expected_reward(ROW, rewards, temperature=1, robustness=q)
            assert loss.item() == pytest.approx(expected)

    def test_robust_a_hit_where_the_policy_is_sure_of_another_tool_pulls_less(self):
        """With the tool found, π = e^{-8}: cross-entropy pulls with nearly 1, q = ½ with √π of that."""
        logits, rewards = tensor([[0, 8]]), tensor([[1, nan]])
        pulls = [
            gradient(lambda x, q=q: soft_expected_reward(x, rewards, temperature=0.01, robustness=q), logits)[0, 0]
            for q in (0.0, 0.5)
        ]
        assert pulls[0].item() == pytest.approx(-1, abs=1e-3)
        assert pulls[1].item() == pytest.approx(-exp(-4), rel=1e-3)

    def test_smoothing_leaves_out_what_is_forbidden(self):
        """Between 1/6 and 5/6, the third option having no probability at all."""
        logits = torch.where(torch.tensor([[False, True, False]]), -torch.inf, ROW)
        loss = soft_expected_reward(logits, tensor([[nan, nan, nan]]), temperature=1, smoothing=0.5)
        assert loss.item() == pytest.approx((log(6) + log(6 / 5)) / 4)

    def test_the_gradient_is_that_of_cross_entropy_with_a_reweighted_target(self):
        """The target is (2, 2, 20) / 24, the policy (3, 6, 15) / 24; their difference (1, 4, −5) / 24."""
        rewards = tensor([[log(2), nan, log(4)]])
        result = gradient(lambda x: soft_expected_reward(x, rewards, temperature=1), ROW)
        assert result[0].tolist() == pytest.approx([1 / 24, 4 / 24, -5 / 24])

    def test_hot_it_is_the_expected_reward(self):
        """Times τ, and but for the baseline; what is unknown counts as the baseline."""
        rewards, tau, baseline = tensor([[1, 0, 0.4], [0, nan, 0.5]]), 1e5, 0.3
        filled = rewards.nan_to_num(baseline)
        value = tau * soft_expected_reward(LOGITS, rewards, temperature=tau, baseline=baseline)
        assert value.item() == pytest.approx(expected_reward(LOGITS, filled).item() + baseline, abs=1e-5)
        soft = gradient(lambda x: tau * soft_expected_reward(x, rewards, temperature=tau, baseline=baseline), LOGITS)
        assert torch.allclose(soft, gradient(lambda x: expected_reward(x, filled), LOGITS), atol=1e-5)

    def test_cold_a_hit_is_a_label(self):
        """`e^{0.5 / 0.01}` = e^50 outweighs all else: the gradient of cross-entropy, whatever the other rewards are."""
        rewards, right = tensor([[0.2, 1, nan], [1, nan, nan]]), torch.tensor([[0, 1, 0], [1, 0, 0]]).bool()
        cold = gradient(lambda x: soft_expected_reward(x, rewards, temperature=0.01, baseline=0.5), LOGITS)
        assert torch.allclose(cold, gradient(lambda x: cross_entropy(x, right), LOGITS), atol=1e-12)

    def test_cold_failures_leave_what_was_not_tried(self):
        """Row 1: the first failed, 7/8 are left. Row 2: the second and third failed, 3/8 are left."""
        rewards = tensor([[0, nan, nan], [nan, 0, 0]])
        loss = soft_expected_reward(LOGITS, rewards, temperature=0.01, baseline=0.5)
        assert loss.item() == pytest.approx((log(8 / 7) + log(8 / 3)) / 2)

    def test_it_falls_into_place_between_the_extremes(self):
        """A hit of reward 1 in 0.8 says no more than e^{0.3 / τ}: at τ = 0.1, weights 1 : e³ : 1."""
        loss = soft_expected_reward(ROW, tensor([[nan, 0.8, nan]]), temperature=0.1, baseline=0.5)
        assert loss.item() == pytest.approx(-log((1 + 2 * exp(3) + 5) / 8))

    @given(
        st.lists(st.tuples(st.floats(-500, 500), st.floats(0, 1) | st.just(nan)), min_size=2, max_size=6),
        st.floats(0.05, 5),
    )
    def test_it_is_bounded(self, options, temperature):
        """However sure the policy is, a reward that speaks against it costs no more than (b − r) / τ."""
        logits, rewards = (tensor([column]) for column in zip(*options, strict=True))
        loss = soft_expected_reward(logits, rewards, temperature=temperature, baseline=0.5).item()
        assert abs(loss) <= 0.5 / temperature + 1e-9

    def test_the_evidence_by_hand(self):
        """(1 − 0.5) / 0.1 = 5, nothing, (0.3 − 0.5) / 0.1 = −2."""
        assert evidence(tensor([[1, nan, 0.3]]), temperature=0.1, baseline=0.5)[0].tolist() == pytest.approx([5, 0, -2])


class TestAspiration:
    def test_by_hand(self):
        """Level 0.8: 0.4 is half-way to it and becomes 1/4, 0.9 is half-way from it to 1 and becomes 3/4."""
        bent = aspire(tensor([0, 0.4, 0.8, 0.9, 1, nan]), 0.8)
        assert bent.tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1, nan], nan_ok=True)

    def test_half_way_changes_nothing(self):
        rewards = torch.rand(50)
        assert torch.allclose(aspire(rewards, 0.5), rewards)

    @given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 0.99))
    def test_the_better_stays_the_better_and_in_bounds(self, one, other, level):
        low, high = aspire(tensor(sorted([one, other])), level).tolist()
        assert -1e-9 <= low <= high + 1e-9 <= 1 + 2e-9


# The third option was drawn with probability 1/4 and earned 1/2.
DRAWN, QUARTER = (torch.tensor([[2]]), tensor([[0.5]])), tensor([[0.25]])


class TestPolicyGradient:
    def test_two_draws_by_hand(self):
        """Options 1 and 3 earned 1 and 0: advantages 1 and −1, −(ln(1/8) − ln(5/8)) / 2 = ln(5) / 2."""
        loss = policy_gradient(ROW, torch.tensor([[0, 2]]), tensor([[1, 0]]))
        assert loss.item() == pytest.approx(log(5) / 2)

    def test_three_draws_by_hand(self):
        """1, 0.5 and 0 less the mean of the others: 0.75, 0 and −0.75; −0.75 (ln(1/8) − ln(5/8)) / 3 = ln(5) / 4."""
        loss = policy_gradient(ROW, torch.tensor([[0, 1, 2]]), tensor([[1, 0.5, 0]]))
        assert loss.item() == pytest.approx(log(5) / 4)

    def test_one_draw_has_no_baseline(self):
        """−0.5 · ln(2/8)."""
        assert policy_gradient(ROW, torch.tensor([[1]]), tensor([[0.5]])).item() == pytest.approx(0.5 * log(4))

    def test_importance_weights_by_hand_and_clipped(self):
        """5/8 : 1/4 = 5/2, so 5/2 · 0.5 · ln(8/5); clipped at 2, 2 · 0.5 · ln(8/5)."""
        assert policy_gradient(ROW, *DRAWN, propensities=QUARTER).item() == pytest.approx(1.25 * log(8 / 5))
        assert policy_gradient(ROW, *DRAWN, propensities=QUARTER, clip=2).item() == pytest.approx(log(8 / 5))

    def test_the_weights_are_no_way_to_a_better_value(self):
        """Their gradient is left out: by the logits it is w · r · (π − 1[a]) = 5/4 · (1/8, 2/8, −3/8)."""
        result = gradient(lambda x: policy_gradient(x, *DRAWN, propensities=QUARTER), ROW)
        assert result[0].tolist() == pytest.approx([1.25 / 8, 2.5 / 8, -3.75 / 8])

    def test_kl_and_entropy_by_hand(self):
        """All rewards alike, so that only the leashes are left.

        KL from the start 1/4, 1/4, 1/2: 1/8 · ln(1/2) + 2/8 · ln 1 + 5/8 · ln(5/4).
        Entropy: 1/8 · ln 8 + 2/8 · ln 4 + 5/8 · ln(8/5).
        """
        start = tensor([[1, 1, 2]]).log() + 3
        divergence = log(1 / 2) / 8 + 5 / 8 * log(5 / 4)
        entropy = log(8) / 8 + log(4) / 4 + 5 / 8 * log(8 / 5)
        drawn = (ROW, torch.tensor([[0, 2]]), tensor([[1, 1]]))
        assert policy_gradient(*drawn, start=start, kl=3).item() == pytest.approx(3 * divergence)
        assert policy_gradient(*drawn, entropy=0.5).item() == pytest.approx(-0.5 * entropy)
        both = policy_gradient(*drawn, start=start, kl=3, entropy=0.5)
        assert both.item() == pytest.approx(3 * divergence - 0.5 * entropy)

    def test_a_forbidden_option_takes_no_part_in_the_leashes(self):
        """Odds 1 : 2 : forbidden on either side: no divergence, the entropy ln 3 − 2/3 · ln 2."""
        logits = tensor([[0, log(2), -inf]])
        drawn = (torch.tensor([[0, 1]]), tensor([[1, 1]]))
        loss = policy_gradient(logits, *drawn, start=logits, kl=1, entropy=1)
        assert loss.item() == pytest.approx(-(log(3) - 2 / 3 * log(2)))
        leashed = gradient(lambda x: policy_gradient(x, *drawn, start=logits, kl=1, entropy=1), logits)
        assert leashed.isfinite().all()

    def test_what_is_added_to_all_rewards_does_not_matter(self):
        actions, rewards = torch.randint(3, (2, 4)), torch.rand(2, 4, dtype=torch.float64)
        plain, shifted = (policy_gradient(LOGITS, actions, rewards + shift).item() for shift in (0, 100))
        assert shifted == pytest.approx(plain)

    def test_every_pair_of_draws_together_give_the_exact_gradient(self):
        """Each pair weighted by its probability: nothing is left to chance."""
        rewards, probabilities = tensor([1, 0.2, 0.7]), ROW.softmax(1)[0]
        total = sum(
            probabilities[a]
            * probabilities[b]
            * gradient(lambda x, d=[a, b]: policy_gradient(x, torch.tensor([d]), rewards[d][None]), ROW)
            for a, b in product(range(3), repeat=2)
        )
        exact = gradient(lambda x: expected_reward(x, rewards[None]), ROW)
        assert torch.allclose(torch.as_tensor(total), exact, atol=1e-12)

    @pytest.mark.parametrize("logged", [False, True], ids=["own", "logged"])
    def test_ten_thousand_draws_are_unbiased(self, logged):
        """The mean gradient lies within 3 standard errors of the exact one, for own draws and for a log's."""
        n, m = 10_000, 4
        start, rewards = torch.randn(1, 6, dtype=torch.float64), torch.rand(1, 6, dtype=torch.float64)
        drawing = torch.full((1, 6), 1 / 6, dtype=torch.float64) if logged else start.softmax(1)
        actions = torch.multinomial(drawing.expand(n, 6), m, replacement=True)
        propensities = drawing[0, actions] if logged else None

        def loss(logits):
            return policy_gradient(logits, actions, rewards[0, actions], propensities=propensities, clip=inf)

        single = n * gradient(loss, start.expand(n, 6))
        errors = single.mean(0) - gradient(lambda x: expected_reward(x, rewards), start)[0]
        assert (errors.abs() <= 3 * single.std(0) / n**0.5).all()
        assert (3 * single.std(0) / n**0.5 < 0.01).all()  # a bound that would show an error


class TestGumbelSoftmax:
    def test_forward_it_is_one_option_backward_the_soft_one(self):
        """The same noise twice: a one-hot row and its soft shadow have one gradient, by whatever comes after them."""
        logits, worth = torch.randn(50, 4, dtype=torch.float64), torch.randn(50, 4, dtype=torch.float64)

        def drawn(logits, hard):
            torch.manual_seed(3)
            return gumbel_softmax(logits, temperature=0.7, hard=hard)

        hard, soft = drawn(logits, True), drawn(logits, False)
        hard_gradient, soft_gradient = (
            gradient(lambda x, h=h: (drawn(x, h) * worth).sum(), logits) for h in (True, False)
        )
        assert torch.allclose(soft.sum(1), torch.ones(50, dtype=torch.float64))
        assert (soft.max(1).values < 1).all()
        assert torch.allclose(hard, F.one_hot(soft.argmax(1), 4).double())
        assert torch.allclose(hard_gradient, soft_gradient)

    def test_it_draws_from_the_policy(self):
        """Of 10,000 draws the shares lie within 4 standard errors of 1/8, 2/8 and 5/8, at any temperature."""
        for temperature in (0.1, 1, 10):
            shares = gumbel_softmax(ROW.expand(10_000, 3), temperature=temperature).mean(0)
            for share, probability in zip(shares.tolist(), (1 / 8, 2 / 8, 5 / 8), strict=True):
                assert share == pytest.approx(probability, abs=4 * (probability * (1 - probability) / 10_000) ** 0.5)

    def test_the_loss_after_a_tool_reaches_the_choice(self):
        """Tools double, negate and drop 3; the target is −3, so that a step against the gradient favours negating."""
        outputs = tensor([6, -3, 0])
        result = gradient(lambda x: ((gumbel_softmax(x) * outputs).sum(1) + 3).pow(2).mean(), LOGITS[:1].expand(500, 3))
        assert result.sum(0).argmin() == 1


UNKNOWN = tensor([[1, nan, 0.3, 0, 0.5], [nan, nan, 0.2, nan, nan], [0, 1, 1, 0, 0]])
DRAWS, EARNED = torch.tensor([[0, 2], [2, 2], [4, 1]]), tensor([[1, 0.3], [0.2, 0.2], [0, 1]])
START = tensor([[0.1, 0.2, 0.3, 0.4, 0.5]]).repeat(3, 1)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: expected_reward(x, UNKNOWN),
        lambda x: soft_expected_reward(x, UNKNOWN, temperature=0.2, baseline=0.5),
        lambda x: policy_gradient(x, DRAWS, EARNED, start=START, kl=0.3, entropy=0.2),
    ],
    ids=["expected", "soft", "policy_gradient"],
)
def test_gradients(loss):
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, logits)
