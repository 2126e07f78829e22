"""What was tried on the two-tool task and what it earned: whole rows, one try each, and a log with propensities."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from routers import IDENTITY

NAMES = ("add_numbers", "clock")
FROM_REWARDS = ("soft_expected_reward", "expected_reward", "policy_gradient", "gumbel_softmax")
FROM_LOGS = ("ips", "snips", "doubly_robust")

# Every tool was tried on every example: 1 for the right one, 0 for the other.
REWARDED = [
    {"query": row["query"], "rewards": {name: float(name == row["tool"]) for name in NAMES}} for row in IDENTITY
]


def one_try(seed: int = 0) -> list[dict[str, Any]]:
    """One tool tried an example, right or wrong."""
    tried = random.Random(seed).choices(NAMES, k=len(IDENTITY))
    return [
        {"query": row["query"], "rewards": {name: float(name == row["tool"])}}
        for row, name in zip(IDENTITY, tried, strict=True)
    ]


def logged(
    draws: int = 4, *, seed: int = 0, share: float = 0.7, rewards: Sequence[float] = (0.0, 1.0)
) -> list[dict[str, Any]]:
    """The log of a policy that takes the adder with this probability, whatever is asked.

    Args:
        draws: How often each query comes.
        seed: What the draws come from.
        share: The probability.
        rewards: What the wrong and the right tool earn.
    """
    rng, rows = random.Random(seed), []
    for row in IDENTITY * draws:
        action = NAMES[rng.random() > share]
        propensity = share if action == NAMES[0] else 1 - share
        reward = rewards[action == row["tool"]]
        rows.append({"query": row["query"], "action": action, "reward": reward, "propensity": propensity})
    return rows
