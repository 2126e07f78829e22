"""What a calibration found: how far the confidence can be trusted, what was certified, what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dspy_router.reliability import Bin
from dspy_router.runtime.certificate import Certificate


class Trust(NamedTuple):
    """How far a confidence can be trusted.

    Attributes:
        calibration_error: Expected calibration error, 15 bins of equal mass.
        brier: Brier score of the confidence.
        log_loss: Mean `−log` of the probability of the right options.
        bins: What a reliability diagram shows.
    """

    calibration_error: float
    brier: float
    log_loss: float
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {**self._asdict(), "bins": [one._asdict() for one in self.bins]}


class Recall(NamedTuple):
    """How often a right tool is among the k most probable ones, where a tool is right at all.

    Attributes:
        share: On the examples.
        at_least: The exact lower bound (Clopper–Pearson) of its probability, at the report's confidence.
        examples: On how many examples a tool is right.
    """

    share: float
    at_least: float
    examples: int


class Costs(NamedTuple):
    """Mean cost of a decision.

    Attributes:
        expected: With the bar; cross-validated, as the bar was found on the same examples.
        always_asking: If every decision were handed to the language model.
        never_asking: If none were.
    """

    expected: float
    always_asking: float
    never_asking: float


@dataclass(frozen=True)
class CalibrationReport:
    """What a calibration found. Every share is in [0, 1].

    Attributes:
        examples: How many it rests on.
        dropped: How many were left out because the router was trained on them.
        accuracy: Share of the choices that were right; a calibration does not change it.
        method: The calibration that was picked.
        row_losses: Held-out log-loss of every map of whole rows, by name; the least was picked.
        top_losses: Held-out log-loss of the confidence by what may give it above that map, by name; likewise.
        before: Trust in the policy's own probabilities.
        after: In the calibrated ones; held out: each example was calibrated by what the others taught.
        confidence: Probability with which all certificates hold jointly, and each lower bound of `recall` by itself.
        certificates: What was asked for and what could be certified.
        coverage: Share of the examples whose decision is accepted.
        wrong_kept: Share of wrong ones among those; None if nothing is accepted. No bound: see the certificates.
        recall: Recall of the right tool among the k most probable tools, by k: what a language model that is shown only
            those can still choose.
        costs: With `costs`, what the bar is expected to save.
        curve: Coverage and risk for every bar on the score, strictest first; at most 200 points.
    """

    examples: int
    dropped: int
    accuracy: float
    method: str
    row_losses: Mapping[str, float]
    top_losses: Mapping[str, float]
    before: Trust
    after: Trust
    confidence: float
    certificates: tuple[Certificate, ...]
    coverage: float
    wrong_kept: float | None
    recall: Mapping[int, Recall]
    costs: Costs | None
    curve: tuple[tuple[float, float], ...]

    @property
    def certified(self) -> bool | None:
        """Whether everything that was asked for could be certified; None if nothing was asked for."""
        return all(one.certified for one in self.certificates) if self.certificates else None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "row_losses": dict(self.row_losses),
            "top_losses": dict(self.top_losses),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "certificates": [
                {**one.to_dict(), "certified": one.certified, "coverage": one.coverage} for one in self.certificates
            ],
            "recall": {str(k): one._asdict() for k, one in self.recall.items()},
            "costs": None if self.costs is None else self.costs._asdict(),
            "curve": [list(point) for point in self.curve],
            "certified": self.certified,
        }
