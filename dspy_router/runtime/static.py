"""The static vectoriser: a text as the sum of its word pieces' vectors, in numpy, within microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from dspy_router.runtime.tokens import KnownWords
from dspy_router.runtime.window import Window
from dspy_router.runtime.words import split_words

UNKNOWN = "[UNK]"
_TEXTS_A_BATCH = 1_024


class PieceRows(NamedTuple):
    """Texts as rows of word pieces: row i holds the ids from `offsets[i]` up to the next offset.

    Attributes:
        ids: Numbers of the pieces, m of them.
        offsets: Start of each row, n of them; no row is empty.
    """

    ids: list[int]
    offsets: list[int]


class WordPieces:
    """Splits texts into words, and words into the pieces of a tokenizer; several threads may use it at once."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        """Read with this tokenizer.

        Args:
            tokenizer: A WordPiece tokenizer that knows `[UNK]`.
            max_length: Most pieces of a text; what lies beyond is not read.
        """
        unknown = tokenizer.token_to_id(UNKNOWN)
        if unknown is None:
            raise ValueError(f"A static encoder's tokenizer must have a piece {UNKNOWN}; this one has none.")
        self.tokenizer, self.max_length, self.unknown = tokenizer, max_length, unknown
        self.window = Window(max_length)
        self._words = KnownWords(tokenizer)

    def row(self, text: str) -> list[int]:
        """The ids of a text's pieces; of a text without any word, that of the unknown piece."""
        ids = self._words.pieces(split_words(text))
        if len(ids) > self.max_length:
            self.window.note(1)
        return ids[: self.max_length] or [self.unknown]

    def rows(self, texts: Sequence[str]) -> PieceRows:
        """Many texts, one after the other."""
        ids: list[int] = []
        offsets: list[int] = []
        for text in texts:
            offsets.append(len(ids))
            ids += self.row(text)
        return PieceRows(ids, offsets)


class StaticVectoriser:
    """Texts to vectors: the sum of their pieces' vectors, at length 1.

    The same arithmetic as `routing.static.StaticEncoder`, without torch. How much a piece weighs is the length of its
    vector.
    """

    def __init__(self, pieces: WordPieces, table: NDArray[np.float32]) -> None:
        """Look up in this table.

        Args:
            pieces: Texts to rows of the table.
            table: One vector a piece, float32 [v, dim].

        Raises:
            ValueError: If the table has fewer rows than the tokenizer has pieces.
        """
        if len(table) < pieces.tokenizer.get_vocab_size():
            raise ValueError(
                f"The tokenizer knows {pieces.tokenizer.get_vocab_size()} pieces, but the table has vectors for "
                f"{len(table)} only: they are not of one encoder."
            )
        self.pieces, self.table = pieces, table

    @classmethod
    def from_json(cls, tokenizer: str, table: NDArray[np.floating], *, max_length: int) -> StaticVectoriser:
        """A vectoriser of a tokenizer as JSON and a table of any precision."""
        return cls(WordPieces(Tokenizer.from_str(tokenizer), max_length), np.ascontiguousarray(table, dtype=np.float32))

    @property
    def truncated(self) -> int:
        """How many texts so far were longer than the window; what lies beyond it was not read."""
        return self.pieces.window.truncated

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self.table.shape[1]

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [n, dim] for n texts."""
        if len(texts) == 1:
            vector = self.table.take(self.pieces.row(texts[0]), axis=0).sum(axis=0)  # [dim]
            return (vector / max(float(np.sqrt(vector @ vector)), 1e-12))[None]
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_A_BATCH):
            rows = self.pieces.rows(texts[start : start + _TEXTS_A_BATCH])
            self._sum(rows, vectors[start : start + _TEXTS_A_BATCH])
        vectors /= np.maximum(np.sqrt(np.einsum("nd,nd->n", vectors, vectors)), 1e-12)[:, None]
        return vectors

    def _sum(self, rows: PieceRows, sums: NDArray[np.float32]) -> None:
        """Write the sum of each row's vectors, those of as many pieces together: twice as quick as one by one."""
        ids, starts = np.array(rows.ids), np.array(rows.offsets)
        lengths = np.diff(starts, append=len(ids))
        for length in np.unique(lengths).tolist():
            same = np.flatnonzero(lengths == length)
            sums[same] = self.table.take(ids[starts[same, None] + np.arange(length)], axis=0).sum(axis=1)
