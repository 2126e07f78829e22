"""Programs without a language model, and a metric, for tests of what is run with a tool forced."""

from __future__ import annotations

from typing import Any

import dspy
from toolbelt import TOOLS, examples

from dspy_router import RoutedAgent, Router
from dspy_router.program.tuning.rollouts import Rollouts

ROOT, LETTERS, OPEN = examples()[0], examples()[4], examples()[8]


def agent(tools: Any = TOOLS, **settings: Any) -> Any:
    settings = {"synthesis": "none", **settings}
    return RoutedAgent("question -> answer", tools, router=Router.from_tools(tools, encoder="hash"), **settings)


def hit(example, prediction, trace=None):
    return prediction.answer == example.answer


def quiet(metric: Any = hit, **settings: Any) -> Rollouts:
    return Rollouts(metric, progress=False, **settings)


class Counting(dspy.Module):
    """A larger program that tells how often it ran.

    Attributes:
        seen: What it was asked, in order.
        trouble: Raised by its n-th run, by n.
    """

    def __init__(self, **settings: Any):
        super().__init__()
        self.agent = agent(**settings)
        self.seen: list[str] = []
        self.trouble: dict[int, BaseException] = {}

    def forward(self, question: str) -> dspy.Prediction:
        self.seen.append(question)
        if len(self.seen) in self.trouble:
            raise self.trouble[len(self.seen)]
        return dspy.Prediction(answer=self.agent(question=question).answer)
