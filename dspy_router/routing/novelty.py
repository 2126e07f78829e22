"""Novelty: how a text that no tool answers is told from those of the training queries, and what *none* gains by it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from dspy_router.routing.neighbours import NeighbourPolicy
from dspy_router.routing.policies import Policy, States, Tools, ToolSpacePolicy

# Temperature of the energy. Chosen with whole tools left out of training as the unknown ones (AUROC 0.917 at 1, 0.928
# at 1/2, 0.929 at 1/4): at 1 the sum of the many small logits drowns the large one.
_TEMPERATURE = 0.5
# With fewer of either kind three numbers are not to be had from them.
LEAST = 20
_BASES = {"tool_space": ToolSpacePolicy, "neighbours": NeighbourPolicy}


@dataclass(frozen=True)
class Novelty:
    """The log-odds of *none*, from how high the tools' logits rise and from what *none* itself has learned.

    `log-odds(none) = bias − energy · E + none · z`, where `z` is the policy's own logit of *none* and
    `E = T · log Σ exp(logit / T)` over the tools, T = 1/2, is the negative free energy of Liu et al. 2020,
    "Energy-based out-of-distribution detection": high only where some tool's logit is. The policy alone sets `z`
    against each tool, and some dozens of examples teach it `z` where they lie, not everywhere else where no tool's
    queries lie; that all tools are low says it everywhere.

    The ratios among the tools stay what they are: only their sum changes against *none*. Tools that training had no
    query of are low for want of training, not of fit. As far as they carry the choice (their share of the tools'
    probability) *none* keeps the policy's own logit, so that a text near a new tool's card is not taken for novel.

    What was tried beside it and not kept, as AUROC on clinc150 (validation part against queries that no tool answers;
    frozen MiniLM, fine-tuned): distance to the fifth nearest training query (Sun et al. 2022; 0.964, 0.983), mean of
    the five nearest (0.966, 0.984), local outlier factor (0.954, 0.955), Mahalanobis distance with a Ledoit–Wolf
    covariance (Lee et al. 2018; 0.948, 0.983), the same relative to all queries' (Ren et al. 2021; 0.976, 0.983),
    cosine with the nearest tool's mean query (0.969, 0.981), cosine of the logits with the nearest tool's mean logits
    (0.984, 0.981), E with T = 1 (0.978, 0.985), the largest logit (Hendrycks et al. 2022; 0.981, 0.984), the largest
    probability (Hendrycks & Gimpel 2017; 0.972, 0.981), sigmoids of one tool against the rest (0.971, 0.981), and the
    share of words seen in training (0.796). E alone has 0.981 and 0.985, this 0.982 and 0.985. Adding a distance
    gains at most 0.004 and 0.002; it would keep every query's vector or a table of all tools, and sees nothing of a
    tool that is added later. `python -m benchmarks out_of_scope` compares most of them anew.

    Attributes:
        bias: Of the log-odds.
        energy: Weight of E, not negative.
        none: Weight of the policy's own logit of *none*, not negative.
        trained: The tools that training had queries of.
    """

    bias: float
    energy: float
    none: float
    trained: tuple[str, ...]

    @classmethod
    def fit(cls, logits: Tensor, right: Tensor, names: Sequence[str]) -> Self | None:
        """The weights of least log-loss (of *none* against all tools), with a Gaussian prior of variance 1 on both.

        The rows count as often as they are there: P(none) comes to mean what it means for queries of which as many are
        *none* as of these.

        Args:
            logits: A policy's logits of queries that it has not been trained on, [n, k + 1], last column *none*. On its
                own training queries every tool and every *none* is much surer than it ever will be again.
            right: The labels, bool [n, k + 1]; rows without one, or with both *none* and a tool, take no part.
            names: The tools of the columns.

        Returns:
            None where fewer than `LEAST` rows are *none*, or have a tool, or where the result is no better on these
            rows than the policy's own P(none).
        """
        tool, none = right[:, :-1].any(1), right[:, -1]
        part = tool ^ none
        if min(int((tool & part).sum()), int((none & part).sum())) < LEAST:
            return None
        rows, is_none = logits[part].double(), none[part].numpy()
        features = torch.stack([-_energy(rows), rows[:, -1]], 1).numpy()
        bias, energy, weight = _least_log_loss(features, is_none)
        trained = tuple(name for name, any_row in zip(names, right[:, :-1].any(0).tolist(), strict=True) if any_row)
        found = cls(bias, energy, weight, trained)
        own = rows[:, -1] - rows[:, :-1].logsumexp(1)
        return found if _log_loss(found.log_odds(rows), is_none) < _log_loss(own, is_none) else None

    def log_odds(self, logits: Tensor) -> Tensor:
        """Log-odds of *none* in each row of logits [n, k + 1], as if all tools had been trained; float [n]."""
        return self.bias - self.energy * _energy(logits) + self.none * logits[:, -1]

    def adjust(self, logits: Tensor, names: Sequence[str]) -> Tensor:
        """Logits [n, k + 1] with another last column, such that their softmax has these log-odds of *none*.

        Args:
            logits: A policy's; −∞ where a tool is not allowed. A row in which none is stays what it is.
            names: The tools of the columns.
        """
        tools, none = logits[:, :-1], logits[:, -1]
        level = tools.logsumexp(1)
        found = level + self.log_odds(logits)
        if not self._trained.issuperset(names):
            known = torch.tensor([name in self._trained for name in names], device=logits.device)
            share = (tools.softmax(1) * known).sum(1)
            found = share * found + (1.0 - share) * none
        return torch.cat([tools, torch.where(level.isfinite(), found, none)[:, None]], 1)

    def none_logit(self, logits: Tensor, log_weights: Tensor, *, none: float, trained: Tensor) -> float:
        """The logit of *none* beside tools of which some stand for several, as `adjust` would have it.

        Args:
            logits: Of the tools, [m].
            log_weights: Logarithm of how many tools each of them stands for, [m].
            none: The policy's own logit of *none*.
            trained: Which of them training had queries of, bool [m].
        """
        weighted = logits + log_weights
        level = float(weighted.logsumexp(0))
        if not math.isfinite(level):
            return none
        energy = _TEMPERATURE * float((logits / _TEMPERATURE + log_weights).logsumexp(0))
        found = level + self.bias - self.energy * energy + self.none * none
        share = float((weighted.softmax(0) * trained).sum())
        return share * found + (1.0 - share) * none

    @cached_property
    def _trained(self) -> frozenset[str]:
        return frozenset(self.trained)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict for `from_dict`."""
        return {**asdict(self), "trained": list(self.trained)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The novelty that `to_dict` described."""
        return cls(**{**data, "trained": tuple(data["trained"])})


class NoveltyPolicy(nn.Module):
    """A trained policy whose *none* is that of a `Novelty`."""

    def __init__(self, base: ToolSpacePolicy | NeighbourPolicy, novelty: Novelty) -> None:
        """Put the novelty behind the policy whose cross-fitted logits it was fitted on."""
        super().__init__()
        self.base, self.novelty = base, novelty

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` needs to build a policy of the same shape, JSON-ready."""
        kind = next(kind for kind, known in _BASES.items() if type(self.base) is known)
        return {"kind": kind, "base": self.base.config, "novelty": self.novelty.to_dict()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NoveltyPolicy:
        """A policy of this shape, its weights still to be loaded."""
        return cls(_BASES[config["kind"]].from_config(config["base"]), Novelty.from_dict(config["novelty"]))

    def forward(self, states: States, tools: Tools, allowed: Tensor | None = None) -> Tensor:
        """Logits, float32 [b, k + 1], last column *none*."""
        return self.novelty.adjust(self.base(states, tools, allowed), tools.names)


def without_novelty(policy: Policy) -> Policy:
    """The policy that a trainer goes on with: what lies under the novelty."""
    return policy.base if isinstance(policy, NoveltyPolicy) else policy


def _energy(logits: Tensor) -> Tensor:
    return _TEMPERATURE * (logits[:, :-1] / _TEMPERATURE).logsumexp(1)


def _log_loss(log_odds: Tensor, is_none: np.ndarray) -> float:
    signs = torch.from_numpy(np.where(is_none, -1.0, 1.0))
    return float(nn.functional.softplus(signs * log_odds).mean())


def _least_log_loss(features: np.ndarray, is_none: np.ndarray) -> tuple[float, float, float]:
    """Bias and weights, none of them negative, of a logistic regression with penalty `½ Σ weight²`."""
    from scipy.optimize import minimize
    from scipy.special import expit

    signs = np.where(is_none, 1.0, -1.0)
    inputs = np.column_stack([np.ones(len(features)), features])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (inputs @ weights)
        gradient = -(inputs.T @ (signs * expit(-margins)))
        penalty = np.array([0.0, *weights[1:]])
        return float(np.logaddexp(0.0, -margins).sum() + penalty @ penalty / 2), gradient + penalty

    start = np.array([0.0, 1.0, 1.0])
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(None, None), (0.0, None), (0.0, None)])
    return cast(tuple[float, float, float], tuple(map(float, result.x)))
