"""Calibration maps fitted to labelled decisions; what they do to logits stands in `runtime.maps`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dspy_router.runtime.maps import Isotonic, Rows, Temperature, VectorScaling, softmax

# From 0.1 to 1 it hardly matters on clinc150's and toole's validation parts.
_CURVE_WEIGHT, _CURVE_EXAMPLES = 0.3, 100.0


def log_loss(rows: Rows, right: NDArray[np.bool_]) -> float:
    """Mean of `−log(probability of the right options)`, [n, k + 1] each; a probability below 10⁻¹² counts as that."""
    return float(-np.log(np.maximum((rows * right).sum(axis=1), 1e-12)).mean())


def confidence_log_loss(confidence: Rows, hits: NDArray[np.bool_]) -> float:
    """Mean of `−log(probability of what came about)`, the choice being right or not, [n] each."""
    return float(-np.log(np.maximum(np.where(hits, confidence, 1.0 - confidence), 1e-12)).mean())


def fit_temperature(logits: Rows, right: NDArray[np.bool_]) -> Temperature:
    """The temperature with the least log-loss, between 1/20 and 20."""
    from scipy.optimize import minimize_scalar

    def loss(log_value: float) -> float:
        return log_loss(softmax(logits / math.exp(log_value)), right)

    found: Any = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return Temperature(math.exp(found.x))


def fit_vector(
    logits: Rows, right: NDArray[np.bool_], names: Sequence[str], *, start: Temperature, prior: float
) -> VectorScaling:
    """Factors and summands with the least log-loss, each held to the temperature's by a Gaussian prior.

    The log-loss of all examples plus `prior · Σ (log(factor · temperature)² + summand²)`: with three examples a tool
    an option departs from the others only as far as they insist.
    """
    from scipy.optimize import minimize

    n, k = logits.shape
    weights = 1.0 / start.value

    def loss(parameters: Rows) -> tuple[float, Rows]:
        stretch, summands = parameters[:k], parameters[k:]
        scaled = logits * (weights * np.exp(stretch))
        rows = softmax(scaled + summands)
        inside = rows * right
        sums = np.maximum(inside.sum(axis=1, keepdims=True), 1e-300)
        apart = rows - inside / sums  # gradient with respect to the logits
        value = -np.log(sums).sum() + prior * (parameters @ parameters)
        gradient = np.concatenate([(apart * scaled).sum(axis=0), apart.sum(axis=0)]) + 2 * prior * parameters
        return value / n, gradient / n

    found: Rows = minimize(loss, np.zeros(2 * k), jac=True, method="L-BFGS-B", options={"maxiter": 30}).x
    pairs = list(zip((weights * np.exp(found[:k])).tolist(), found[k:].tolist(), strict=True))
    return VectorScaling(dict(zip(names, pairs[:-1], strict=True)), pairs[-1])


def fit_isotonic(scores: Rows, hits: NDArray[np.bool_]) -> Isotonic:
    """The rising steps nearest to what was right, drawn towards a logistic curve, with lines between the steps.

    Isotonic regression (Zadrozny & Elkan 2002) of `(hit + w · curve) / (1 + w)`, `w = 0.3 + 100 / n`: as though the
    curve's word counted as a third of an example where there are many, and as more where there are few. By itself the
    regression says *never wrong* of scores above its last mistake, which costs log-loss, and follows every accident of
    a few examples; the curve by itself (Platt 1999) misses that even the surest are sometimes wrong. Halves of
    clinc150's and toole's validation parts: calibration error 1.5 / 2.6 %, by itself 1.6 / 2.5, the curve 1.5 / 2.7;
    a perfect confidence would have 1.1 / 1.9 % by chance.

    Args:
        scores: Of the choices, [n].
        hits: Whether they are right, [n].
    """
    from sklearn.isotonic import IsotonicRegression

    weight = _CURVE_WEIGHT + _CURVE_EXAMPLES / len(scores)
    targets = (hits + weight * _logistic_curve(scores, hits)) / (1.0 + weight)
    steps = IsotonicRegression(out_of_bounds="clip").fit(scores, targets)
    return Isotonic(tuple(steps.X_thresholds_.tolist()), tuple(steps.y_thresholds_.tolist()))


def _logistic_curve(scores: Rows, hits: NDArray[np.bool_]) -> Rows:
    """Probability of being right by a logistic regression on the score, against Platt's smoothed targets.

    The smoothing makes it work where all are right, too; the slope is kept above 0.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    right, wrong = int(hits.sum()), int((~hits).sum())
    targets = np.where(hits, (right + 1.0) / (right + 2.0), 1.0 / (wrong + 2.0))

    def loss(parameters: Rows) -> tuple[float, Rows]:
        odds = parameters[0] * scores + parameters[1]
        apart = expit(odds) - targets
        return (np.logaddexp(0.0, odds) - targets * odds).mean(), np.array([(apart * scores).mean(), apart.mean()])

    bounds = [(1e-3, 10.0), (-20.0, 20.0)]
    slope, offset = minimize(loss, np.array([0.5, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return expit(slope * scores + offset)
