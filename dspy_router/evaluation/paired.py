"""Two programs on the same examples: the interval of their difference, whether it is chance, and many pairs at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dspy_router.evaluation.statistics import wilson_interval
from dspy_router.reliability import paired

RESAMPLES = 9_999
_AT_ONCE = 10_000_000  # numbers drawn in one go, 80 MB
_Z_95_LEVEL = 0.95

MCNEMAR = "McNemar, exact"
PERMUTATION = "sign-flip permutation"


@dataclass(frozen=True)
class PairedTest:
    """Whether two programs differ, on the examples that both have answered.

    Attributes:
        first: Name of one program.
        second: Name of the other.
        n: How many examples both have answered.
        difference: Mean of the second's scores minus that of the first's.
        low: Lower end of the difference's interval; None where fewer than two examples are shared.
        high: Upper end.
        test: Which test: exact McNemar where all scores are 0 or 1, else a permutation test.
        p: Two-sided p-value.
        p_holm: The same, adjusted for the number of pairs.
    """

    first: str
    second: str
    n: int
    difference: float
    low: float | None
    high: float | None
    test: str
    p: float
    p_holm: float


def mean_and_interval(
    scores: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> tuple[float, tuple[float, float] | None]:
    """A mean with its interval: Wilson's for scores of 0 and 1 at 95 %, else the bootstrap's.

    Args:
        scores: float [n], n ≥ 1.
        level: Confidence of the interval, in (0, 1).
        seed: What the resampling starts from.

    Returns:
        The mean, and the interval; None in its place for a single score that says nothing of the others.

    Raises:
        ValueError: If there is no score, or the level is outside (0, 1).
    """
    values = _scores(scores)
    _check_level(level)
    mean = float(values.mean())
    # Unlike the bootstrap's, Wilson's is no empty interval where all went well, or nothing.
    if is_binary(values) and level == _Z_95_LEVEL:
        return mean, wilson_interval(int(values.sum()), len(values))
    return mean, bootstrap_interval(values, level=level, seed=seed) if len(values) > 1 else None


def bootstrap_interval(values: ArrayLike, *, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean (Efron & Tibshirani 1993, chapter 13); of differences, a paired one.

    Args:
        values: float [n], n ≥ 2: scores, or the differences of two programs' scores on the same examples.
        level: Confidence of the interval, in (0, 1).
        seed: What the resampling starts from; the same values and seed give the same interval.

    Raises:
        ValueError: If there are fewer than two values, or the level is outside (0, 1).
    """
    from scipy.stats import bootstrap

    sample = _scores(values)
    _check_level(level)
    if len(sample) < 2:
        raise ValueError(f"A bootstrap interval needs at least two values; got {len(sample)}.")
    if np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])
    found = bootstrap(
        (sample,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, _AT_ONCE // len(sample)),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def paired_test(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> tuple[str, float]:
    """The test for two programs' scores on the same examples, and its two-sided p-value.

    Args:
        first: Scores of one program, [n].
        second: Scores of the other on the same examples, [n].
        seed: What the permutation test draws from.

    Raises:
        ValueError: If the two are not of one length, or empty.
    """
    left, right = paired(first, second)
    if is_binary(left) and is_binary(right):
        return MCNEMAR, mcnemar(left, right)
    return PERMUTATION, permutation_p(left, right, seed=seed)


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Exact two-sided p-value of McNemar's test (McNemar 1947): the sign test on the examples where the two disagree.

    With b examples that only the first got right and c that only the second did, the p-value is that of b successes in
    b + c tosses of a fair coin; 1 where they never disagree.

    Args:
        first: Whether one program was right, [n] of 0 and 1.
        second: Whether the other was, on the same examples, [n].

    Raises:
        ValueError: If the two are not of one length, or empty, or a score is neither 0 nor 1.
    """
    from scipy.stats import binomtest

    left, right = paired(first, second)
    if not is_binary(left) or not is_binary(right):
        raise ValueError("McNemar's test is for scores of 0 and 1; for others take permutation_p.")
    only_first, only_second = int((left > right).sum()), int((right > left).sum())
    disagreements = only_first + only_second
    return float(binomtest(only_first, disagreements, 0.5).pvalue) if disagreements else 1.0


def permutation_p(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> float:
    """Two-sided p-value of the paired permutation test (Fisher 1935): each difference may as well have the other sign.

    Exact where there are few enough sign patterns, else from random ones.

    Args:
        first: Scores of one program, [n].
        second: Scores of the other on the same examples, [n].
        seed: What random patterns are drawn from.

    Raises:
        ValueError: If the two are not of one length, or empty.
    """
    from scipy.stats import permutation_test

    left, right = paired(first, second)
    differences = right - left
    differences = differences[differences != 0]  # a sign makes nothing of them, and none left makes a test of nothing
    if len(differences) < 2:
        return 1.0  # of a single one either sign is as far from zero
    found = permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=RESAMPLES,
        batch=max(1, _AT_ONCE // len(differences)),
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (Holm 1979): reject those below α, and any false rejection has probability at most α.

    The k-th smallest of m is multiplied by m − k + 1; none is smaller than one before it, nor larger than 1.

    Args:
        p_values: One a test, in any order.

    Returns:
        The adjusted ones in the same order.
    """
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[number]))
        adjusted[number] = largest
    return adjusted


def compare_pairs(
    scores: Sequence[tuple[str, dict[str, float]]], *, level: float = 0.95, seed: int = 0
) -> list[PairedTest]:
    """Every pair of programs, each on the examples that both have answered; a pair that shares none is left out.

    Args:
        scores: Name of each program and its scores by example.
        level: Confidence of the intervals, in (0, 1).
        seed: What resampling starts from.

    Raises:
        ValueError: If the level is outside (0, 1).
    """
    found: list[PairedTest] = []
    for number, (first, left) in enumerate(scores):
        for second, right in scores[number + 1 :]:
            shared = [example for example in left if example in right]
            if not shared:
                continue
            one, other = [left[key] for key in shared], [right[key] for key in shared]
            difference, interval = difference_and_interval(one, other, level=level, seed=seed)
            low, high = interval or (None, None)
            test, p = paired_test(one, other, seed=seed)
            found.append(PairedTest(first, second, len(shared), difference, low, high, test, p, p))
    adjusted = holm([pair.p for pair in found])
    return [replace(pair, p_holm=p_holm) for pair, p_holm in zip(found, adjusted, strict=True)]


def difference_and_interval(
    first: ArrayLike, second: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> tuple[float, tuple[float, float] | None]:
    """Mean of the second's scores minus the first's, with its paired bootstrap interval; None for a single example.

    Raises:
        ValueError: If the two are not of one length, or empty, or the level is outside (0, 1).
    """
    left, right = paired(first, second)
    differences = right - left
    _check_level(level)
    interval = bootstrap_interval(differences, level=level, seed=seed) if len(differences) > 1 else None
    return float(differences.mean()), interval


def is_binary(scores: ArrayLike) -> bool:
    """Whether all scores are 0 or 1."""
    return bool(np.isin(np.asarray(scores, dtype=np.float64), (0.0, 1.0)).all())


def _scores(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"Expected a non-empty sequence of numbers; got an array of shape {array.shape}.")
    return array


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is the confidence of an interval, in (0, 1), such as 0.95; got {level!r}.")
