"""Whose fault a lost reward is, the router's, the call's or the prompt's, by what other tools would have earned.

For every example the rewards of the tools that were tried are known, so that its loss splits without a remainder:

    maximum − score = (best tried − score) + (maximum − best tried)

The first part is the routing regret: another choice would have earned it. The second part no tried tool earns, so no
router can. Where the best tool's call failed it counts as a failure of the call, else as the synthesis' shortfall. A
tool that was never tried can only move loss from the second part to the first: the regret is a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ExampleCredit:
    """How one example's loss splits.

    Attributes:
        chosen: The tool the router chose; None for *none*.
        best: The best of the tried tools; the chosen one where no other is better.
        score: What the chosen tool earned.
        routing_regret: What the best tool would have earned beyond that.
        failures: What even the best tool left of the maximum, if its call failed; else 0.
        synthesis_shortfall: The same if its call went well; else 0.
    """

    chosen: str | None
    best: str | None
    score: float
    routing_regret: float
    failures: float
    synthesis_shortfall: float


@dataclass(frozen=True)
class CreditSplit:
    """How the loss of many examples splits, each figure a mean over them.

    `maximum = score + routing_regret + failures + synthesis_shortfall`, up to the rounding of a float.

    Attributes:
        n: How many examples.
        score: What the chosen tools earned.
        maximum: The most that a metric can give.
        routing_regret: What the best tried tools would have earned beyond that: for the router to learn.
        synthesis_shortfall: What they left of the maximum though their calls went well: for the prompts to learn.
        failures: What they left of the maximum where the call failed: for the tools, or for the filling of arguments.
    """

    n: int
    score: float
    maximum: float
    routing_regret: float
    synthesis_shortfall: float
    failures: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict that `CreditSplit(**…)` takes back."""
        return asdict(self)


def assign_credit(
    chosen: str | None,
    rewards: Mapping[str | None, float],
    *,
    maximum: float = 1.0,
    failed: Collection[str | None] = (),
) -> ExampleCredit:
    """Split one example's loss.

    Among equally good tools the chosen one counts as the best, else one whose call went well, else the first.

    Args:
        chosen: The tool the router chose; None for *none*.
        rewards: The reward of each tool that was tried, by name; None stands for *none*.
        maximum: The most that the metric can give.
        failed: The tools whose call failed, for want of arguments or by the tool's own error.

    Raises:
        ValueError: If the chosen tool was not tried, or a reward is no number or above the maximum.
    """
    if chosen not in rewards:
        tried = ", ".join(map(repr, rewards)) or "none"
        raise ValueError(f"The reward of the chosen tool {chosen!r} must be known; tried were: {tried}.")
    for tool, reward in rewards.items():
        if not math.isfinite(reward) or reward > maximum:
            raise ValueError(
                f"The reward of {tool!r} is {reward!r}; expected a number of at most {maximum:g}, the maximum. "
                "If the metric can give more than that, pass its highest value as maximum=…."
            )
    best = max(rewards, key=lambda tool: (rewards[tool], tool == chosen, tool not in failed))
    rest = maximum - rewards[best]
    return ExampleCredit(
        chosen,
        best,
        score=rewards[chosen],
        routing_regret=rewards[best] - rewards[chosen],
        failures=rest if best in failed else 0.0,
        synthesis_shortfall=0.0 if best in failed else rest,
    )


def split_credit(
    chosen: Sequence[str | None],
    rewards: Sequence[Mapping[str | None, float]],
    *,
    maximum: float = 1.0,
    failed: Sequence[Collection[str | None]] | None = None,
) -> CreditSplit:
    """Split the loss of many examples; as `assign_credit` for each, averaged.

    Args:
        chosen: For each example the tool the router chose; None for *none*.
        rewards: For each example the rewards of the tools that were tried.
        maximum: The most that the metric can give.
        failed: For each example the tools whose call failed; none by default.

    Raises:
        ValueError: If there are no examples, the sequences differ in length, a chosen tool was not tried, or a reward
            is no number or above the maximum.
    """
    failed = [()] * len(chosen) if failed is None else failed
    if not chosen or not len(chosen) == len(rewards) == len(failed):
        raise ValueError(
            "Expected choices, rewards and failures of the same examples, and at least one; "
            f"got {len(chosen)}, {len(rewards)} and {len(failed)}."
        )
    parts = [
        assign_credit(tool, row, maximum=maximum, failed=broken)
        for tool, row, broken in zip(chosen, rewards, failed, strict=True)
    ]

    def mean(name: str) -> float:
        return math.fsum(getattr(part, name) for part in parts) / len(parts)

    return CreditSplit(
        len(parts),
        score=mean("score"),
        maximum=maximum,
        routing_regret=mean("routing_regret"),
        synthesis_shortfall=mean("synthesis_shortfall"),
        failures=mean("failures"),
    )
