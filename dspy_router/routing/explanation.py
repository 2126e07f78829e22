"""Why this tool: the words that moved a decision, its rivals and its nearest training queries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dspy_router.records import Decision
from dspy_router.routing.policies import States

_MOST_WORDS = 64


@dataclass(frozen=True)
class Memory:
    """Some of the queries that a router was trained on, to explain its decisions by.

    Attributes:
        texts: The queries.
        labels: For each the names of the right tools; empty where none fits.
        vectors: Their vectors, float32 [n, d].
    """

    texts: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    vectors: Tensor


class Decider(Protocol):
    """What an explanation asks of a router."""

    memory: Memory | None

    @property
    def tools(self) -> tuple[str, ...]: ...

    def decide(self, text: str) -> Decision: ...

    def probabilities(self, texts: Sequence[str]) -> Tensor: ...

    def read(self, texts: Sequence[str]) -> States: ...


class Neighbour(NamedTuple):
    """A training query near the text: its right tools (none if empty) and its cosine with the text."""

    text: str
    tools: tuple[str, ...]
    similarity: float


@dataclass(frozen=True)
class Explanation:
    """What a decision rests on.

    Attributes:
        decision: The decision.
        words: Each word of the text with its influence: by how much the log-probability of the chosen tool falls when
            the word is left out. Positive speaks for the choice, negative against it. The first 64 words at most.
        rivals: The next likely choices (None is *no tool*) with their probabilities, most likely first.
        neighbours: The nearest training queries; none for an untrained router.
    """

    decision: Decision
    words: tuple[tuple[str, float], ...]
    rivals: tuple[tuple[str | None, float], ...]
    neighbours: tuple[Neighbour, ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "decision": self.decision.to_dict(),
            "words": [list(pair) for pair in self.words],
            "rivals": [list(pair) for pair in self.rivals],
            "neighbours": [neighbour._asdict() for neighbour in self.neighbours],
        }


def explain(router: Decider, text: str, *, rivals: int = 4, neighbours: int = 5) -> Explanation:
    """Explain a router's decision on a text.

    The influence of a word is measured by leaving it out ("occlusion", Zeiler & Fergus 2014; leave-one-out in Li et al.
    2016, "Understanding neural networks through representation erasure"). Unlike a gradient it needs nothing of the
    encoder but its vectors, so that it is the same for every encoder, and it also sees the weights of words.
    """
    decision = router.decide(text)
    spans = list(re.finditer(r"\w+(?:['-]\w+)*", text))[:_MOST_WORDS]
    column = len(router.tools) if decision.tool is None else router.tools.index(decision.tool)
    influences = [0.0] * len(spans)
    if len(spans) > 1:  # without its only word nothing would be left to decide on
        shortened = [text[: span.start()] + text[span.end() :] for span in spans]
        logs = router.probabilities([text, *shortened])[:, column].clamp_min(1e-12).log()
        influences = (logs[0] - logs[1:]).tolist()
    options = decision.top(rivals + 1)
    near: list[Neighbour] = []
    if router.memory is not None and router.memory.texts:
        similarities = router.memory.vectors @ router.read([text]).vectors[0].cpu()
        values, rows = torch.topk(similarities, min(neighbours, len(similarities)))
        pairs = zip(rows.tolist(), values.tolist(), strict=True)
        near = [Neighbour(router.memory.texts[row], router.memory.labels[row], value) for row, value in pairs]
    return Explanation(
        decision,
        tuple((span.group(), influence) for span, influence in zip(spans, influences, strict=True)),
        tuple(option for option in options if option[0] != decision.tool)[:rivals],
        tuple(near),
    )
