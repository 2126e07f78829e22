"""Which calibration map to take: candidates compared by their log-loss on examples that they were not fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dspy_router.routing.trust.maps import confidence_log_loss, fit_isotonic, fit_temperature, fit_vector, log_loss
from dspy_router.runtime.maps import Isotonic, RowMap, Rows, Temperature, softmax, with_top

_FOLDS = 5
# Of vector scaling: the first lets options depart freely, as where *none* is more frequent than in training; the second
# hardly, as with few examples a tool.
_PRIORS = {"vector scaling, prior 1": 1.0, "vector scaling, prior 30": 30.0}
_ROWS = ("none", "temperature", *_PRIORS)
_AS_IT_IS, _ISOTONIC = "as it is", "isotonic"


@dataclass(frozen=True)
class Sample:
    """n labelled decisions of a router, columns the tools and *none*.

    Attributes:
        logits: The policy's, [n, k + 1].
        choices: The chosen columns, [n].
        scores: How sure each choice is, [n].
        right: Which options are right, [n, k + 1].
        hits: Whether the choice is, [n].
        names: The tools.
    """

    logits: Rows
    choices: NDArray[np.int64]
    scores: Rows
    right: NDArray[np.bool_]
    hits: NDArray[np.bool_]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.hits)

    def select(self, rows: NDArray[np.int64]) -> Sample:
        """The decisions of these numbers."""
        logits, choices, scores = self.logits[rows], self.choices[rows], self.scores[rows]
        return Sample(logits, choices, scores, self.right[rows], self.hits[rows], self.names)


@dataclass(frozen=True)
class Picked:
    """The best maps, fitted on all examples.

    Attributes:
        name: What they are called.
        row_map: The map of rows.
        top_map: The map of scores, if it was picked.
        row_losses: Held-out log-loss of every map of rows, by name.
        top_losses: Held-out log-loss of the confidence by what may give it, by name.
        held_out: The probabilities that the best maps give each example after fitting on the others, [n, k + 1].
    """

    name: str
    row_map: RowMap
    top_map: Isotonic | None
    row_losses: Mapping[str, float]
    top_losses: Mapping[str, float]
    held_out: Rows


def pick(sample: Sample, *, seed: int, rising: bool) -> Picked:
    """Fit the candidates on four fifths in turn, pick the best on the fifths left out, and fit it on all.

    First the map of rows, by the log-loss of the right options. Then what gives the choice its confidence, by the
    log-loss of the choice being right: the map of rows itself, or an isotonic map of the score. After vector scaling it
    is always the latter: where that would have chosen otherwise, the choice's own probability has been repaired and
    means little (on clinc150's validation part a calibration error of 4 %).

    Args:
        sample: The decisions.
        seed: Of the fifths.
        rising: Let the choice's confidence rise with its score: only the isotonic map will do.
    """
    order = np.random.default_rng(seed).permutation(len(sample))
    rows = {name: np.empty_like(sample.logits) for name in _ROWS}
    confidence = np.empty_like(sample.scores)
    for fold in np.array_split(order, _FOLDS):
        train, test = sample.select(np.setdiff1d(order, fold)), sample.select(fold)
        for name, one in fit_rows(train).items():
            factors, summands = one.arrays(sample.names)
            rows[name][fold] = softmax(test.logits * factors + summands)
        confidence[fold] = fit_isotonic(train.scores, train.hits)(test.scores)
    row_losses = {name: log_loss(one, sample.right) for name, one in rows.items()}
    best = min(row_losses, key=row_losses.__getitem__)
    held_out = {_ISOTONIC: with_top(rows[best], sample.choices, confidence)}
    if not (rising or best in _PRIORS):
        held_out[_AS_IT_IS] = rows[best]
    columns = (np.arange(len(sample)), sample.choices)
    top_losses = {name: confidence_log_loss(one[columns], sample.hits) for name, one in held_out.items()}
    top = min(top_losses, key=top_losses.__getitem__)
    row_map = fit_rows(sample, (best,))[best]
    if top == _AS_IT_IS:
        return Picked(best, row_map, None, row_losses, top_losses, held_out[top])
    top_map = fit_isotonic(sample.scores, sample.hits)
    return Picked(f"{best} + {top}", row_map, top_map, row_losses, top_losses, held_out[top])


def fit_rows(sample: Sample, names: Sequence[str] = _ROWS) -> dict[str, RowMap]:
    """Maps of rows, by default all, fitted; the simpler ones first, as among equals the first is taken."""
    temperature = fit_temperature(sample.logits, sample.right)
    maps: dict[str, RowMap] = {"none": Temperature(), "temperature": temperature}
    for name, prior in _PRIORS.items():
        if name in names:
            maps[name] = fit_vector(sample.logits, sample.right, sample.names, start=temperature, prior=prior)
    return maps
