"""A student in front of an exported router: what it is sure of it decides, the rest it defers."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dspy_router.runtime.head import Head, read_head
from dspy_router.runtime.vectorisers import Vectoriser, read_vectoriser

FOLDER = "student/"  # where its files lie in the router's folder
_LEAST = 1e-12  # weight of all other options; where it is less, a choice is as sure as can be
_BEYOND = 500.0  # log-odds that nothing reaches


class Student:
    """Logits over the router's own tools, and where they are not to be relied on.

    Attributes:
        vectoriser: Texts to vectors.
        head: Vectors and words to logits.
        bar: Least log-odds of what it decides itself; see `log_odds`.
        asked: How many texts it has read so far.
        deferred: How many of them it left to the router.
    """

    def __init__(self, vectoriser: Vectoriser, head: Head, *, bar: float) -> None:
        self.vectoriser, self.head, self.bar = vectoriser, head, bar
        self._most = math.exp(min(-bar, _BEYOND)) + 1.0  # weight of all options, where the likeliest has 1
        self.asked = self.deferred = 0
        self._lock = threading.Lock()

    def __call__(self, texts: Sequence[str], summands: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[int]]:
        """Its logits, float32 [n, k + 1], and the rows that are for the router to decide.

        Args:
            texts: n texts.
            summands: What is added to each logit, [1, k + 1].
        """
        logits = self.head(self.vectoriser(texts), texts, summands)
        unsure = self._unsure(logits)
        with self._lock:
            self.asked += len(texts)
            self.deferred += len(unsure)
        return logits, unsure

    def _unsure(self, logits: NDArray[np.float32]) -> list[int]:
        if len(logits) == 1:  # a decision waits for this
            row = logits[0]
            return [0] if np.exp(row - row.max()).sum(dtype=np.float64) > self._most else []
        return np.flatnonzero(_weights(logits) > self._most).tolist()


def log_odds(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The log-odds of the likeliest option against all others, [n], of logits [n, k + 1]."""
    return -np.log(np.maximum(_weights(logits) - 1.0, _LEAST))


def _weights(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """What all options weigh together, [n], if the likeliest weighs 1."""
    return np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1, dtype=np.float64)


def read_student(
    entry: Mapping[str, Any] | None, files: Mapping[str, bytes], *, tools: Sequence[str]
) -> Student | None:
    """The student that an exported router's index describes; None if it describes none.

    Raises:
        ValueError: If a file of it cannot be read.
    """
    if entry is None:
        return None
    own = {name.removeprefix(FOLDER): data for name, data in files.items() if name.startswith(FOLDER)}
    vectoriser = read_vectoriser(entry["vectoriser"], own)
    head = read_head(entry, own, tools=tools, precision="fp32")
    return Student(vectoriser, head, bar=float(entry["bar"]))
