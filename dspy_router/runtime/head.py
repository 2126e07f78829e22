"""The policy's head: from a text's vector and words to logits, all tools folded into one small graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from dspy_router.runtime.neighbours import FILE, Neighbours
from dspy_router.runtime.sessions import open_session
from dspy_router.runtime.words import Vocabulary, WordRows

GRAPH = "policy.onnx"
_ENTRIES_A_RUN = 1 << 15  # words of all texts together: each takes a row of a table of the tools


class Head:
    """Logits of the tools and of *none*.

    The graph takes the `vectors` [n, dim], the `words` [n, w] and their `weights` [n, w], filled up with weight 0, and
    `summands` [1 or n, k + 1] that are added to the policy's logits: −∞ for what is not allowed.
    """

    def __init__(
        self,
        graph: bytes,
        vocabulary: Vocabulary,
        *,
        alone: bool,
        neighbours: Neighbours | None = None,
        threads: int = 1,
    ) -> None:
        """Open the graph.

        Args:
            graph: The ONNX model.
            vocabulary: The words that it weighs.
            alone: Whether it must be given one text at a time, as an int8 one.
            neighbours: The training queries that raise logits; None where the policy asks none.
            threads: Threads of a call.

        Raises:
            ValueError: If the graph cannot be read.
        """
        self._session = open_session(graph, threads=threads)
        self._names = [one.name for one in self._session.get_inputs()]
        self._output = [self._session.get_outputs()[0].name]
        self._vocabulary, self._alone, self._neighbours = vocabulary, alone, neighbours

    def __call__(
        self, vectors: NDArray[np.float32], texts: Sequence[str], summands: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Logits, float32 [n, k + 1].

        Args:
            vectors: Of the texts, [n, dim].
            texts: n texts.
            summands: What is added to each logit, [1, k + 1].
        """
        words = self._vocabulary.rows(texts)
        if self._neighbours is not None:
            summands = summands + self._neighbours.summands(vectors, words)
        ids, weights = _filled_up(words)
        feeds = {"vectors": vectors, "words": ids, "weights": weights, "summands": summands}
        if len(self._names) < len(feeds):  # a policy that reads no words
            feeds = {name: feeds[name] for name in self._names}
        if len(vectors) <= 1:
            return self._run(feeds)
        most = 1 if self._alone else max(1, _ENTRIES_A_RUN // ids.shape[1])
        rows = []
        for start in range(0, len(vectors), most):
            some = {name: one if len(one) == 1 else one[start : start + most] for name, one in feeds.items()}
            rows.append(self._run(some))
        return np.concatenate(rows)

    def _run(self, feeds: dict[str, Any]) -> NDArray[np.float32]:
        return self._session.run(self._output, feeds)[0]  # type: ignore[return-value]


def read_head(
    entry: Mapping[str, Any], files: Mapping[str, bytes], *, tools: Sequence[str], precision: str, threads: int
) -> Head:
    """The head that an exported router's index describes, over these tools.

    Raises:
        ValueError: If a file of it cannot be read.
    """
    near = None
    if entry["neighbours"] is not None:
        near = Neighbours(load(files[FILE]), tools=list(tools), **entry["neighbours"])
    vocabulary = Vocabulary.from_dict(entry["vocabulary"])
    return Head(files[GRAPH], vocabulary, alone=precision == "int8", neighbours=near, threads=threads)


def _filled_up(words: WordRows) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ids and weights of n rows as [n, w]; at least one column, so that a text without a known word has one too."""
    n = len(words.offsets)
    if n == 1 and words.indices:
        return np.array([words.indices], dtype=np.int64), np.array([words.weights], dtype=np.float32)
    starts = np.array(words.offsets, dtype=np.int64)
    lengths = np.diff(starts, append=len(words.indices))
    width = max(1, int(lengths.max(initial=0)))
    ids, weights = np.zeros((n, width), dtype=np.int64), np.zeros((n, width), dtype=np.float32)
    rows = np.repeat(np.arange(n), lengths)
    columns = np.arange(len(words.indices)) - np.repeat(starts, lengths)
    ids[rows, columns], weights[rows, columns] = words.indices, words.weights
    return ids, weights
