"""Figures from plain arrays: an interval for a share, and how well a score separates two kinds."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from dspy_router.reliability import paired

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


def auroc(score: ArrayLike, positive: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counting half: the area under the ROC curve.

    Args:
        score: Higher for what should be positive, [n].
        positive: Which ones are, [n]; both kinds must occur.

    Raises:
        ValueError: If one kind is missing, the two are not of one length, or a score is not a number.
    """
    from sklearn.metrics import roc_auc_score

    values, kinds = paired(score, positive)
    if kinds.min() == kinds.max():
        raise ValueError(f"The area under the ROC curve needs both kinds; all {len(kinds)} are of one.")
    return float(roc_auc_score(kinds, values))
