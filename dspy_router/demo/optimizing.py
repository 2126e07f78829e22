"""What `configs/optimize.yaml` optimizes: the demo's agent, by whether its answers are right."""

from __future__ import annotations

from typing import Any

from dspy_router.demo.tools import TOOLS
from dspy_router.program.agent import RoutedAgent


def make_agent(encoder: str = "minilm") -> RoutedAgent:
    """An agent for the demo's tools, untrained, whose answer is what the tool returns: no language model is asked.

    Args:
        encoder: The encoder of its router.
    """
    return RoutedAgent("query -> answer", TOOLS, synthesis="none", encoder=encoder)


def is_right(example: Any, prediction: Any) -> bool:
    """Whether the tool returned what was expected, or none was called where nothing is.

    Args:
        example: With the field `expected` where a tool can answer.
        prediction: The agent's, with its `steps`.
    """
    if "expected" not in example:
        return not prediction.steps
    return any(not step.failed and step.result == example["expected"] for step in prediction.steps[-1:])
