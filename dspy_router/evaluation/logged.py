"""A log of actions, rewards and propensities beside a policy to be valued on it: checked, and its weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_SUM_TOLERANCE = 1e-4  # probabilities in single precision sum to one within some 1e-6


@dataclass(frozen=True)
class Logged:
    """What was logged, and what another policy would have done about it.

    Attributes:
        target: Probabilities of the policy to be valued, [n, a].
        actions: The logged actions, columns of `target`, [n].
        rewards: What they earned, [n].
        ratios: Importance weights, the target's probability of each logged action over its propensity, [n].
        weights: The same, none larger than the clip, [n].
        predicted: What a reward model expects of every action, [n, a], if there is one.
    """

    target: Floats
    actions: NDArray[np.intp]
    rewards: Floats
    ratios: Floats
    weights: Floats
    predicted: Floats | None

    @property
    def clipped(self) -> NDArray[np.bool_]:
        """Whose weight was cut, [n]."""
        return self.weights < self.ratios

    @classmethod
    def read(
        cls,
        target: ArrayLike,
        actions: ArrayLike,
        rewards: ArrayLike,
        propensities: ArrayLike,
        *,
        predicted: ArrayLike | None = None,
        clip: float | None = None,
    ) -> Logged:
        """Check a log and weigh its rows.

        Args:
            target: Probabilities of the policy to be valued, float [n, a]; rows sum to one.
            actions: The logged actions, int [n].
            rewards: float [n].
            propensities: float [n] in (0, 1].
            predicted: What a reward model expects of every action, float [n, a].
            clip: Largest weight; None leaves them.

        Raises:
            ValueError: If shapes disagree, a value is no number or outside its range, a row of `target` does not sum to
                one, or there are fewer than two rows.
        """
        probabilities = _floats("target", target, "[n, a]", axes=2)
        n, options = probabilities.shape
        if n < 2:
            raise ValueError(f"An estimate with an interval needs a log of at least 2 rows; got {n}.")
        earned = _floats("rewards", rewards, f"[{n}]", shape=(n,))
        drawn = _floats("propensities", propensities, f"[{n}]", shape=(n,))
        chosen = _actions(actions, n, options)
        if predicted is not None:
            predicted = _floats("predicted", predicted, f"[{n}, {options}]", shape=(n, options))
        _check_range("propensities", drawn, (drawn > 0) & (drawn <= 1), "in (0, 1]")
        _check_range("target", probabilities, (probabilities >= 0).all(axis=1), "probabilities of at least 0")
        sums = probabilities.sum(axis=1)
        _check_range("the sum of target", sums, abs(sums - 1) <= _SUM_TOLERANCE, "1")
        if clip is not None and not clip > 0:
            raise ValueError(f"clip is the largest weight and must be above 0, or None to clip nothing; got {clip!r}.")
        ratios = probabilities[np.arange(n), chosen] / drawn
        weights = ratios if clip is None else np.minimum(ratios, clip)
        return cls(probabilities, chosen, earned, ratios, weights, predicted)


def _floats(
    name: str, values: ArrayLike, expected: str, *, axes: int | None = None, shape: tuple[int, ...] | None = None
) -> Floats:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers, float {expected}: {error}.") from error
    if (shape is not None and array.shape != shape) or (axes is not None and array.ndim != axes):
        raise ValueError(f"{name} must be float {expected}; got the shape {list(array.shape)}.")
    finite = np.isfinite(array) if array.ndim == 1 else np.isfinite(array).all(axis=1)
    _check_range(name, array, finite, "finite")
    return array


def _actions(values: ArrayLike, n: int, options: int) -> NDArray[np.intp]:
    array = np.asarray(values)
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise ValueError(
            f"actions must be columns of target, int [{n}]; got {array.dtype} with the shape {list(array.shape)}."
        )
    # A negative one would silently count from the end.
    _check_range("actions", array, (array >= 0) & (array < options), f"a column of target, 0 to {options - 1}")
    return array.astype(np.intp)


def _check_range(name: str, values: NDArray, good: ArrayLike, expected: str) -> None:
    wrong = np.flatnonzero(~np.asarray(good, dtype=bool))
    if len(wrong):
        shown = np.array2string(values[wrong[0]], precision=4, threshold=6, edgeitems=2)
        more = f", and {len(wrong) - 1} more like it" if len(wrong) > 1 else ""
        raise ValueError(f"{name}[{wrong[0]}] must be {expected}; got {shown}{more}.")
