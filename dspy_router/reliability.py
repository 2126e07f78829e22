"""How far a confidence can be trusted: calibration error, Brier score, reliability data, risk by coverage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Bin(NamedTuple):
    """Choices of similar confidence: the mean of it, the share that was right, and how many they are."""

    confidence: float
    right: float
    size: int


def reliability_bins(confidence: ArrayLike, right: ArrayLike, *, bins: int = 15) -> list[Bin]:
    """Choices in bins of equal mass, least confident first; what a reliability diagram shows.

    Bins of equal mass rather than equal width, because a good router's confidences crowd near 1; equal confidences
    share a bin, so the order of the examples has no effect.

    Args:
        confidence: Probability of each choice, [n], in [0, 1].
        right: Whether each choice was right, [n].
        bins: How many bins; fewer are used where confidences repeat.

    Raises:
        ValueError: If the two are not of one length, or empty.
    """
    values, hits = paired(confidence, right)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of = np.searchsorted(edges, values, side="left")
    members = [bin_of == number for number in np.unique(bin_of)]
    return [Bin(float(values[one].mean()), float(hits[one].mean()), int(one.sum())) for one in members]


def expected_calibration_error(confidence: ArrayLike, right: ArrayLike, *, bins: int = 15) -> float:
    """How far confidence is from the share that is right, averaged over bins of equal mass (Nguyen & O'Connor 2015).

    `Σ_b n_b / n · |mean confidence in b − share right in b|`, over the bins of `reliability_bins`. Of few choices it is
    above 0 even where the confidence is perfect: each bin's share has its own noise.

    Args:
        confidence: Probability of each choice, [n], in [0, 1].
        right: Whether each choice was right, [n].
        bins: How many bins; fewer are used where confidences repeat.

    Raises:
        ValueError: If the two are not of one length, or empty.
    """
    parts = reliability_bins(confidence, right, bins=bins)
    return sum(one.size * abs(one.confidence - one.right) for one in parts) / sum(one.size for one in parts)


def brier_score(confidence: ArrayLike, right: ArrayLike) -> float:
    """Mean of `(confidence − right)²` (Brier 1950, for the event that the choice is right); 0 is perfect.

    Raises:
        ValueError: If the two are not of one length, or empty.
    """
    values, hits = paired(confidence, right)
    return float(((values - hits) ** 2).mean())


def risk_coverage(scores: ArrayLike, right: ArrayLike, *, points: int | None = None) -> list[tuple[float, float]]:
    """Share of the choices kept and share of wrong ones among them, for every bar on the score, strictest first.

    El-Yaniv & Wiener 2010, "On the foundations of noise-free selective classification". Choices of one score are kept
    or handed over together.

    Args:
        scores: How sure each choice is, [n]; higher is surer.
        right: Whether each choice was right, [n].
        points: At most so many, evenly spread; None for all.

    Raises:
        ValueError: If the two are not of one length, or empty.
    """
    values, hits = paired(scores, right)
    order = np.argsort(-values, kind="stable")
    ranked, wrong = values[order], np.cumsum(1.0 - hits[order])
    ends = np.flatnonzero(np.append(ranked[:-1] != ranked[1:], True))
    if points is not None and len(ends) > points:
        ends = ends[np.unique(np.linspace(0, len(ends) - 1, points).round().astype(int))]
    return [((end + 1) / len(values), float(wrong[end]) / (end + 1)) for end in ends.tolist()]


def paired(values: ArrayLike, flags: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two sequences as arrays.

    Raises:
        ValueError: If the two are not of one length, or empty.
    """
    first, second = np.asarray(values, dtype=float), np.asarray(flags, dtype=float)
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise ValueError(
            f"Expected two non-empty sequences of one length, got shapes {first.shape} and {second.shape}."
        )
    return first, second
