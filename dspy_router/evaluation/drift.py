"""Drift: whether what a router was calibrated for still looks true, decision by decision, at any time."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dspy_router.evaluation.reference import Reference
from dspy_router.evaluation.wealth import P_VALUE_BETS, Wealth, p_value_factors, risk_bets
from dspy_router.records import Decision, Episode

Subject = Literal["risk", "escalated", "confidence"]


@dataclass(frozen=True)
class Finding:
    """What a monitor has found about one thing.

    Attributes:
        subject: The error rate among kept decisions (`risk`), the share handed over (`escalated`), or the distribution
            of the confidence.
        seen: How many observations it rests on.
        value: The share of wrong ones among those that were checked, the share handed over, or the mean of the p-values
            of the confidences: below ½ they are lower than they were. None without observations.
        reference: What it should be at most, was, or should be: ½. None if that is not known.
        evidence: How many times as much a gambler has who bet on a change, and stopped at the best moment.
        needed: What it takes for an alarm.
        alarm_after: After how many observations it first had that much; None if it never has.
    """

    subject: Subject
    seen: int
    value: float | None
    reference: float | None
    evidence: float
    needed: float
    alarm_after: int | None


@dataclass
class _Test:
    """One running test: its wealth, and when it first was enough."""

    wealth: Wealth
    total: float = 0.0
    alarm_after: int | None = None

    def see(self, factors: Any, value: float, needed: float) -> None:
        self.wealth = self.wealth.after(factors)
        self.total += value
        if self.alarm_after is None and self.wealth.peak >= math.log(needed):
            self.alarm_after = self.wealth.count


@dataclass
class _Ranks:
    """How a new value ranks among all before it, as a p-value; values are known by their bin alone."""

    counts: list[int] = field(default_factory=list)

    def rank(self, bin_: int, draw: float) -> float:
        """The share of values below, with that of equal ones, itself included, times the draw."""
        below, equal = sum(self.counts[:bin_]), self.counts[bin_] + 1
        p = (below + draw * equal) / (sum(self.counts) + 1)
        self.counts[bin_] += 1
        return p


class Monitor:
    """Watches a stream of decisions, and says when what the router was calibrated for no longer looks true.

    Three tests run at once, each at its share of `1 − confidence`, so that the probability that any of them ever raises
    a false alarm is at most that, however long the stream is and however often one looks:

    * `risk`: that the error rate among kept decisions is at most `max_risk`. It counts the kept decisions that were
      checked. What is assumed: given all before it, a kept decision is wrong with at most that probability, and whether
      it was checked was drawn without a look at it (or with known propensities, see `update`). Nothing is assumed of
      the order or the independence of the decisions.
    * `escalated` and `confidence`: that decisions are as they were in the reference, and then in the stream so far.
      What is assumed: reference and stream are exchangeable as long as nothing changes. Bursts of alike requests break
      that, and are reported as the change they are. Each decision's rank among all before it gives a p-value
      (randomised among equals, with numbers that follow from the seed), independent and uniform under exchangeability,
      the finite reference accounted for (Vovk, Nouretdinov & Gammerman 2003, "Testing exchangeability on-line"). A
      change is noticed as long as what came after it is not the greater part.

    The evidence is a test martingale; see `Wealth`. An alarm stays. It says that the guarantee should not be relied on
    until the router is calibrated anew; one about `escalated` or `confidence` alone may also mean that the requests
    have become easier.
    """

    def __init__(
        self,
        *,
        max_risk: float | None = None,
        confidence: float = 0.95,
        reference: Reference | None = None,
        check_error: float = 0.0,
        check_rate: float = 1.0,
        seed: int = 0,
    ) -> None:
        """Begin to watch.

        Args:
            max_risk: The guaranteed error rate among kept decisions; None to leave it untested.
            confidence: With what probability there is never a false alarm.
            reference: What decisions were like at the calibration; without one the stream is compared with its past.
            check_error: How often a check itself is wrong at most, such as a language model's error rate: so much more
                disagreement is put down to it.
            check_rate: The least propensity that `update` will be given.
            seed: Of the draws among equal confidences.

        Raises:
            ValueError: If a value is out of its range.
        """
        for name, value in (("confidence", confidence), ("max_risk", 0.5 if max_risk is None else max_risk)):
            if not 0 < value < 1:
                raise ValueError(f"{name} must be within (0, 1); got {value!r}.")
        if not 0 <= check_error < 1 or not 0 < check_rate <= 1:
            raise ValueError(
                f"check_error must be in [0, 1) and check_rate in (0, 1]; got {check_error!r} and {check_rate!r}."
            )
        if max_risk is not None and max_risk + check_error >= 1:
            raise ValueError(
                f"max_risk and check_error together must be below 1; got {max_risk!r} and {check_error!r}."
            )
        self.max_risk, self.confidence, self.check_error, self.check_rate = (
            max_risk,
            confidence,
            check_error,
            check_rate,
        )
        self.reference = Reference() if reference is None else reference
        self.seed, self._seen = seed, 0
        self._ranks = {
            "escalated": _Ranks([self.reference.escalated, self.reference.kept]),
            "confidence": _Ranks(list(self.reference.counts)),
        }
        self._tests: dict[Subject, _Test] = {
            "escalated": _Test(Wealth.of(P_VALUE_BETS)),
            "confidence": _Test(Wealth.of(P_VALUE_BETS)),
        }
        if max_risk is not None:
            self._stakes = risk_bets(max_risk + check_error) * check_rate
            self._tests["risk"] = _Test(Wealth.of(len(self._stakes)))

    @classmethod
    def over(cls, episodes: Iterable[Episode | tuple[Episode, Decision | None]], **settings: Any) -> Monitor:
        """A monitor that has seen a log: each episode's first decision, and whether its label says that it was right.

        Args:
            episodes: Episodes in their order, alone or with what the router would have decided beside a language model.
            **settings: As for a new monitor.
        """
        monitor = cls(**settings)
        for item in episodes:
            episode, shadow = (item, None) if isinstance(item, Episode) else item
            if (seen := judged(episode, shadow)) is not None:
                monitor.update(*seen)
        return monitor

    @property
    def needed(self) -> float:
        """The evidence it takes for an alarm: the confidence is shared among the tests."""
        return len(self._tests) / (1 - self.confidence)

    @property
    def alarm(self) -> tuple[Subject, ...]:
        """What no longer looks true; empty as long as all does."""
        return tuple(subject for subject, test in self._tests.items() if test.alarm_after is not None)

    def update(self, decision: Decision, right: bool | None = None, *, propensity: float | None = None) -> None:
        """See one decision of the router.

        Args:
            decision: The router's own, kept or handed over.
            right: Whether it was right, where somebody checked; None where nobody did.
            propensity: The probability with which this decision was to be checked, where that depends on the decision,
                for checked and unchecked ones alike. None where all kept ones are checked at one rate: then the
                unchecked ones say nothing of the risk.

        Raises:
            ValueError: If the propensity is not between the monitor's `check_rate` and 1.
        """
        if propensity is not None and not self.check_rate <= propensity <= 1:
            raise ValueError(
                f"The propensity of a check must be between check_rate, {self.check_rate:g}, and 1; got {propensity!r}."
            )
        self._seen += 1
        draws = random.Random(f"{self.seed}/{self._seen}")
        kept = int(decision.accepted)
        p = self._ranks["escalated"].rank(kept, draws.random())
        self._tests["escalated"].see(p_value_factors(p), 1 - kept, self.needed)
        bin_ = bisect_right(self.reference.edges, decision.confidence)
        p = self._ranks["confidence"].rank(bin_, draws.random())
        self._tests["confidence"].see(p_value_factors(p), p, self.needed)
        if self.max_risk is None or not kept or (right is None and propensity is None):
            return
        # Weighed by the propensity its expectation is the error rate, whether or not this one was checked.
        wrong = 0.0 if right is None or right else 1.0 / (1.0 if propensity is None else propensity)
        factors = 1 + self._stakes * (wrong - self.max_risk - self.check_error)
        self._tests["risk"].see(factors, wrong, self.needed)

    def report(self) -> tuple[Finding, ...]:
        """What was found of each, so far."""
        before = self.reference.kept + self.reference.escalated
        references: dict[Subject, float | None] = {
            "risk": None if self.max_risk is None else self.max_risk + self.check_error,
            "escalated": self.reference.escalated / before if before else None,
            "confidence": 0.5,
        }
        return tuple(
            Finding(
                subject,
                test.wealth.count,
                test.total / test.wealth.count if test.wealth.count else None,
                references[subject],
                math.exp(min(test.wealth.peak, 700.0)),
                self.needed,
                test.alarm_after,
            )
            for subject, test in self._tests.items()
        )

    def to_dict(self) -> dict[str, Any]:
        """All a monitor needs to go on after a restart, JSON-ready."""
        names = ("max_risk", "confidence", "check_error", "check_rate", "seed")
        return {
            **{name: getattr(self, name) for name in names},
            "reference": asdict(self.reference),
            "seen": self._seen,
            "ranks": {name: ranks.counts for name, ranks in self._ranks.items()},
            "tests": {
                subject: {"wealth": test.wealth.to_dict(), "total": test.total, "alarm_after": test.alarm_after}
                for subject, test in self._tests.items()
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Monitor:
        """The monitor that `to_dict` described, to go on with."""
        names = ("max_risk", "confidence", "check_error", "check_rate", "seed")
        before = data["reference"]
        reference = Reference(tuple(before["edges"]), tuple(before["counts"]), before["kept"], before["escalated"])
        monitor = cls(**{name: data[name] for name in names}, reference=reference)
        monitor._seen = data["seen"]
        monitor._ranks = {name: _Ranks(list(counts)) for name, counts in data["ranks"].items()}
        for subject, test in data["tests"].items():
            monitor._tests[subject] = _Test(Wealth.from_dict(test["wealth"]), test["total"], test["alarm_after"])
        return monitor


def judged(episode: Episode, shadow: Decision | None = None) -> tuple[Decision, bool | None] | None:
    """The router's own decision in an episode, and whether it was right as far as that is known.

    It was right if it chose what the label names, or, where the query was drawn to be checked (`audited`) or the router
    ran beside a language model, what that chose. What a query was handed over for counts as handed over.

    Args:
        episode: A logged one.
        shadow: What the router would have decided where a language model acted.

    Returns:
        None where the router's own decision is not known: it was drawn to explore, or forced.
    """
    if not episode.decisions:
        return None
    acting = episode.decisions[0]
    own = acting if shadow is None else shadow
    label = episode.labels[0] if episode.labels else None
    if label is None and own is not acting and acting.source == "lm" and acting.error is None:
        label = () if acting.tool is None else (acting.tool,)
    if own.source == "lm":
        if acting.audited:
            return None  # it was drawn, and what the router itself would have done was not kept
        return Decision(own.top(1)[0][0], own.probabilities, own.none_probability, accepted=False), None
    if own.confidence < own.top(1)[0][1]:
        return None
    right = None if label is None else (own.tool in label if label else own.tool is None)
    return own, right
