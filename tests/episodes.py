"""Small episodes with ids, as an agent would log them; no torch, no dspy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dspy_router import Decision, Episode, Step
from dspy_router.data.log import new_id

TOOLS = ("add", "clock", "search")


def decided(tool: str | None = "add", share: float = 0.7, **fields: Any) -> Decision:
    """A decision with this probability of what was chosen; the other options share the rest."""
    others = (1 - share) / len(TOOLS)
    probabilities = {name: share if name == tool else others for name in TOOLS}
    fields.setdefault("id", new_id())
    return Decision(tool, probabilities, share if tool is None else others, **fields)


def episode(
    query: str = "two and three", *decisions: Decision, result: Any = 5, inputs: Mapping[str, Any] | None = None
) -> Episode:
    """What a single step leaves behind; by default one call of the adder."""
    decisions = decisions or (decided(),)
    steps = tuple(
        Step(decision.tool, {"text": query}, result, filled_by="rules", seconds=0.25)
        for decision in decisions
        if decision.tool is not None
    )
    return Episode({"query": query} if inputs is None else inputs, steps=steps, decisions=decisions)
