"""The demo's queries end to end: decided, carried out, and held against the expected results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dspy_router.demo.tools import TOOLS
from dspy_router.evaluation.statistics import wilson_interval
from dspy_router.program.agent import RoutedAgent
from dspy_router.program.filling.argument_prompt import ArgumentError
from dspy_router.program.language_model import LanguageModel, language_model
from dspy_router.records import Decision, Step
from dspy_router.routing.router import Router

Fault = Literal["wrong tool", "arguments left open", "wrong result"]


@dataclass(frozen=True)
class Answer:
    """What came of one query.

    Attributes:
        query: The query.
        decision: What the router chose.
        step: The tool's call; None if none was called.
        text: The answer: what the tool returned, or what the language model wrote; None if there is none.
        fault: What is wrong with it; None if nothing is.
    """

    query: str
    decision: Decision
    step: Step | None
    text: str | None
    fault: Fault | None

    @property
    def right(self) -> bool:
        """Whether the tool returned what was expected, or nothing was called where no tool fits."""
        return self.fault is None


@dataclass(frozen=True)
class Answers:
    """What came of several queries.

    Attributes:
        rows: One answer a query, in their order.
        lm_calls: How often a language model was called for all of them.
    """

    rows: tuple[Answer, ...]
    lm_calls: int

    @property
    def right(self) -> int:
        """How many are right."""
        return sum(answer.right for answer in self.rows)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the share that is right."""
        return wilson_interval(self.right, len(self.rows))

    @property
    def faults(self) -> Counter[Fault]:
        """How many have which fault."""
        return Counter(answer.fault for answer in self.rows if answer.fault is not None)


def answer_queries(router: Router, rows: Sequence[Mapping[str, Any]], *, lm: LanguageModel = None) -> Answers:
    """Put queries to an agent that really calls the demo's tools.

    Args:
        router: A router for the demo's tools.
        rows: Queries as `load_queries` gives them; at least one.
        lm: The language model that writes the answers, and the arguments where the rules cannot. Without one the tool's
            result is the answer, and a call whose arguments the text leaves open is not made.

    Raises:
        RuntimeError: If the language model cannot be reached, or refuses.
        ValueError: If the router is for other tools.
    """
    agent = RoutedAgent("question -> answer", TOOLS, router=router, synthesis="none" if lm is None else "result")
    with language_model(lm) as count:
        answers = tuple(_answer(agent, row) for row in rows)
    return Answers(answers, count.lm_calls)


def _answer(agent: RoutedAgent, row: Mapping[str, Any]) -> Answer:
    query = row["query"]
    try:
        prediction = agent(question=query)
    except ArgumentError:  # nobody could fill the call
        decision = agent.choose(question=query)
        return Answer(query, decision, None, None, find_fault(row, decision, None))
    step = prediction.steps[-1] if prediction.steps else None
    return Answer(query, prediction.decision, step, prediction.answer, find_fault(row, prediction.decision, step))


def find_fault(row: Mapping[str, Any], decision: Decision, step: Step | None) -> Fault | None:
    """What is wrong with how a query was dealt with; None if nothing is.

    A result counts by its value alone. Where no tool fits, choosing one is wrong even if its call could not be filled.

    Args:
        row: The query with its `tool` and, where a tool fits, the `expected` result.
        decision: What was chosen.
        step: The call that was made, if one was.
    """
    if row["tool"] is None:
        return None if decision.tool is None else "wrong tool"
    if step is not None and not step.failed and step.result == row["expected"]:
        return None
    if decision.tool != row["tool"]:
        return "wrong tool"
    return "arguments left open" if step is None else "wrong result"
