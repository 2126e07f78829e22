"""Postings: for each word the tools whose cards have it, so that a text is compared with no other card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dspy_router.routing.words import WordBag


class Postings(NamedTuple):
    """The words of some cards, by word: those of word w lie from `starts[w]` up to `starts[w + 1]`.

    Attributes:
        starts: Where each word begins, int64 [v + 1]; words of a larger id are in none of these cards.
        rows: Numbers of the cards, int32 [m].
        weights: The word's weight in each, float32 [m].
    """

    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, bag: WordBag, words: int) -> Postings:
        """The rows of a bag, by word; `words` is the size of the vocabulary."""
        indices, offsets = bag.indices.numpy(), bag.offsets.numpy()
        lengths = np.diff(np.append(offsets, len(indices)))
        rows = np.repeat(np.arange(len(offsets), dtype=np.int32), lengths)
        return _sorted(indices, rows, bag.weights.numpy(), words)

    @classmethod
    def joined(cls, parts: Sequence[Postings], sizes: Sequence[int]) -> Postings:
        """One after another: the cards of each part are numbered after those of the parts before it."""
        firsts = np.cumsum([0, *sizes[:-1]])
        indices = np.concatenate([np.repeat(np.arange(len(part.starts) - 1), np.diff(part.starts)) for part in parts])
        rows = np.concatenate([part.rows + np.int32(first) for part, first in zip(parts, firsts, strict=True)])
        weights = np.concatenate([part.weights for part in parts])
        return _sorted(indices, rows, weights, max(len(part.starts) for part in parts) - 1)

    def overlap(self, words: Sequence[int], weights: Sequence[float], into: NDArray[np.float32]) -> list[NDArray]:
        """Add each card's overlap with these words to `into`, float32 [k].

        Returns:
            The numbers of the cards that share some word, a part for each word.
        """
        touched = []
        last = len(self.starts) - 1
        for word, weight in zip(words, weights, strict=True):
            if word < last:
                start, end = self.starts[word], self.starts[word + 1]
                if start < end:
                    rows = self.rows[start:end]
                    into[rows] += weight * self.weights[start:end]  # a card has a word once
                    touched.append(rows)
        return touched


def _sorted(indices: NDArray, rows: NDArray, weights: NDArray, words: int) -> Postings:
    order = np.argsort(indices, kind="stable")
    starts = np.zeros(words + 1, dtype=np.int64)
    np.cumsum(np.bincount(indices, minlength=words), out=starts[1:])
    return Postings(starts, rows[order].astype(np.int32), weights[order].astype(np.float32))
