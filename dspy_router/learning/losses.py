"""Losses: what training makes small, as pure functions of tensors.

From labels: `cross_entropy`, `contrastive`. From rewards: `expected_reward`, `soft_expected_reward`, `policy_gradient`,
`gumbel_softmax`. From logs with propensities: `ips`, `snips`, `doubly_robust`, whose model `reward_regression` fits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, right: Tensor, *, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Negative log-probability of choosing any of the right options.

    `mean_i w_i · −[(1 − ε) · log Σ_{a right} π(a|x_i) + ε · mean_a log π(a|x_i)]`, the last mean over the options whose
    logit is finite. With one right option and no smoothing it is the ordinary cross-entropy; the smoothing is Szegedy
    et al. 2016, "Rethinking the inception architecture for computer vision".

    Args:
        logits: float [b, k + 1].
        right: bool [b, k + 1], at least one True a row.
        weights: Weight of each row, float [b]; their mean should be 1.
        smoothing: ε, in [0, 1).

    Returns:
        A scalar.
    """
    log_probabilities = logits.log_softmax(1)
    losses = _smoothed(-log_probabilities.masked_fill(~right, -torch.inf).logsumexp(1), log_probabilities, smoothing)
    return (losses if weights is None else losses * weights).mean()


def _smoothed(losses: Tensor, log_probabilities: Tensor, smoothing: float) -> Tensor:
    if smoothing == 0.0:
        return losses
    possible = log_probabilities.isfinite()
    uniform = -log_probabilities.masked_fill(~possible, 0.0).sum(1) / possible.sum(1)
    return (1.0 - smoothing) * losses + smoothing * uniform


def contrastive(logits: Tensor, right: Tensor, *, weights: Tensor | None = None, hard_negatives: int = 16) -> Tensor:
    """Contrast of the right options with the hardest wrong ones, and of each tool's queries with the others.

    The mean of two terms, each a softmax over similarities (InfoNCE; van den Oord et al. 2018, "Representation learning
    with contrastive predictive coding"), taken both ways as in Radford et al. 2021 (CLIP):

    * query to tools: `−log Σ_right e^l / (Σ_right e^l + Σ_{the m highest wrong} e^l)`; the hard negatives are mined
      anew in every batch (Xiong et al. 2021, "Approximate nearest neighbor negative contrastive learning");
    * tool to queries: for each tool that is right somewhere in the batch, the share of `e^l` over the batch's rows that
      falls on rows where it is right.

    Left out of the papers: a learned temperature, since the policy's logits carry a learned scale already.

    Relations: with `hard_negatives ≥ k` the first term is `cross_entropy`.

    Args:
        logits: float [b, k + 1].
        right: bool [b, k + 1], at least one True a row.
        weights: Weight of each row in the first term, float [b]; their mean should be 1.
        hard_negatives: m, how many wrong options a query is held against.

    Returns:
        A scalar.
    """
    wrong = logits.masked_fill(right, -torch.inf)
    hardest = wrong.topk(min(hard_negatives, logits.shape[1]), dim=1).values
    positive = logits.masked_fill(~right, -torch.inf).logsumexp(1)
    to_tools = torch.logaddexp(positive, hardest.logsumexp(1)) - positive
    if weights is not None:
        to_tools = to_tools * weights
    columns = right[:, :-1].any(0) & ~right[:, :-1].all(0)  # a tool that is right everywhere has no contrast
    if not columns.any():
        return to_tools.mean()
    similarities, hits = logits[:, :-1][:, columns], right[:, :-1][:, columns]
    share = similarities.masked_fill(~hits, -torch.inf).logsumexp(0) - similarities.logsumexp(0)
    return (to_tools.mean() - share.mean()) / 2


def expected_reward(logits: Tensor, rewards: Tensor) -> Tensor:
    """Exact expected reward, made negative: `mean_i −Σ_a π(a|x_i) r(x_i, a)`, without any sampling noise.

    Its gradient by the logit of a is `−π(a) (r(a) − Σ_b π(b) r(b))`, the policy gradient's expectation (Williams 1992,
    "Simple statistical gradient-following algorithms for connectionist reinforcement learning"). It vanishes where π(a)
    does: a good tool that the policy hardly ever chooses is learned slowly, which `soft_expected_reward` mends.

    Args:
        logits: float [b, k + 1].
        rewards: float [b, k + 1], NaN where unknown; π is then taken among the options whose reward is known. At least
            one a row.

    Returns:
        A scalar.
    """
    known = rewards.isfinite()
    probabilities = logits.masked_fill(~known, -torch.inf).softmax(1)
    return -(probabilities * rewards.masked_fill(~known, 0.0)).sum(1).mean()


def soft_expected_reward(
    logits: Tensor,
    rewards: Tensor,
    *,
    temperature: float,
    baseline: float = 0.0,
    smoothing: float = 0.0,
    robustness: float = 0.0,
) -> Tensor:
    """Expected exponential utility of the reward: `mean_i −log Σ_a π(a|x_i) e^{(r(x_i, a) − b) / τ}`.

    An option whose reward is unknown counts as one of reward b: it neither gains nor loses by itself, but takes its
    share of what the tried ones lose. So one formula reaches from whole rows of rewards to rows of one tried tool:

    * τ → ∞: `expected_reward`, up to a factor τ and a constant;
    * τ → 0, a tool of the highest reward found: cross-entropy with it as the label;
    * τ → 0, nothing but failures so far: `−log` of the probability of all that was not tried, as in learning from
      candidate labels (Jin & Ghahramani 2002, "Learning with multiple labels").

    The gradient is that of an EM step whose target is `π(a) e^{r/τ}`, renormalised (Dayan & Hinton 1997, "Using
    expectation-maximization for reinforcement learning"; Peters & Schaal 2007, reward-weighted regression); the loss
    is bounded, so that one false reward cannot pull without end. The utility is that of Howard & Matheson 1972,
    "Risk-sensitive Markov decision processes".

    Smoothing is that of `cross_entropy`: held back from being sure, a policy does not explain away a reward that speaks
    against it (Lukasik et al. 2020, "Does label smoothing mitigate label noise?").

    With a robustness q the loss of a row is `(1 − e^{q v}) / q` instead of −v, where v is the logarithm of its expected
    utility less the most that a policy can have there: what contradicts all the rest costs 1/q at most, where −v goes
    up to the range of the rewards over τ. It is that of Zhang & Sabuncu 2018, "Generalized cross entropy loss for
    training deep neural networks with noisy labels", where τ → 0 and the tool is found.

    Args:
        logits: float [b, k + 1].
        rewards: float [b, k + 1], NaN where unknown.
        temperature: τ > 0, in units of the reward.
        baseline: b, the reward that speaks neither for a tool nor against it.
        smoothing: ε, in [0, 1).
        robustness: q, in [0, 1].

    Returns:
        A scalar.
    """
    log_probabilities = logits.log_softmax(1)
    said = evidence(rewards, temperature=temperature, baseline=baseline)
    utility = (log_probabilities + said).logsumexp(1)
    losses = -utility
    if robustness > 0.0:
        losses = -torch.expm1(robustness * (utility - said.amax(1))) / robustness
    return _smoothed(losses, log_probabilities, smoothing).mean()


def evidence(rewards: Tensor, *, temperature: float, baseline: float = 0.0) -> Tensor:
    """What the tried rewards say for each option, as log-odds: `(r − b) / τ`, 0 where unknown; float [b, k + 1]."""
    return ((rewards - baseline) / temperature).nan_to_num(0.0)


def aspire(rewards: Tensor, level: float) -> Tensor:
    """Rewards in [0, 1] bent so that `level` becomes ½: linear from 0 to there, and from there to 1.

    The level of aspiration (Simon 1955, "A behavioral model of rational choice"): what earns less than it speaks
    against a tool, what earns more speaks for it. 0 and 1 stay where they are.
    """
    below, above = rewards / (2.0 * level), 1.0 - (1.0 - rewards) / (2.0 * (1.0 - level))
    return torch.where(rewards < level, below, above)


def policy_gradient(
    logits: Tensor,
    actions: Tensor,
    rewards: Tensor,
    *,
    propensities: Tensor | None = None,
    clip: float = 20.0,
    start: Tensor | None = None,
    kl: float = 0.0,
    entropy: float = 0.0,
) -> Tensor:
    """REINFORCE with a leave-one-out baseline (RLOO), entropy bonus and a leash to the starting policy.

    `mean_i [−1/m Σ_j w_ij (r_ij − mean_{l ≠ j} r_il) log π(a_ij|x_i) + β KL(π ‖ π_start) − η H(π)]` over m draws a row.
    The baseline of a draw is the mean reward of the row's other draws, independent of it, so that the gradient stays
    unbiased; a single draw has no baseline. Source: Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for
    free!"; Ahmadian et al. 2024, "Back to basics". Where the draws came from another policy, `w = min(π / propensity,
    clip)`, without gradient. Left out of the papers: no normalisation by the rewards' spread, which would bias it.

    Args:
        logits: float [b, k + 1].
        actions: Columns that were drawn, int64 [b, m].
        rewards: Their rewards, float [b, m].
        propensities: Probabilities in (0, 1] with which they were drawn, float [b, m]; None: from the policy itself.
        clip: Largest importance weight.
        start: Logits of the starting policy, float [b, k + 1].
        kl: β.
        entropy: η.

    Returns:
        A scalar whose gradient is meant, not its value.
    """
    log_probabilities = logits.log_softmax(1)
    chosen = log_probabilities.gather(1, actions)
    draws = actions.shape[1]
    advantages = rewards
    if draws > 1:
        advantages = rewards - (rewards.sum(1, keepdim=True) - rewards) / (draws - 1)
    if propensities is not None:
        advantages = advantages * (chosen.detach().exp() / propensities).clamp(max=clip)
    loss = -(advantages * chosen).mean()
    if kl > 0.0 and start is not None:
        loss = loss + kl * _expectation(log_probabilities, log_probabilities - start.log_softmax(1)).mean()
    if entropy > 0.0:
        loss = loss + entropy * _expectation(log_probabilities, log_probabilities).mean()
    return loss


def _expectation(log_probabilities: Tensor, values: Tensor) -> Tensor:
    possible = log_probabilities.isfinite()
    return (log_probabilities.exp() * values.masked_fill(~possible, 0.0)).sum(1)


def gumbel_softmax(logits: Tensor, *, temperature: float = 1.0, hard: bool = True) -> Tensor:
    """A draw from the policy that lets gradients through: straight-through Gumbel-softmax.

    `softmax((log π + g) / τ)` with Gumbel noise g; with `hard` the forward value is the one-hot of its largest entry,
    the gradient that of the soft one. Source: Jang et al. 2017, "Categorical reparameterization with Gumbel-softmax";
    Maddison et al. 2017, "The concrete distribution".

    Is it worth it? Where tools are torch functions and the loss of what comes after them is differentiable, this is the
    one way in which its gradient passes through the tool call, with one call of one tool an example. But it is biased
    and noisy. Where every tool's outcome can be computed, the exact expectation (`expected_reward`, or the mean of the
    downstream losses weighted by π) has neither fault; and where tools are no torch functions, the reward passes
    nothing back, so that `policy_gradient` or `soft_expected_reward` does with the same calls what this cannot.

    Args:
        logits: float [b, k + 1].
        temperature: τ > 0; lower is less biased and noisier.
        hard: Whether the forward value is one-hot.

    Returns:
        float [b, k + 1], each row sums to 1.
    """
    return F.gumbel_softmax(logits, tau=temperature, hard=hard, dim=1)


def ips(logits: Tensor, actions: Tensor, rewards: Tensor, propensities: Tensor, *, clip: float = 20.0) -> Tensor:
    """Value of the policy by inverse propensity scores, made negative: `−mean_i min(π(a_i|x_i)/p_i, clip) r_i`.

    Unbiased without clipping (Horvitz & Thompson 1952; as an objective Bottou et al. 2013, "Counterfactual reasoning
    and learning systems"). It is not shift-invariant: with rewards that are all positive it pays to choose whatever was
    logged, with all negative ones whatever was not.

    Args:
        logits: float [b, k + 1].
        actions: Logged columns, int64 [b].
        rewards: Their rewards, float [b].
        propensities: Probabilities in (0, 1] with which they were drawn, float [b].
        clip: Largest importance weight; where it is reached no gradient flows.

    Returns:
        A scalar.
    """
    return -(_weights(logits, actions, propensities, clip) * rewards).mean()


def snips(logits: Tensor, actions: Tensor, rewards: Tensor, propensities: Tensor, *, clip: float = 20.0) -> Tensor:
    """Self-normalised `ips`: `−Σ_i w_i r_i / Σ_i w_i`, which does not care what is added to all rewards.

    Swaminathan & Joachims 2015, "The self-normalized estimator for counterfactual learning". Consistent; within a
    batch the ratio has a bias of order 1/b. Arguments as for `ips`.
    """
    weights = _weights(logits, actions, propensities, clip)
    return -(weights * rewards).sum() / weights.sum().clamp_min(1e-8)


def doubly_robust(
    logits: Tensor, actions: Tensor, rewards: Tensor, propensities: Tensor, predicted: Tensor, *, clip: float = 20.0
) -> Tensor:
    """Doubly robust value, made negative: `−mean_i [Σ_a π(a|x_i) r̂(x_i, a) + w_i (r_i − r̂(x_i, a_i))]`.

    Unbiased if either the propensities or the model r̂ are right, and of less variance than `ips` the better the model
    is (Dudík et al. 2011, "Doubly robust policy evaluation and learning"). The model should not have seen the row it
    predicts; `fit` sees to that by cross-fitting.

    Args:
        logits: float [b, k + 1].
        actions: Logged columns, int64 [b].
        rewards: Their rewards, float [b].
        propensities: Probabilities in (0, 1] with which they were drawn, float [b].
        predicted: r̂ of every option, float [b, k + 1].
        clip: Largest importance weight.

    Returns:
        A scalar.
    """
    residuals = rewards - predicted.gather(1, actions[:, None]).squeeze(1)
    direct = (logits.softmax(1) * predicted).sum(1)
    return -(direct + _weights(logits, actions, propensities, clip) * residuals).mean()


def _weights(logits: Tensor, actions: Tensor, propensities: Tensor, clip: float) -> Tensor:
    return (logits.softmax(1).gather(1, actions[:, None]).squeeze(1) / propensities).clamp(max=clip)


def reward_regression(logits: Tensor, rewards: Tensor) -> Tensor:
    """Fits `sigmoid(logit)` to the rewards that are known: their mean binary cross-entropy.

    A proper score for rewards anywhere in [0, 1], not for 0 and 1 alone (Papke & Wooldridge 1996, fractional response).

    Args:
        logits: float [b, k + 1].
        rewards: In [0, 1], float [b, k + 1], NaN where unknown; at least one is known.

    Returns:
        A scalar.
    """
    known = rewards.isfinite()
    return F.binary_cross_entropy_with_logits(logits[known], rewards[known])
