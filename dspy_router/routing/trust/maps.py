"""Calibration maps: from a policy's logits to probabilities that mean what they say, the choice untouched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]

_SHARPNESS = 2.0
_MOST = 50.0  # log-odds beyond this are as good as certain
_BEYOND = 1e6
# From 0.1 to 1 it hardly matters on clinc150's and toole's validation parts.
_CURVE_WEIGHT, _CURVE_EXAMPLES = 0.3, 100.0


def selection_scores(logits: Rows, choices: NDArray[np.int64]) -> Rows:
    """How sure each choice is, as log-odds, [n]: what decisions are ranked by, without a look at any label.

    The log-odds of the choice in `softmax(2 · logits)`: its share of the squared probabilities. Squaring lets the
    runners-up count for more and the sum of many small probabilities for less. On toole's validation part the first
    37 % by it are 1 % wrong, the first 11 % by the probability itself; on clinc150's it is 69 % by either. Beyond 2
    little changes.

    Args:
        logits: Of the tools and *none*, [n, k + 1]; −∞ where a tool is not allowed.
        choices: The chosen columns, [n].
    """
    rows = np.arange(len(logits))
    apart = _SHARPNESS * (logits - logits[rows, choices][:, None])
    apart[rows, choices] = -np.inf
    highest = np.maximum(apart.max(axis=1, keepdims=True), -_BEYOND)
    with np.errstate(divide="ignore"):  # of a choice without a rival
        others = np.log(np.exp(apart - highest).sum(axis=1)) + highest[:, 0]
    return np.clip(-others, -_MOST, _MOST)


def softmax(logits: Rows) -> Rows:
    """Probabilities of rows of logits."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


class RowMap(Protocol):
    """Logits to logits: each option's times a factor, plus a summand; what was −∞ stays so."""

    def arrays(self, names: Sequence[str]) -> tuple[Rows, Rows]:
        """Factors and summands of these tools and, last, of *none*, [k + 1] each."""
        ...


@dataclass(frozen=True)
class Temperature:
    """All logits divided by one number (Guo et al. 2017, "On calibration of modern neural networks"); at 1 none."""

    value: float = 1.0

    def arrays(self, names: Sequence[str]) -> tuple[Rows, Rows]:
        return np.full(len(names) + 1, 1.0 / self.value), np.zeros(len(names) + 1)


@dataclass(frozen=True)
class VectorScaling:
    """Every option's logit times a number, plus a number, by the tool's name (Guo et al. 2017).

    Attributes:
        tools: Factor and summand of each tool.
        none: Those of *none*.
    """

    tools: Mapping[str, tuple[float, float]]
    none: tuple[float, float]

    def arrays(self, names: Sequence[str]) -> tuple[Rows, Rows]:
        factors, summands = np.array([*(self.tools[name] for name in names), self.none]).T
        return factors, summands


@dataclass(frozen=True)
class Isotonic:
    """Scores of choices to their probabilities: a rising line through these points, flat beyond them."""

    scores: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, scores: Rows) -> Rows:
        return np.interp(scores, self.scores, self.values)


_KINDS: dict[str, Any] = {
    "temperature": Temperature,
    "vector": VectorScaling,
    "isotonic": Isotonic,
}


def describe_map(one: Any) -> dict[str, Any] | None:
    """A map as a JSON-ready dict; None for None."""
    if one is None:
        return None
    kind = next(name for name, known in _KINDS.items() if type(one) is known)
    return {"kind": kind, **{name: getattr(one, name) for name in one.__dataclass_fields__}}


def read_map(data: Mapping[str, Any] | None) -> Any:
    """The map that `describe_map` described."""
    if data is None:
        return None
    settings = {name: _as_given(value) for name, value in data.items()}
    return _KINDS[settings.pop("kind")](**settings)


def _as_given(value: Any) -> Any:
    """A value out of JSON, which has lists where there were tuples."""
    if isinstance(value, Mapping):
        return {name: _as_given(one) for name, one in value.items()}
    return tuple(map(_as_given, value)) if isinstance(value, list | tuple) else value


def repair(rows: Rows, choices: NDArray[np.int64]) -> Rows:
    """Rows in which no option is more probable than the choice: it and those above it share what they have alike.

    The nearest row, in squares, that leaves the choice on top; the other options keep what they had.
    """
    at = np.arange(len(rows))
    chosen = rows[at, choices]
    bad = np.flatnonzero(rows.max(axis=1) > chosen)
    if len(bad) == 0:
        return rows
    others = rows[bad].copy()
    others[np.arange(len(bad)), choices[bad]] = -np.inf
    ranked = -np.sort(-others, axis=1)  # [b, k + 1], highest first
    pools = (chosen[bad, None] + np.cumsum(ranked, axis=1)) / np.arange(2, rows.shape[1] + 2)
    # The pool takes in the next highest as long as that is above the pool so far.
    before = np.concatenate([chosen[bad, None], pools[:, :-1]], axis=1)
    level = np.where(ranked > before, pools, -np.inf).max(axis=1)
    fixed = np.minimum(rows[bad], level[:, None])
    fixed[np.arange(len(bad)), choices[bad]] = level
    repaired = rows.copy()
    repaired[bad] = fixed
    return repaired


def with_top(rows: Rows, choices: NDArray[np.int64], confidence: Rows) -> Rows:
    """Rows whose choices have these probabilities; the other options share the rest in proportion.

    Where one of them would come out above the choice it is held down to it, and the others have what it leaves. A
    confidence below an equal share of the options that are possible at all is raised to it.
    """
    at = np.arange(len(rows))
    possible = (rows > 0).sum(axis=1)
    top = np.clip(confidence, 1.0 / np.maximum(possible, 1), 1.0)
    others = rows.copy()
    others[at, choices] = 0.0
    sums = others.sum(axis=1)
    scale = np.divide(1.0 - top, sums, out=np.zeros_like(sums), where=sums > 0)
    result = others * scale[:, None]
    result[at, choices] = np.where(sums > 0, top, 1.0)
    for row in np.flatnonzero(result.max(axis=1) > result[at, choices]):
        result[row] = _held_down(others[row], int(choices[row]), float(top[row]))
    return result


def _held_down(others: Rows, choice: int, top: float) -> Rows:
    held, result = np.zeros(len(others), dtype=bool), others.copy()
    while True:
        free = (others > 0) & ~held
        rest = 1.0 - top * (1 + held.sum())
        result[free] = others[free] * (max(rest, 0.0) / others[free].sum()) if free.any() else 0.0
        result[held] = top
        above = free & (result > top)
        if not above.any():
            break
        held |= above
    result[choice] = top
    return result / result.sum()


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
