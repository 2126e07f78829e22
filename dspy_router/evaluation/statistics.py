"""Figures from plain arrays: an interval for a share, calibration, and how well a score separates two kinds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

_NORMAL_95 = 1.959963984540054  # two-sided 95 % quantile of the standard normal distribution


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share (Wilson 1927).

    Unlike the textbook interval `p ± 1.96·√(p(1−p)/n)` it stays within [0, 1] and is not empty at 0 or n successes.

    Args:
        successes: How many succeeded, 0 to n.
        n: Out of how many; at least 1.

    Raises:
        ValueError: If `successes` is not within 0 to n, or n is 0.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"An interval needs 0 ≤ successes ≤ n and n ≥ 1; got {successes} of {n}.")
    share, z2 = successes / n, _NORMAL_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _NORMAL_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At the ends the formula is 0 or 1 but for rounding.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def expected_calibration_error(confidence: ArrayLike, right: ArrayLike, *, bins: int = 15) -> float:
    """How far confidence is from the share that is right, averaged over bins of equal mass (Nguyen & O'Connor 2015).

    `Σ_b n_b / n · |mean confidence in b − share right in b|`. Bins of equal mass rather than equal width, because a
    good router's confidences crowd near 1; equal confidences share a bin, so the order of the examples has no effect.

    Args:
        confidence: Probability of each choice, [n], in [0, 1].
        right: Whether each choice was right, [n].
        bins: How many bins; fewer are used where confidences repeat.

    Raises:
        ValueError: If the two are not of one length, or empty.
    """
    values, hits = _paired(confidence, right)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of = np.searchsorted(edges, values, side="left")
    gaps = [abs(float((values[bin_of == b] - hits[bin_of == b]).sum())) for b in np.unique(bin_of)]
    return sum(gaps) / len(values)


def brier_score(confidence: ArrayLike, right: ArrayLike) -> float:
    """Mean of `(confidence − right)²` (Brier 1950, for the event that the choice is right); 0 is perfect.

    Raises:
        ValueError: If the two are not of one length, or empty.
    """
    values, hits = _paired(confidence, right)
    return float(((values - hits) ** 2).mean())


def auroc(score: ArrayLike, positive: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counting half: the area under the ROC curve.

    Args:
        score: Higher for what should be positive, [n].
        positive: Which ones are, [n]; both kinds must occur.

    Raises:
        ValueError: If one kind is missing, the two are not of one length, or a score is not a number.
    """
    from sklearn.metrics import roc_auc_score

    values, kinds = _paired(score, positive)
    if kinds.min() == kinds.max():
        raise ValueError(f"The area under the ROC curve needs both kinds; all {len(kinds)} are of one.")
    return float(roc_auc_score(kinds, values))


def _paired(values: ArrayLike, flags: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(values, dtype=float), np.asarray(flags, dtype=float)
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise ValueError(
            f"Expected two non-empty sequences of one length, got shapes {first.shape} and {second.shape}."
        )
    return first, second
