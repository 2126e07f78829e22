"""Scores that may tell a text no tool answers from the others, each from its paper; higher where a tool fits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dspy_router.runtime.words import stems

Scores = NDArray[np.float64]


class Part(NamedTuple):
    """Queries as the scores see them.

    Attributes:
        texts: Their texts, n.
        vectors: The encoder's, float32 [n, d], of unit length.
        logits: The trained policy's, float32 [n, k + 1], last column *none*.
    """

    texts: list[str]
    vectors: Tensor
    logits: Tensor

    @property
    def tools(self) -> Tensor:
        """Logits of the tools alone, float32 [n, k]."""
        return self.logits[:, :-1]


def from_logits(part: Part) -> dict[str, Scores]:
    """The scores that need nothing but the logits of a text.

    Largest probability: Hendrycks & Gimpel 2017; largest logit: Hendrycks et al. 2022; energy: Liu et al. 2020.
    """
    tools = part.tools.double()
    named = {
        "1 − P(none) of the policy alone": tools.logsumexp(1) - part.logits[:, -1],
        "energy, T = 1": tools.logsumexp(1),
        "energy, T = 1/2": (2 * tools).logsumexp(1) / 2,
        "largest logit": tools.amax(1),
        "largest probability among the tools": tools.softmax(1).amax(1),
    }
    return {name: values.numpy() for name, values in named.items()}


def from_training(known: Part, labels: Tensor) -> Mapping[str, Callable[[Part], Scores]]:
    """The scores that compare a text with the training queries.

    Args:
        known: Training queries with a tool.
        labels: Their tools' columns, int64 [n].
    """
    members = F.one_hot(labels, known.tools.shape[1]).float()
    members = members[:, members.any(0)]  # a tool without training queries has no mean
    counts = members.sum(0)[:, None]
    means = members.T @ known.vectors / counts
    profiles = F.normalize(_centred(members.T @ known.tools / counts), dim=1)
    of_query = means[members.argmax(1)]
    distance_to_tools = _mahalanobis(known.vectors - of_query, means)
    distance_to_all = _mahalanobis(known.vectors - known.vectors.mean(0), known.vectors.mean(0, keepdim=True))
    unit_means = F.normalize(means, dim=1)
    return {
        "cosine with the 5th nearest query (Sun et al. 2022)": lambda part: _nearest(part, known)[:, 4],
        "mean cosine with the 5 nearest queries": lambda part: _nearest(part, known).mean(1),
        "cosine with the nearest tool's mean query": lambda part: _array((part.vectors @ unit_means.T).amax(1)),
        "−Mahalanobis to the nearest tool (Lee et al. 2018)": lambda part: -distance_to_tools(part.vectors),
        "−relative Mahalanobis (Ren et al. 2021)": lambda part: (
            distance_to_all(part.vectors) - distance_to_tools(part.vectors)
        ),
        "cosine with the nearest tool's mean logits": lambda part: _array(
            (F.normalize(_centred(part.tools), dim=1) @ profiles.T).amax(1)
        ),
        "share of words seen in training": _seen_words(known.texts),
    }


def _nearest(part: Part, known: Part) -> Scores:
    rows = [(vectors @ known.vectors.T).topk(5, dim=1).values for vectors in part.vectors.split(512)]
    return _array(torch.cat(rows))


def _mahalanobis(residuals: Tensor, centres: Tensor) -> Callable[[Tensor], Scores]:
    """Squared distance to the nearest centre under the residuals' covariance, shrunk after Ledoit & Wolf 2004."""
    from sklearn.covariance import LedoitWolf

    precision = LedoitWolf(assume_centered=True).fit(residuals.numpy()).get_precision()
    root = torch.from_numpy(np.linalg.cholesky(np.asarray(precision))).float()
    return lambda vectors: _array(torch.cdist(vectors @ root, centres @ root).amin(1) ** 2)


def _seen_words(texts: list[str]) -> Callable[[Part], Scores]:
    """The share of a text's words, each weighing its idf, that occur in the training queries."""
    counts = Counter(word for text in texts for word in set(stems(text)))

    def share(text: str) -> float:
        weights = {word: math.log((1 + len(texts)) / (1 + counts[word])) + 1 for word in stems(text)}
        whole = sum(weights.values())
        return sum(weight for word, weight in weights.items() if counts[word]) / whole if whole else 0.0

    return lambda part: np.array([share(text) for text in part.texts])


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(1, keepdim=True)


def _array(values: Tensor) -> Scores:
    return values.double().numpy()
