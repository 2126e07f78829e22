"""What an export changed: the same texts decided by both, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from dspy_router.records import Episode, ToolCard
from dspy_router.routing.explanation import Memory
from dspy_router.runtime.decisions import choose
from dspy_router.runtime.exported import ExportedRouter

MOST_TEXTS = 500


class Decider(Protocol):
    """What a check asks of the router that is exported."""

    cards: tuple[ToolCard, ...]
    memory: Memory | None

    @property
    def tools(self) -> tuple[str, ...]: ...

    def probabilities(self, texts: Sequence[str]) -> Tensor: ...


class Probe(NamedTuple):
    """What both are asked.

    Attributes:
        texts: The texts.
        labels: For each the names of the right tools, empty where none fits; None where that is not known.
        source: Where the texts are from.
    """

    texts: list[str]
    labels: list[tuple[str, ...]] | None
    source: str


class Differences(NamedTuple):
    """What came of it.

    Attributes:
        texts: How many texts were decided.
        source: Where they are from.
        agreement: Share of the texts for which both choose the same tool, by the policy's own probabilities.
        largest: Largest difference of any probability.
        accuracy: Share of right choices before and after; None where labels are not known.
    """

    texts: int
    source: str
    agreement: float
    largest: float
    accuracy: tuple[float, float] | None

    @property
    def lost(self) -> float:
        """What is lost: of the right choices where labels are known, otherwise of all that were made."""
        if self.accuracy is None:
            return 1.0 - self.agreement
        return self.accuracy[0] - self.accuracy[1]


def read_probe(router: Decider, examples: Iterable[Any] | None) -> Probe:
    """The texts to compare on: the given ones, else training queries, else what the cards say.

    Args:
        router: The router.
        examples: Texts, or labelled examples; labels count only where every example has exactly one.

    Raises:
        ValueError: If there are none.
    """
    if examples is None:
        if router.memory is not None and router.memory.texts:
            return _spread(Probe(list(router.memory.texts), None, "training queries"))
        return _spread(Probe([text for card in router.cards for text in dict.fromkeys(card.views)], None, "tool cards"))
    episodes = [Episode({"query": one}) if isinstance(one, str) else Episode.from_example(one) for one in examples]
    if not episodes:
        raise ValueError("There is nothing to compare on: expected texts or labelled examples, got none.")
    labelled = all(len(episode.labels) == 1 for episode in episodes)
    labels = [episode.labels[0] for episode in episodes] if labelled else None
    return Probe([episode.text for episode in episodes], labels, "the given examples")


def compare(router: Decider, exported: ExportedRouter, probe: Probe) -> Differences:
    """Decide on the same texts with both."""
    before = router.probabilities(probe.texts).double().numpy()
    after = exported.probabilities(probe.texts)
    names = router.tools
    first, second = ([choose(row, names) for row in rows.tolist()] for rows in (before, after))
    agreement = float(np.mean([one == other for one, other in zip(first, second, strict=True)]))
    accuracy = None
    if probe.labels is not None:
        accuracy = (_accuracy(first, probe.labels, names), _accuracy(second, probe.labels, names))
    return Differences(len(first), probe.source, agreement, float(np.abs(before - after).max()), accuracy)


def _accuracy(choices: Sequence[int], labels: Sequence[Sequence[str]], names: Sequence[str]) -> float:
    chosen = [names[choice] if choice < len(names) else None for choice in choices]
    hits = [tool in label if label else tool is None for tool, label in zip(chosen, labels, strict=True)]
    return float(np.mean(hits))


def _spread(probe: Probe) -> Probe:
    """At most so many texts, evenly spread: they are the router's own choice, and enough to see that all went well."""
    if len(probe.texts) <= MOST_TEXTS:
        return probe
    rows = np.linspace(0, len(probe.texts) - 1, MOST_TEXTS).astype(int)
    return probe._replace(texts=[probe.texts[row] for row in rows])
