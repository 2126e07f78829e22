"""Exploration: now and then another choice than the most probable one, with the propensity that makes logs useful."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import replace
from itertools import accumulate

from dspy_router.records import Decision


def mixture(decision: Decision, read_only: Collection[str], epsilon: float) -> dict[str | None, float]:
    """With what probability each choice is drawn in the place of a decision.

    With g the decided choice, p the policy's probabilities, and S the read-only tools that were allowed together with
    *none*, which calls nothing at all:

        π(a) = (1 − ε) · 1[a = g] + ε · 1[a ∈ S] · p(a) / Σ_{s ∈ S} p(s)

    This is ε-greedy exploration that draws in proportion to the policy instead of uniformly, within S. The decided
    choice need not be in S: a tool that changes something is called when it is the decided one, never as a try.

    Args:
        decision: The most probable choice.
        read_only: Names of the tools that may be tried.
        epsilon: Share of the decisions that are drawn, in [0, 1].

    Returns:
        Every choice that can be drawn, with its probability, all above 0; they sum to 1. Just the decided one with
        probability 1, where nothing may be explored: ε is 0, the decision was not accepted (whoever takes over decides
        then), or no read-only tool with a probability above 0 is among the allowed ones.
    """
    tools = {name: p for name, p in decision.probabilities.items() if name in read_only and p > 0}
    if epsilon == 0 or not decision.accepted or not tools:
        return {decision.tool: 1.0}
    support: dict[str | None, float] = {**tools, None: decision.none_probability}
    total = sum(support.values())
    shares = {choice: epsilon * p / total for choice, p in support.items()}
    shares[decision.tool] = shares.get(decision.tool, 0.0) + 1 - epsilon
    return {choice: share for choice, share in shares.items() if share > 0}


def explore(decision: Decision, read_only: Collection[str], *, epsilon: float, draw: float) -> Decision:
    """The decision, or another choice in its place, with the propensity with which that was drawn (see `mixture`).

    Args:
        decision: The most probable choice.
        read_only: Names of the tools that may be tried.
        epsilon: Share of the decisions that are drawn, in [0, 1].
        draw: A number drawn uniformly from [0, 1); the same number gives the same choice.

    Raises:
        ValueError: If `epsilon` or `draw` is out of its range.
    """
    check_share("epsilon", epsilon)
    if not 0 <= draw < 1:
        raise ValueError(f"The draw must be a number in [0, 1); got {draw!r}.")
    shares = mixture(decision, read_only, epsilon)
    if len(shares) == 1:
        return replace(decision, propensity=1.0)
    choices = list(shares)
    at = bisect_right(list(accumulate(shares.values())), draw)
    choice = choices[min(at, len(choices) - 1)]  # the shares may sum to a rounding error less than 1
    return replace(decision, tool=choice, propensity=min(shares[choice], 1.0))


def check_share(name: str, share: float) -> float:
    """The share, if it is one.

    Raises:
        ValueError: If it is no number in [0, 1].
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"{name} must be a share of the decisions, from 0 (none) to 1 (all of them); got {share!r}.")
    return float(share)
