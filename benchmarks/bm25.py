"""BM25 over tool cards, and its ranks fused with another's."""

from __future__ import annotations

from collections.abc import Sequence

import bm25s
import numpy as np

from dspy_router.records import ToolCard
from dspy_router.routing.toolset import card_text
from dspy_router.runtime.words import content_words


def fuse(one: Sequence[str], other: Sequence[str], *, constant: int = 60) -> list[str]:
    """Reciprocal rank fusion (Cormack, Clarke & Büttcher 2009), with the constant of the paper."""
    scores: dict[str, float] = {}
    for names in (one, other):
        for rank, name in enumerate(names[:100]):
            scores[name] = scores.get(name, 0.0) + 1.0 / (constant + rank + 1)
    return sorted(scores, key=lambda name: (-scores[name], name))


class Bm25:
    """The library's BM25 over the cards' words, stemmed and without function words as the router's own are."""

    def __init__(self, cards: Sequence[ToolCard]) -> None:
        self.index = bm25s.BM25()
        self.index.index([content_words(card_text(card)) for card in cards], show_progress=False)
        self.count = min(100, len(cards))

    def ranked(self, texts: Sequence[str]) -> list[list[int]]:
        """The rows of the best cards for each text, best first."""
        words = [content_words(text) or ["\0"] for text in texts]
        rows = self.index.retrieve(words, k=self.count, show_progress=False, return_as="documents")
        return np.asarray(rows).tolist()
