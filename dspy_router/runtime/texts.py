"""Texts as an encoder takes them: what a tokenizer can read, and words hashed into a vector."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dspy_router.runtime.words import is_function_word, stems

# In a hashed vector nothing else tells the words that matter from those that do not.
_FUNCTION_WORD_WEIGHT = 0.2


def readable(text: str, longest: int | None = None) -> str:
    """The head of a text as a tokenizer takes it: half a surrogate pair, which is no UTF-8, becomes a question mark."""
    return text[:longest].encode("utf-8", "replace").decode("utf-8")


def hash_vectors(texts: Sequence[str], dim: int) -> NDArray[np.float32]:
    """Words, pairs of words and letter trigrams of each text, hashed into a vector of length 1, float32 [n, dim].

    Signed feature hashing after Weinberger et al. 2009, "Feature hashing for large scale multitask learning".
    """
    rows = np.zeros((len(texts), dim), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        words = stems(text) or [text[:64]]
        features = [(word, _FUNCTION_WORD_WEIGHT if is_function_word(word) else 1.0) for word in words]
        features += [(f"{a} {b}", 0.5) for a, b in pairwise(words)]
        features += [(f"#{word[i : i + 3]}", 0.3) for word in words for i in range(len(word) - 2)]
        for feature, weight in features:
            value = zlib.crc32(feature.encode("utf-8", "surrogatepass"))
            row[(value >> 1) % dim] += weight if value & 1 else -weight
        if not row.any():  # opposite signs may cancel out; every text must have a direction
            row[0] = 1.0
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
