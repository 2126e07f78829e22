"""Words as tensors: a text as a sparse bag of idf-weighted stems and pairs of stems."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from dspy_router.runtime import words


class WordBag(NamedTuple):
    """Sparse rows: row i holds the entries from `offsets[i]` up to the next offset.

    Attributes:
        indices: Word ids, int64 [n].
        offsets: Start of each row, int64 [b].
        weights: Weight of each entry, float32 [n].
    """

    indices: Tensor
    offsets: Tensor
    weights: Tensor

    def select(self, rows: Tensor) -> WordBag:
        """The rows of these numbers, int64 [m], as a bag of m rows."""
        ends = torch.cat([self.offsets[1:], self.offsets.new_tensor([len(self.indices)])])
        starts, lengths = self.offsets[rows], ends[rows] - self.offsets[rows]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)[:-1]])
        shift = torch.repeat_interleave(starts - offsets, lengths)
        entries = torch.arange(len(shift), device=shift.device) + shift
        return WordBag(self.indices[entries], offsets, self.weights[entries])

    def to(self, device: torch.device | str) -> WordBag:
        """The same bag on another device."""
        return WordBag(*(tensor.to(device) for tensor in self))


class Vocabulary(words.Vocabulary):
    """The words that are known, how rare each of them is, and texts as tensors of their weights."""

    def bag(self, texts: Iterable[str]) -> WordBag:
        """Texts as rows of sublinear tf-idf weights; see `rows`."""
        return _as_bag(self.rows(texts))

    def card_bag(self, texts: Iterable[str]) -> WordBag:
        """Texts of cards as rows of unit length over their content words alone."""
        return _as_bag(self.card_rows(texts))


def _as_bag(rows: words.WordRows) -> WordBag:
    return WordBag(
        torch.tensor(rows.indices, dtype=torch.int64),
        torch.tensor(rows.offsets, dtype=torch.int64),
        torch.tensor(rows.weights, dtype=torch.float32),
    )
