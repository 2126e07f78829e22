"""A router that can be calibrated: its calibration, whether that still belongs to it, and what happens where not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from torch import Tensor

from dspy_router.records import ToolCard
from dspy_router.routing.encoders import Encoder
from dspy_router.routing.many.crowd import Crowd
from dspy_router.routing.policies import Policy, Tools
from dspy_router.routing.trust.calibrating import Request, calibrate
from dspy_router.routing.trust.identity import Watch
from dspy_router.routing.trust.report import CalibrationReport
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.routing.words import Vocabulary
from dspy_router.runtime.calibration import Calibration, StaleCalibration
from dspy_router.runtime.certificate import Identity

logger = logging.getLogger(__name__)


class Calibratable:
    """What of a `Router` is about its calibration; the attributes are the router's."""

    cards: tuple[ToolCard, ...]
    space: Tools | Crowd
    encoder: Encoder
    policy: Policy
    vocabulary: Vocabulary
    seen: SeenTexts
    _lock: threading.Lock
    _watch: Watch
    _calibration: Calibration | None
    _warned: bool

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the tools."""
        return self.space.names

    def logits(self, texts: Sequence[str]) -> Tensor:
        """The policy's logits for each text, [n, k + 1]."""
        raise NotImplementedError

    @property
    def calibration(self) -> Calibration | None:
        """What `calibrate` found; set it to None to decide without, or to one that was fitted on this very state."""
        return self._calibration

    @calibration.setter
    def calibration(self, value: Calibration | None) -> None:
        if value is not None and not isinstance(value, Calibration):
            raise TypeError(f"A calibration must be a Calibration or None; got {type(value).__name__}.")
        self._calibration, self._warned = value, False

    @property
    def stale(self) -> str | None:
        """What has changed since the router was calibrated, and what to do; None if nothing, or without calibration."""
        return self._stale(self._calibration, self.space)

    def calibrate(
        self,
        examples: Iterable[Any],
        *,
        max_risk: float | None = None,
        confidence: float = 0.95,
        per_tool: Mapping[str, float] | None = None,
        costs: Sequence[float] | None = None,
        seen: Literal["refuse", "drop"] = "refuse",
        seed: int = 0,
    ) -> CalibrationReport:
        """Make the probabilities mean what they say, and bound the errors among the decisions that are accepted.

        The router's choices stay what they are. Afterwards a decision's `confidence` is calibrated, and with
        `max_risk`, `per_tool` or `costs` it is `accepted` only if it also passes the bar found here, beside
        `router.threshold`.

        With `max_risk` the bar is the lowest for which, with probability `confidence` over the draw of the examples, at
        most this share of the accepted decisions (those for *none* too) is wrong; `guarantee.certify` states the
        theorem. It assumes that the examples are drawn like the queries to come, all tools allowed. Where it cannot be
        certified no decision is accepted, and the report says about how many more examples it would take.

        The calibration belongs to this exact state of the router. After training or a change of its tools it is stale:
        with a bar, deciding raises `StaleCalibration` until it is calibrated again; without one, probabilities are the
        policy's own again, and a warning is logged once.

        Args:
            examples: Labelled ones that the router was not trained on: `{"query", "tool"}` rows, `dspy.Example`s or
                episodes, at least 20, and with `max_risk` at least `log(1 − confidence) / log(1 − max_risk)`.
            max_risk: Share of wrong decisions among the accepted ones, in (0, 1).
            confidence: Probability that every bound asked for holds, all jointly, in (0, 1).
            per_tool: A stricter share for the decisions for some tools, by name.
            costs: Instead of a guarantee, accept what costs least on average: what a wrong tool costs, what a call of
                the language model costs, and how often that is wrong (0 if left out).
            seen: What to do with examples whose text the router was trained on: `"refuse"` them all with an error, or
                `"drop"` those, which is right where a few texts naturally recur.
            seed: Of the folds on which the candidates are compared.

        Returns:
            What was found; `report.to_dict()` for a file.

        Raises:
            RuntimeError: If the router changed meanwhile.
            TypeError: If something is no example.
            ValueError: If the router looks its tools up in an index, or there are too few examples, all have the same
                label, some were trained on, or a share is not within (0, 1).
        """
        request = Request.read(
            max_risk=max_risk, confidence=confidence, per_tool=per_tool, costs=costs, seen=seen, seed=seed
        )
        space = self.space
        if isinstance(space, Crowd):
            space.refuse_to_calibrate()
        identity = self._identity(space)
        calibration, report = calibrate(self, identity, examples, request)
        with self._lock:
            if self.space is not space or self._identity(space) != identity:
                raise RuntimeError("The router changed while it was calibrated; calibrate it again.")
            self.calibration = calibration
        return report

    def uncalibrated(self) -> Self:
        """This router without its calibration, sharing all its parts: for whoever needs its choices alone."""
        router = object.__new__(type(self))
        router.__dict__.update(self.__dict__)
        router.calibration = None
        return router

    def identity(self) -> Identity:
        """Digests of all that its probabilities depend on, as they are now."""
        return self._identity(self.space)

    def _identity(self, space: Tools | Crowd) -> Identity:
        return self._watch.read(self.encoder, self.policy, self.vocabulary, self.cards, space)

    def _stale(self, calibration: Calibration | None, space: Tools | Crowd) -> str | None:
        if calibration is None:
            return None
        identity = self._identity(space)
        return None if identity == calibration.identity else calibration.stale_message(identity, space.names)

    def _calibration_in_force(self, space: Tools | Crowd) -> Calibration | None:
        """The calibration, if it belongs to this state of the router.

        Raises:
            StaleCalibration: If it does not, and decisions are kept or handed over by it.
        """
        calibration = self._calibration
        message = self._stale(calibration, space)
        if calibration is None or message is None:
            return calibration
        if calibration.binding:
            raise StaleCalibration(message)
        if not self._warned:
            self._warned = True
            logger.warning("%s Until then probabilities are the policy's own.", message)
        return None
