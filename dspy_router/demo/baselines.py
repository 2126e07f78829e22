"""What else could choose a tool: two linear classifiers of scikit-learn, to hold the router against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.svm import LinearSVC

from dspy_router.routing.encoders import Encoder, encode

LOGISTIC_C = 10.0
SVM_C = 1.0
_NONE = ""  # a class of its own: no tool has an empty name
Rows = Sequence[Mapping[str, Any]]


def tfidf() -> FeatureUnion:
    """Words and pairs of words beside runs of two to five letters, both sublinear."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    return FeatureUnion([("words", words), ("letters", letters)])


def linear_svm() -> LinearSVC:
    """A linear support vector machine for TF-IDF rows."""
    return LinearSVC(C=SVM_C)


def logistic_regression() -> LogisticRegression:
    """Multinomial logistic regression for unit vectors: their components are tiny, so the penalty is small."""
    return LogisticRegression(C=LOGISTIC_C, max_iter=1000)


def choose_by_words(train: Rows, texts: Sequence[str]) -> list[str | None]:
    """Tools chosen by a linear support vector machine on TF-IDF of words, pairs of words and 2 to 5 letters.

    Args:
        train: `{"query", "tool"}` rows to learn from; *none* is a class like any other.
        texts: What to choose for, [n].

    Returns:
        A name, or None where no tool fits, for each text, [n].
    """
    model = make_pipeline(tfidf(), linear_svm())
    model.fit([row["query"] for row in train], _classes(train))
    return _names(model.predict(list(texts)))


def choose_by_vectors(encoder: Encoder, train: Rows, texts: Sequence[str]) -> list[str | None]:
    """Tools chosen by logistic regression on an encoder's vectors.

    Args:
        encoder: Texts to vectors.
        train: `{"query", "tool"}` rows to learn from; *none* is a class like any other.
        texts: What to choose for, [n].

    Returns:
        A name, or None where no tool fits, for each text, [n].
    """
    known = encode(encoder, [row["query"] for row in train]).numpy()
    model = logistic_regression().fit(known, _classes(train))
    return _names(model.predict(encode(encoder, list(texts)).numpy()))


def _classes(rows: Rows) -> list[str]:
    return [_NONE if row["tool"] is None else row["tool"] for row in rows]


def _names(classes: Sequence[str]) -> list[str | None]:
    return [None if name == _NONE else str(name) for name in classes]
