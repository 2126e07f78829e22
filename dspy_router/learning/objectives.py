"""The objective of a training run: what its labels ask for, and what its rewards do, in one loss a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from dspy_router.learning import losses
from dspy_router.learning.lessons import Lessons
from dspy_router.learning.settings import RewardConfig, RewardObjective, TrainConfig

# `(choices [b, k + 1], rows int64 [b]) → losses [b]`: what comes after the tools, as a differentiable function.
Downstream = Callable[[Tensor, Tensor], Tensor]

# The model of the rewards that the doubly robust value needs is a run of its own.
Purpose = RewardObjective | Literal["reward_regression"]

_FROM_LOGS = ("ips", "snips", "doubly_robust")


def choose_objective(lessons: Lessons, config: RewardConfig, *, downstream: bool = False) -> RewardObjective:
    """What is to be made of the rewards: as configured, else what fits them.

    Tools that are differentiable functions ask for Gumbel-softmax, a log whose choices were drawn at random for the
    doubly robust value; all else, from whole rows of rewards to rows of one tried tool, for the soft expected reward.

    Raises:
        ValueError: If the configured objective needs what the lessons do not have, or a setting is not one of its own.
    """
    name = _choose(lessons, config, downstream=downstream)
    if name != "policy_gradient" and (config.kl > 0 or config.entropy > 0):
        raise ValueError(
            f"kl and entropy belong to the objective 'policy_gradient'; the objective is '{name}', "
            f"with kl={config.kl:g} and entropy={config.entropy:g}. Set them to 0 or choose that objective."
        )
    return name


def _choose(lessons: Lessons, config: RewardConfig, *, downstream: bool) -> RewardObjective:
    rewarded, logged = lessons.rewarded, lessons.logged
    if config.objective is None:
        if downstream:
            return "gumbel_softmax"
        drawn = bool(logged.any()) and bool((logged == rewarded).all()) and bool((lessons.propensities < 1).any())
        return "doubly_robust" if drawn else "soft_expected_reward"
    if config.objective in _FROM_LOGS and not bool((logged == rewarded).all()):
        raise ValueError(
            f"The objective '{config.objective}' learns from logged choices: expected an 'action', a 'reward' and a "
            f"'propensity' in each example with a reward; {int((rewarded & ~logged).sum())} have only 'rewards'. "
            "For those use 'soft_expected_reward'."
        )
    if downstream and config.objective != "gumbel_softmax":
        raise ValueError(
            f"A downstream loss is reached through 'gumbel_softmax' alone; the objective is '{config.objective}'."
        )
    return config.objective


class Objective:
    """The loss of a batch: that of its labels over the rows that have one, and that of its rewards likewise."""

    def __init__(
        self,
        lessons: Lessons,
        config: TrainConfig,
        device: torch.device,
        *,
        rewards: Purpose,
        start: Tensor | None = None,
        predicted: Tensor | None = None,
        downstream: Downstream | None = None,
    ) -> None:
        """Prepare the lessons' tensors.

        Args:
            lessons: What is learned from.
            config: How.
            device: Where the batches are.
            rewards: What to make of the rewards.
            start: Logits of the policy before training, float [n, k + 1], where the objective asks for them.
            predicted: A model's reward of every option, float [n, k + 1], for the doubly robust value.
            downstream: The loss of what comes after the choice.
        """
        self.config, self.rewards_objective, self.downstream = config, rewards, downstream
        self.right, self.labelled = lessons.right.to(device), lessons.labelled.to(device)
        self.rewards = lessons.rewards.to(device)
        every = torch.ones(len(lessons), dtype=torch.bool, device=device)
        self.rewarded = every if downstream is not None else lessons.rewarded.to(device)
        self.logged, self.actions = lessons.logged.to(device), lessons.actions.to(device)
        self.propensities = lessons.propensities.to(device)
        self.logged_mean = float(self._of_actions(self.logged.nonzero().flatten()).mean())  # NaN where nothing is
        self.start = None if start is None else start.to(device)
        self.predicted = None if predicted is None else predicted.to(device)
        self.weights = torch.ones(len(lessons), device=device)
        self.weights[self.labelled] = balanced_weights(self.right[self.labelled], config.balance)
        self.low, self.high = lessons.reward_range if config.reward.bounds is None else config.reward.bounds
        low, high = lessons.reward_range
        if bool(lessons.rewarded.any()) and not self.low <= low <= high <= self.high:
            raise ValueError(
                f"The rewards reach from {low:g} to {high:g}, beyond the bounds [{self.low:g}, {self.high:g}]. "
                "Widen RewardConfig.bounds, or leave them out to take those of the examples."
            )
        # Options that somebody has tried. Where a formula needs the reward of one that was not tried on an example, it
        # gets the worst there is: what nothing is known of is not sought.
        self.supported = self.rewards.isfinite().any(0)

    def __call__(self, rows: Tensor, logits: Tensor) -> Tensor:
        """The loss of these rows (int64 [b]) with these logits (float [b, k + 1]): a scalar."""
        loss = logits.new_zeros(())
        labelled, rewarded = self.labelled[rows], self.rewarded[rows]
        if labelled.any():
            share = labelled.float().mean()
            loss = loss + share * self._of_labels(rows[labelled], logits[labelled])
        if rewarded.any():
            share = self.config.reward.weight * rewarded.float().mean()
            loss = loss + share * self._of_rewards(rows[rewarded], logits[rewarded])
        return loss

    def _of_labels(self, rows: Tensor, logits: Tensor) -> Tensor:
        right, weights = self.right[rows], self.weights[rows]
        if self.config.objective == "contrastive":
            return losses.contrastive(logits, right, weights=weights, hard_negatives=self.config.hard_negatives)
        return losses.cross_entropy(logits, right, weights=weights, smoothing=self.config.smoothing)

    def _of_rewards(self, rows: Tensor, logits: Tensor) -> Tensor:
        settings, name, rewards = self.config.reward, self.rewards_objective, self.rewards[rows]
        if name == "soft_expected_reward":
            utility = losses.aspire((rewards - self.low) / (self.high - self.low), settings.level)
            how = {"temperature": settings.temperature, "baseline": 0.5}
            held = {"smoothing": settings.smoothing, "robustness": settings.robustness}
            return losses.soft_expected_reward(logits, utility, **how, **held)
        if name == "expected_reward":
            return losses.expected_reward(logits, rewards.nan_to_num(self.low))
        if name == "reward_regression":
            assert self.start is not None
            return losses.reward_regression(centred(logits, self.start[rows]), rewards)
        if name == "policy_gradient":
            return self._of_draws(rows, logits)
        if name == "gumbel_softmax":
            choices = losses.gumbel_softmax(logits, temperature=settings.gumbel_temperature)
            if self.downstream is not None:
                return self.downstream(choices, rows).mean()
            return -(choices * rewards.nan_to_num(self.low)).sum(1).mean()
        drawn = (self.actions[rows], self._of_actions(rows), self.propensities[rows])
        # The log says nothing of an option that it never tried, and no estimate would notice the policy moving there.
        outside = -logits.log_softmax(1)[:, self.supported].logsumexp(1).mean()
        if name == "doubly_robust":
            assert self.predicted is not None
            return outside + losses.doubly_robust(logits, *drawn, self.predicted[rows], clip=settings.clip)
        return outside + (losses.ips if name == "ips" else losses.snips)(logits, *drawn, clip=settings.clip)

    def _of_draws(self, rows: Tensor, logits: Tensor) -> Tensor:
        """Policy gradient: from the log where a row has one, else from the policy's own draws."""
        loss = logits.new_zeros(())
        for logged, here in ((True, self.logged[rows]), (False, ~self.logged[rows])):
            if here.any():
                loss = loss + here.float().mean() * self._of_like_draws(rows[here], logits[here], logged=logged)
        return loss

    def _of_like_draws(self, rows: Tensor, logits: Tensor, *, logged: bool) -> Tensor:
        settings = self.config.reward
        start = None if self.start is None else self.start[rows]
        leash = {"start": start, "kl": settings.kl, "entropy": settings.entropy}
        if logged:
            # One draw a row has no other draws to compare with; the log's mean stands in.
            advantages = (self._of_actions(rows) - self.logged_mean)[:, None]
            drawn = {"propensities": self.propensities[rows, None], "clip": settings.clip}
            return losses.policy_gradient(logits, self.actions[rows, None], advantages, **drawn, **leash)
        actions = torch.multinomial(logits.detach().softmax(1), settings.samples, replacement=True)
        rewards = self.rewards[rows].nan_to_num(self.low).gather(1, actions)
        return losses.policy_gradient(logits, actions, rewards, **leash)

    def _of_actions(self, rows: Tensor) -> Tensor:
        """What the logged choices of these rows earned, float [b]."""
        return self.rewards[rows].gather(1, self.actions[rows, None]).squeeze(1)


def balanced_weights(right: Tensor, power: float) -> Tensor:
    """Weight of each row so that rare tools count more, with mean 1.

    `w_i ∝ n_c^−power` where n_c is the number of rows whose (first) right option is that of row i: 0 leaves the classes
    as they are, 1 makes them count alike.

    Args:
        right: bool [n, k + 1].
        power: In [0, 1].

    Returns:
        float [n].
    """
    first = right.int().argmax(1)
    counts = torch.bincount(first, minlength=right.shape[1]).clamp_min(1).float()
    weights = counts[first] ** -power
    return weights / weights.mean()


def centred(logits: Tensor, start: Tensor) -> Tensor:
    """Logits as log-odds of a reward: less the normaliser of the policy before training, so that they begin small."""
    return logits - start.logsumexp(1, keepdim=True)
