"""Evidence that may be looked at after every observation: the wealth of who bets that a hypothesis is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Wealth:
    """A test martingale for a change at an unknown time: some bets, each begun anew at every observation.

    With factors `f_k,t ≥ 0` whose expectation under the hypothesis, given the past, is at most 1, the wealth

        `M_t = 1/K · Σ_k Σ_{s ≤ t} π_s · f_k,s · … · f_k,t + Σ_{s > t} π_s`,  `π_s = 1/log(s − 1 + e) − 1/log(s + e)`,

    starts at 1 and is a supermartingale. By Ville's inequality the probability that it ever reaches 1/δ is at most δ,
    however often one looks. The part begun at s has not paid for what was as expected before s: a change after n
    observations costs about `log n + 2 log log n` more in the logarithm of the wealth than one at the start.

    Source: betting is Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS B 86;
    the sum over starts weighs, instead of adding up, those of Shin, Ramdas & Rinaldo 2024, "E-detectors": it bounds the
    probability of any false alarm, theirs bounds how often one comes.

    Attributes:
        logs: Logarithm of what each bet is worth, starts weighed and added up, [k]; −∞ before the first observation.
        count: How many observations there were.
        peak: Logarithm of the largest wealth so far.
    """

    logs: Floats
    count: int = 0
    peak: float = 0.0

    @classmethod
    def of(cls, bets: int) -> Wealth:
        """The wealth of so many bets before the first observation."""
        return cls(np.full(bets, -math.inf))

    @property
    def log(self) -> float:
        """Logarithm of the wealth."""
        return float(log_wealth(self.logs, self.count))

    def after(self, factors: Sequence[float] | Floats) -> Wealth:
        """The wealth after an observation that multiplies each bet by its factor, [k]."""
        grown = grow(self.logs, np.asarray(factors, dtype=np.float64), self.count + 1)
        return Wealth(grown, self.count + 1, max(self.peak, float(log_wealth(grown, self.count + 1))))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict that `from_dict` takes back."""
        logs = [value if math.isfinite(value) else None for value in self.logs.tolist()]  # JSON has no infinity
        return {"logs": logs, "count": self.count, "peak": self.peak}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Wealth:
        """The wealth that `to_dict` described."""
        logs = np.array([-math.inf if value is None else value for value in data["logs"]], dtype=np.float64)
        return cls(logs, data["count"], data["peak"])


def grow(logs: Floats, factors: Floats, t: int) -> Floats:
    """What the bets are worth after observation t, counted from 1, in logarithms; `logs` and `factors` are [..., k]."""
    begun = math.log(1 / math.log(t - 1 + math.e) - 1 / math.log(t + math.e))
    with np.errstate(divide="ignore"):
        return np.logaddexp(logs, begun) + np.log(factors)


def log_wealth(logs: Floats, t: int) -> Floats:
    """Logarithm of the wealth after t observations, what has not been bet yet included; [..., k] → [...]."""
    kept = -math.log(math.log(t + math.e))
    return np.logaddexp(np.logaddexp.reduce(logs, axis=-1) - math.log(logs.shape[-1]), kept)


def risk_bets(bound: float) -> Floats:
    """Bets that a mean in [0, 1] is above a bound: the stakes λ of the factors `1 + λ(x − bound)`, [k].

    Each is the one by which the wealth grows fastest if the mean is 1.5, 2, 3, 5 or 10 times the bound (Kelly 1956),
    `λ = (mean − bound) / (bound·(1 − bound))`; where that is no probability, halfway to 1.

    Raises:
        ValueError: If the bound is not in (0, 1).
    """
    if not 0 < bound < 1:
        raise ValueError(f"The bound of a risk must be within (0, 1); got {bound!r}.")
    means = sorted({min(times * bound, (1 + bound) / 2) for times in (1.5, 2.0, 3.0, 5.0, 10.0)})
    return np.array([(mean - bound) / (bound * (1 - bound)) for mean in means])


# Tilts towards high and low p-values, and towards the middle and the ends.
_TILTS = np.array([0.9, 0.6, 0.3, -0.3, -0.6, -0.9, 0.0, 0.0])
_CURVES = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8, -0.8])
P_VALUE_BETS = len(_TILTS)


def p_value_factors(p: float) -> Floats:
    """Factors of bets that p-values are not uniform on [0, 1]: `1 + a(2p − 1) + b(6p² − 6p + 1)`, [k].

    Both polynomials have the mean 0 under the uniform distribution, so each factor has the mean 1, as that of a betting
    function must be (Fedorova, Gammerman, Nouretdinov & Vovk 2012, "Plug-in martingales for testing exchangeability
    on-line").
    """
    return 1 + _TILTS * (2 * p - 1) + _CURVES * (6 * p * p - 6 * p + 1)
