"""Losses: what training makes small, as pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor


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
    losses = -log_probabilities.masked_fill(~right, -torch.inf).logsumexp(1)
    if smoothing > 0.0:
        possible = log_probabilities.isfinite()
        uniform = -log_probabilities.masked_fill(~possible, 0.0).sum(1) / possible.sum(1)
        losses = (1.0 - smoothing) * losses + smoothing * uniform
    return (losses if weights is None else losses * weights).mean()


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
