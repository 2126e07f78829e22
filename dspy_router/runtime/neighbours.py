"""The nearest training queries without torch: what they add to the logits of their tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dspy_router.runtime.words import WordRows

FILE = "neighbours.safetensors"
# Chosen on toole's validation part, where the results are flat around them.
TEMPERATURE = 0.03
WEIGHT = 0.6
FLOOR = 1e-3
_ROWS_A_TIME = 128


class Neighbours:
    """The training queries of a `NeighbourPolicy`, their words filed by word; the formula stands there."""

    def __init__(
        self, tensors: Mapping[str, NDArray], *, names: Sequence[str], tools: Sequence[str], count: int
    ) -> None:
        """Read them.

        Args:
            tensors: `vectors` [n, dim], `right` [n, names + 1], and by word `starts` [v + 1], `queries` and `weights`.
            names: The tools of the columns of `right`.
            tools: The tools of the columns of the logits.
            count: How many neighbours are asked.
        """
        self._vectors, self._right = tensors["vectors"], tensors["right"]
        self._starts, self._queries, self._weights = tensors["starts"], tensors["queries"], tensors["weights"]
        self._count = min(count, len(self._vectors))
        columns = {name: column for column, name in enumerate(names)}
        # A last column of zeros for tools that no neighbour can have.
        self._order = [*(columns.get(name, len(names) + 1) for name in tools), len(names)]

    def summands(self, vectors: NDArray[np.float32], words: WordRows) -> NDArray[np.float32]:
        """What is added to the logits of these texts, float32 [n, k + 1]."""
        parts = [
            self._shares(vectors[start : start + _ROWS_A_TIME], words, start)
            for start in range(0, len(vectors), _ROWS_A_TIME)
        ]
        shares = np.pad(np.concatenate(parts), ((0, 0), (0, 1)))
        return (WEIGHT * np.log(shares[:, self._order] + FLOOR)).astype(np.float32)

    def _shares(self, vectors: NDArray[np.float32], words: WordRows, first: int) -> NDArray[np.float32]:
        similarities = vectors @ self._vectors.T
        ends = [*words.offsets[1:], len(words.indices)]
        for row in range(len(vectors)):
            for at in range(words.offsets[first + row], ends[first + row]):
                word = words.indices[at]
                if word + 1 < len(self._starts):
                    part = slice(self._starts[word], self._starts[word + 1])
                    # A query has a word once, so that no place is written twice.
                    similarities[row, self._queries[part]] += words.weights[at] * self._weights[part]
        similarities /= 2
        near = np.argpartition(-similarities, self._count - 1, axis=1)[:, : self._count]
        values = np.take_along_axis(similarities, near, axis=1) / TEMPERATURE
        weights = np.exp(values - values.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return np.einsum("bn,bnk->bk", weights, self._right[near])
