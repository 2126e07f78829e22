"""What the router is measured against: the demo's linear classifiers, timed, on cached vectors and words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.setting import label_of
from benchmarks.vectors import CachedEncoder
from dspy_router.demo.baselines import LOGISTIC_C, SVM_C, linear_svm, logistic_regression, tfidf
from dspy_router.records import Episode

LOGISTIC = f"logistic regression, C={LOGISTIC_C:g}"
TFIDF_SVM = f"TF-IDF + linear SVM, C={SVM_C:g}"
BOTH_SVM = f"TF-IDF and vectors, linear SVM, C={SVM_C:g}"


class Trained(NamedTuple):
    """A baseline and the seconds its training took, features of the queries included where it computes any."""

    model: Any
    seconds: float


def train_logistic(encoder: CachedEncoder, train: Sequence[Episode]) -> Trained:
    """Multinomial logistic regression on the sentence vectors, which are computed before the clock starts."""
    vectors, labels = vectors_of(encoder, train), [label_of(example) for example in train]
    started = time.perf_counter()
    model = logistic_regression().fit(vectors, labels)
    return Trained(model, time.perf_counter() - started)


class TfidfSvm:
    """A linear SVM on TF-IDF of words and characters and, given an encoder, on the sentence vectors too."""

    def __init__(self, encoder: CachedEncoder | None = None) -> None:
        self.encoder, self.features, self.svm = encoder, tfidf(), linear_svm()
        self.seconds = 0.0

    def fit(self, train: Sequence[Episode]) -> TfidfSvm:
        """Train; `seconds` says how long it took with the sentence vectors already there."""
        if self.encoder is not None:
            self.encoder.prepare([example.text for example in train])
        started = time.perf_counter()
        rows = self._rows(train, self.features.fit_transform([example.text for example in train]))
        self.svm.fit(rows, [label_of(example) for example in train])
        self.seconds = time.perf_counter() - started
        return self

    def hits(self, examples: Sequence[Episode]) -> int:
        """How many it gets right."""
        rows = self._rows(examples, self.features.transform([example.text for example in examples]))
        return count_hits(self.svm.predict(rows), examples)

    def _rows(self, examples: Sequence[Episode], words: Any) -> Any:
        if self.encoder is None:
            return words
        return sparse.hstack([words, sparse.csr_matrix(vectors_of(self.encoder, examples))]).tocsr()


def vectors_of(encoder: CachedEncoder, examples: Sequence[Episode]) -> NDArray[np.float32]:
    """Sentence vectors of examples, float32 [n, dim]."""
    return encoder([example.text for example in examples]).numpy()


def count_hits(predicted: Sequence[str] | NDArray[Any], examples: Sequence[Episode]) -> int:
    """How many predicted labels are the right ones."""
    return sum(str(label) == label_of(example) for label, example in zip(predicted, examples, strict=True))
