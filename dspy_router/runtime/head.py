"""The policy's head: from a text's vector and words to logits, all tools folded into one small graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from dspy_router.runtime.neighbours import FILE, Neighbours
from dspy_router.runtime.sessions import open_session, warn_without_int8
from dspy_router.runtime.words import Vocabulary, WordRows

GRAPH = "policy.onnx"
_ENTRIES_A_RUN = 1 << 15  # words of all texts together: each takes a row of a table of the tools
_TEXTS_A_RUN = 64  # more do not fit the processor's own caches with their words' rows
_INPUTS = ("vectors", "words", "weights", "summands")


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
    ) -> None:
        """Open the graph.

        Args:
            graph: The ONNX model.
            vocabulary: The words that it weighs.
            alone: Whether it must be given one text at a time; see `OnnxVectoriser`.
            neighbours: The training queries that raise logits; None where the policy asks none.

        Raises:
            ValueError: If the graph cannot be read.
        """
        self._session = open_session(graph)
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
        if len(vectors) <= 1:
            return self._run(vectors, *one_row(words), summands)
        entries = _Entries(words)
        logits = np.empty((len(vectors), summands.shape[1]), dtype=np.float32)
        for some in entries.runs(1 if self._alone else _TEXTS_A_RUN):
            own = summands if len(summands) == 1 else summands[some]
            logits[some] = self._run(vectors[some], *entries.filled_up(some), own)
        return logits

    def _run(self, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        feeds = dict(zip(_INPUTS, inputs, strict=True))
        if len(self._names) < len(feeds):  # a policy that reads no words
            feeds = {name: feeds[name] for name in self._names}
        return self._session.run(self._output, feeds)[0]  # type: ignore[return-value]


def read_head(entry: Mapping[str, Any], files: Mapping[str, bytes], *, tools: Sequence[str], precision: str) -> Head:
    """The head that an exported router's index describes, over these tools.

    Raises:
        ValueError: If a file of it cannot be read.
    """
    near = None
    if entry["neighbours"] is not None:
        near = Neighbours(load(files[FILE]), tools=list(tools), **entry["neighbours"])
    vocabulary = Vocabulary.from_dict(entry["vocabulary"])
    if precision == "int8":
        warn_without_int8()
    alone = entry.get("policy_alone", precision == "int8")  # which earlier releases did not write
    return Head(files[GRAPH], vocabulary, alone=alone, neighbours=near)


class _Entries:
    """The words of n texts, to be had as rows of one length, filled up with weight 0."""

    def __init__(self, words: WordRows) -> None:
        # Behind the last word stands one of no weight.
        self._ids = np.array([*words.indices, 0], dtype=np.int64)
        self._weights = np.array([*words.weights, 0.0], dtype=np.float32)
        self._starts = np.array(words.offsets, dtype=np.int64)
        self._lengths = np.diff(self._starts, append=len(words.indices))

    def runs(self, most: int) -> Iterator[NDArray[np.int64]]:
        """Texts of about as many words together, at most so many: what is filled up is computed for nothing."""
        order = np.argsort(self._lengths, kind="stable")
        start = 0
        while start < len(order):
            some = order[start : start + most]
            entries = np.arange(1, len(some) + 1) * self._lengths[some]  # of the first, the first two, and so on
            some = some[: max(1, np.count_nonzero(entries <= _ENTRIES_A_RUN))]
            yield some
            start += len(some)

    def filled_up(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids and weights of m of the texts as [m, w]; at least one column, so that a text without a word has one."""
        lengths, columns = self._lengths[rows, None], np.arange(max(1, self._lengths[rows].max(initial=0)))
        places = np.where(columns < lengths, self._starts[rows, None] + columns, len(self._ids) - 1)
        return self._ids[places], self._weights[places]


def one_row(words: WordRows) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ids and weights of a single text, or of none, as [n, w], w at least 1."""
    if words.indices:
        return np.array([words.indices], dtype=np.int64), np.array([words.weights], dtype=np.float32)
    shape = (len(words.offsets), 1)
    return np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32)
