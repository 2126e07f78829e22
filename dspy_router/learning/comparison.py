"""How a challenger compares with the champion on logged decisions that neither has learned from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dspy_router.evaluation.estimates import Estimate, mean_interval
from dspy_router.evaluation.off_policy import difference
from dspy_router.learning.lessons import Lessons
from dspy_router.learning.settings import TrainConfig
from dspy_router.learning.trainer import predict_rewards
from dspy_router.records import Episode
from dspy_router.routing.router import Router
from dspy_router.routing.threads import bounded_threads

logger = logging.getLogger(__name__)

# Fewer rows say nothing that an interval could be trusted on.
FEWEST = 20


@dataclass(frozen=True)
class Comparison:
    """The challenger less the champion, on decisions that neither the training nor the calibration has seen.

    Attributes:
        on: What they are compared by: `labels`, `rewards (SNIPS)` or `rewards (DR)`.
        n: How many decisions.
        challenger: Share of right decisions; None for rewards.
        champion: The same.
        difference: Challenger less champion.
        low: Lower end of its interval.
        high: Upper end.
    """

    on: str
    n: int
    challenger: float | None
    champion: float | None
    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        """One sentence."""
        ends = f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
        return f"By {self.on}, on {self.n} decisions, it differs by {ends}."


def compare_routers(
    challenger: Router, champion: Router, holdout: Sequence[Episode], *, train: TrainConfig, confidence: float
) -> tuple[Comparison, ...]:
    """Compare by labels, and by rewards where the log explores; nothing where there are too few of either.

    Args:
        challenger: The one router.
        champion: The other, over the same tools.
        holdout: Decisions with a label or a reward that neither was trained on.
        train: How to train the reward model of the doubly robust estimate.
        confidence: Of the intervals.
    """
    labelled = [one for one in holdout if one.labels]
    rewarded = [one for one in holdout if one.reward is not None and one.decisions[0].source == "router"]
    comparisons = []
    if len(labelled) >= FEWEST:
        new, old = (_hits(router, labelled) for router in (challenger, champion))
        low, high = mean_interval(new - old, level=confidence)
        shares = float(new.mean()), float(old.mean())
        comparisons.append(Comparison("labels", len(labelled), *shares, shares[0] - shares[1], low, high))
    # Where nothing was drawn, what the challenger would do otherwise was never tried, and the log cannot value it.
    if len(rewarded) >= FEWEST and any(one.decisions[0].propensity < 1 for one in rewarded):
        for name, estimate in _off_policy(challenger, champion, rewarded, train, confidence):
            ends = estimate.value, estimate.low, estimate.high
            comparisons.append(Comparison(f"rewards ({name})", len(rewarded), None, None, *ends))
    return tuple(comparisons)


def _hits(router: Router, episodes: Sequence[Episode]) -> np.ndarray:
    decisions = router.decide_batch([one.text for one in episodes])
    pairs = zip(decisions, episodes, strict=True)
    return np.array([float(made.tool in (one.labels[0] or (None,))) for made, one in pairs])


def _off_policy(
    challenger: Router, champion: Router, rewarded: Sequence[Episode], train: TrainConfig, confidence: float
) -> list[tuple[str, Estimate]]:
    """The difference of the values of both routers as they would act, by both estimators."""
    options = (*champion.tools, None)
    texts = [one.text for one in rewarded]
    first, second = (
        np.eye(len(options))[[options.index(made.tool) for made in router.decide_batch(texts)]]
        for router in (challenger, champion)
    )
    actions = np.array([options.index(one.decisions[0].tool) for one in rewarded])
    rewards = np.array([one.reward for one in rewarded], dtype=float)
    propensities = np.array([one.decisions[0].propensity for one in rewarded])
    with bounded_threads(train.threads or 1):  # many small steps
        predicted = predict_rewards(champion, Lessons.read(rewarded, champion.tools), train).numpy()
    log: dict[str, Any] = {"level": confidence}
    try:
        return [
            ("SNIPS", difference(first, second, actions, rewards, propensities, **log)),
            (
                "DR",
                difference(
                    first, second, actions, rewards, propensities, method="doubly_robust", predicted=predicted, **log
                ),
            ),
        ]
    except ValueError as error:  # a router that would have taken none of the logged actions
        logger.warning("The rewards of the log do not compare: %s", error)
        return []
