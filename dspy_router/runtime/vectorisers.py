"""Vectorisers: from texts to vectors without torch, by an ONNX graph, a table or hashing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from dspy_router.runtime.sessions import open_session
from dspy_router.runtime.static import StaticVectoriser
from dspy_router.runtime.texts import hash_vectors
from dspy_router.runtime.tokens import TokenReader

GRAPH, TOKENIZER, TABLE = "encoder.onnx", "tokenizer.json", "encoder.safetensors"
_TOKENS_A_RUN = 4096


class Vectoriser(Protocol):
    """Texts to vectors: called with n texts it returns float32 [n, dim] of length 1, the same for a text every time."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class HashVectoriser:
    """Hashed words, as of the `HashEncoder`."""

    def __init__(self, dim: int) -> None:
        """Vectors of this length."""
        self.dim = dim

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return hash_vectors(texts, self.dim)


class OnnxVectoriser:
    """A tokenizer and a graph from token ids to vectors.

    Texts of as many tokens go through the graph together, without padding: nothing is computed for nothing, and the
    graph needs no mask. A graph that finds the scale of its activations while it runs takes each text by itself: that
    scale is of all it is given, so that a text's vector would depend on its neighbours in the batch.
    """

    def __init__(self, graph: bytes, tokenizer: str, *, window: int, empty: int | None, alone: bool) -> None:
        """Open the graph.

        Args:
            graph: The ONNX model: `ids`, int64 [n, l], to `vectors`, float32 [n, dim].
            tokenizer: As JSON of the `tokenizers` package.
            window: Most tokens of a text.
            empty: The token that stands for a text without any; None where the tokenizer always gives some.
            alone: Whether the graph must be given one text at a time.

        Raises:
            ValueError: If one of the two cannot be read.
        """
        self._read = TokenReader(tokenizer, window)
        self._empty = [] if empty is None else [empty]
        self._alone = alone
        self._session = open_session(graph)

    @property
    def truncated(self) -> int:
        """How many texts so far were longer than the window; what lies beyond it was not read."""
        return self._read.window.truncated

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = self.tokenize(texts)
        if len(rows) == 1:
            return self._run(rows)
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        parts = [self._run([rows[i] for i in some]) for some in self._batches(order, rows)]
        if not parts:
            return np.zeros((0, 0), dtype=np.float32)
        ranked = np.concatenate(parts)
        vectors = np.empty_like(ranked)
        vectors[order] = ranked
        return vectors

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, as many as the window holds."""
        return [ids or self._empty for ids in self._read(texts)]

    def _batches(self, order: Sequence[int], rows: Sequence[Sequence[int]]) -> list[list[int]]:
        batches = []
        for length, same in groupby(order, key=lambda row: len(rows[row])):
            some = list(same)
            most = 1 if self._alone else max(1, _TOKENS_A_RUN // max(length, 1))
            batches += [some[start : start + most] for start in range(0, len(some), most)]
        return batches

    def _run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        return self._session.run(None, {"ids": np.array(rows, dtype=np.int64)})[0]  # type: ignore[return-value]


def read_vectoriser(entry: Mapping[str, Any], files: Mapping[str, bytes]) -> Vectoriser:
    """The vectoriser that an exported router's index describes.

    Raises:
        ValueError: If this release knows none of that kind, or a file of it cannot be read.
    """
    settings = {name: value for name, value in entry.items() if name != "kind"}
    if entry["kind"] == "hash":
        return HashVectoriser(**settings)
    if entry["kind"] == "static":
        return StaticVectoriser.from_json(files[TOKENIZER].decode("utf-8"), load(files[TABLE])["table"], **settings)
    if entry["kind"] == "onnx":
        return OnnxVectoriser(files[GRAPH], files[TOKENIZER].decode("utf-8"), **settings)
    raise ValueError(f"This release knows no vectoriser '{entry['kind']}'. Upgrade dspy-router to load it.")
