"""An estimate with its confidence interval, from terms whose mean it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SYMMETRIC = 1e-6  # a skewness below which the correction is lost in rounding


@dataclass(frozen=True)
class Estimate:
    """A policy's value, or the difference of two values, as a log tells it.

    Attributes:
        value: The estimate of the mean reward.
        low: Lower end of its confidence interval.
        high: Upper end. No interval knows of what the log does not show: where the policy does what was hardly ever
            tried, the rare row with a huge weight has probably not been seen yet, and the interval promises too much.
        effective_sample_size: How many rows, drawn by the policy itself, would say as much: Kish's `(Σw)² / Σw²` of the
            weights; for a difference, of the absolute differences of the two policies' weights.
        n: How many rows the log has.
        clipped: How many weights were clipped; for a difference, in how many rows one was.
        mean_weight: Mean of the weights before clipping, whose expectation is 1; for a difference, the one of the two
            means that is farther from it. Far from 1, the propensities are wrong, or the policy does what was never
            tried.
    """

    value: float
    low: float
    high: float
    effective_sample_size: float
    n: int
    clipped: int
    mean_weight: float


def mean_interval(values: ArrayLike, *, level: float = 0.95, spent: int = 1) -> tuple[float, float]:
    """A two-sided confidence interval of a mean, corrected for skewness.

    With importance weights a term is mostly small and rarely huge, and the textbook interval `m ± z·s/√n` misses the
    mean far more often than it says. Hall's cubic transformation of the t-statistic takes the skewness γ out of it,
    `m − s/√n · t(±z)` with `t(x) = 3√n/γ · [∛(1 + γ(x/√n − γ/6n)) − 1]`, which for γ → 0 is the textbook's again.

    Source: Hall 1992, "On the Removal of Skewness by Transformation", Journal of the Royal Statistical Society B 54.

    Args:
        values: float [n].
        level: Confidence of the interval, in (0, 1).
        spent: How many coefficients, the mean among them, were fitted to the values; `n − spent` divides the sum of
            squares of s.

    Raises:
        ValueError: If the level is outside (0, 1), or there are no more values than coefficients.
    """
    terms = np.asarray(values, dtype=np.float64)
    n, mean = len(terms), float(terms.mean())
    if not 0 < level < 1:
        raise ValueError(f"level is the confidence of an interval, in (0, 1), such as 0.95; got {level!r}.")
    if n <= spent:
        raise ValueError(f"An interval needs more than {spent} rows; got {n}.")
    z = NormalDist().inv_cdf((1 + level) / 2)
    deviations = terms - mean
    variance = float((deviations**2).mean())
    skewness = float(((deviations / math.sqrt(variance)) ** 3).mean()) if variance > 0 else 0.0
    error = math.sqrt(variance * n / (n - spent)) / math.sqrt(n)

    def straighten(x: float) -> float:
        if abs(skewness) < _SYMMETRIC:
            return x
        inner = 1 + skewness * (x / math.sqrt(n) - skewness / (6 * n))
        return 3 * math.sqrt(n) / skewness * (math.cbrt(inner) - 1)

    return mean - error * straighten(z), mean - error * straighten(-z)


def effective_size(weights: NDArray[np.float64]) -> float:
    """Kish's effective sample size `(Σw)² / Σw²` of weights of at least 0, [n]; 0 where all are 0."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0
