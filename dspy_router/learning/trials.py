"""Trials: what was tried on which example, and what is worth trying next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dspy_router.learning.losses import aspire, evidence
from dspy_router.runtime.names import check_names


@dataclass(frozen=True)
class ExploreConfig:
    """How to spend tries.

    Attributes:
        tries: Most tries an example, on average.
        first: Share of the examples that the first round tries, when the policy knows least.
        growth: How many times as many each later round has tried, until all were tried once.
        rounds: Most rounds.
        least_gain: Expected improvement, as a share of the rewards' range, below which a try is not worth making.
        noise: Share of the rewards that are expected to be wrong, in [0, 0.5): with more than none, what was found is
            tried against where the policy has learned otherwise, and the last training is kept from being sure of it
            (`smoothing`, `robustness`, `members`).
        width: Most tries of one example in a late round. It gets more than one where no option is likely: as many as
            together are as likely as not to hold the best.
        epochs: Passes over the examples between rounds; the last training has those of its `TrainConfig`.
    """

    tries: float = 3.0
    first: float = 0.1
    growth: float = 3.0
    rounds: int = 12
    least_gain: float = 0.005
    noise: float = 0.0
    width: int = 8
    epochs: int = 5

    def __post_init__(self) -> None:
        for name, low, high in (("first", 0, 1), ("least_gain", 0, 1), ("growth", 1, 1e6)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie in [{low}, {high}], got {getattr(self, name)!r}.")
        if not 0 <= self.noise < 0.5:
            raise ValueError(f"noise must lie in [0, 0.5), got {self.noise!r}.")
        for name in ("rounds", "width", "epochs"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
        if not self.tries > 0:
            raise ValueError(f"tries must be a positive number of tries an example, got {self.tries!r}.")

    @property
    def temperature(self) -> float:
        """The temperature of the soft expected reward at which a reward counts as much as it should with this noise.

        A reward of 1 where it is 0 in a share ε of the cases, and the other way round, speaks for a tool with odds of
        `(1 − ε)/ε`; those of `e^{(r − 1/2)/τ}` between 1 and 0 are the square of that at `τ = 1 / (2 ln((1 − ε)/ε))`.
        No noise counts as 1e-4, as no reward is trusted without end.
        """
        noise = min(max(self.noise, 1e-4), 0.49)
        return 1.0 / (2.0 * math.log((1.0 - noise) / noise))

    @property
    def smoothing(self) -> float:
        """The label smoothing of the last training on rewards of this noise: the noise itself."""
        return self.noise

    @property
    def robustness(self) -> float:
        """How far the last training bounds the loss of an example: not at all without noise."""
        return 0.5 if self.noise > 0 else 0.0

    @property
    def members(self) -> int | None:
        """How many hidden layers the last training teaches: where rewards are wrong, each is misled elsewhere."""
        return 3 if self.noise > 0 else None


class Trials:
    """What was tried on n examples with k tools and *none*, and what is worth trying next.

    The rule: after the tries so far, the probability that an option is the best one is `q ∝ π(a|x) e^{(u(r) − ½)/τ}`,
    the policy's probability times what its reward says (nothing, if it was not tried); u is `losses.aspire`, so that a
    fair reward speaks against a tool once other examples have found better. The expected improvement of a try is
    `q · (maximum − best reward so far)`, as it earns the maximum with probability q. Tries are made by it, the largest
    first, until it falls below `least_gain`; so an example at the maximum is never tried again, unless rewards may be
    wrong and the policy has learned otherwise.

    Source: expected improvement, Jones et al. 1998, "Efficient global optimization of expensive black-box functions",
    with the policy as the model. Another rule is a subclass with other `gains`.

    Attributes:
        options: Names of the tools and, last, None.
        rewards: float [n, k + 1], NaN where not tried.
        closed: Options that gave no reward or may not be tried, bool [n, k + 1].
    """

    def __init__(
        self,
        count: int,
        options: Sequence[str | None],
        *,
        maximum: float = 1.0,
        costly: Sequence[str] = (),
        forbidden: Sequence[str] = (),
    ) -> None:
        """Nothing was tried yet.

        Args:
            count: n.
            options: Names of the tools and, last, None.
            maximum: The reward that cannot be bettered.
            costly: Tools that are tried on an example when every other one was.
            forbidden: Tools that are never tried.

        Raises:
            ValueError: If a costly or forbidden tool is none of the options.
        """
        check_names([*costly, *forbidden], [option for option in options if option is not None])
        self.options, self.maximum = tuple(options), maximum
        self.rewards = torch.full((count, len(self.options)), math.nan)
        self.closed = torch.zeros(count, len(self.options), dtype=torch.bool)
        self.closed[:, [i for i, option in enumerate(self.options) if option in forbidden]] = True
        self.costly = torch.tensor([option in costly for option in self.options])

    @property
    def tried(self) -> Tensor:
        """Which options gave a reward, bool [n, k + 1]."""
        return self.rewards.isfinite()

    @property
    def range(self) -> tuple[float, float]:
        """The least reward seen, 0 at most, and the maximum."""
        known = self.rewards[self.tried]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, self.maximum)
        return min(low, 0.0 if self.maximum > 0 else self.maximum - 1.0), max(high, self.maximum)

    @property
    def unit(self) -> Tensor:
        """The rewards as shares of their range, float [n, k + 1]."""
        low, high = self.range
        return (self.rewards - low) / (high - low)

    @property
    def level(self) -> float:
        """The reward, as a share of the range, that speaks neither for a tool nor against it.

        It is the mean of what the examples have earned at best, but at least half of the range; so it rises as better
        tools are found.
        """
        tried = self.tried.any(1)
        mean = float(self.unit[tried].nan_to_num(0.0).amax(1).mean()) if tried.any() else 0.5
        return min(max(mean, 0.5), 0.95)

    def record(self, row: int, option: str | None, reward: float | None) -> None:
        """Take down what a try gave.

        Raises:
            ValueError: If the option is none of these.
        """
        if option not in self.options:
            check_names([str(option)], [one for one in self.options if one is not None])
        column = self.options.index(option)
        if reward is None:
            self.closed[row, column] = True
        else:
            self.rewards[row, column] = reward

    def gains(self, probabilities: Tensor, *, temperature: float, noisy: bool = False) -> Tensor:
        """The expected improvement of trying each option next, in shares of the rewards' range.

        Args:
            probabilities: The policy's, float [n, k + 1].
            temperature: τ, in shares of the rewards' range.
            noisy: Whether a reward may be wrong.

        Returns:
            float [n, k + 1], 0 where an option was tried or may not be.
        """
        unit = self.unit
        said = evidence(aspire(unit, self.level), temperature=temperature, baseline=0.5)
        posterior = (probabilities.clamp_min(1e-9).log() + said).softmax(1)
        # Where rewards may be wrong, what was found is worth its reward only as far as the policy believes it.
        best = (unit * posterior if noisy else unit).nan_to_num(0.0).amax(1, keepdim=True)
        open_ = ~(self.tried | self.closed)
        cheap = open_ & ~self.costly
        open_ = torch.where(cheap.any(1, keepdim=True), cheap, open_)
        return (posterior * (1.0 - best)).masked_fill(~open_, 0.0)
