"""What is kept of an answer while it is made: decision and steps, exploration, and the log of them."""

from __future__ import annotations

import logging
import random
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import dspy

from dspy_router.program.choices import Choice
from dspy_router.program.steps import describe_error
from dspy_router.records import Decision, Episode, Step
from dspy_router.routing.router import Router
from dspy_router.routing.sampling import check_share, explore

logger = logging.getLogger(__name__)

# DSPy's executors and threads carry it along, as they do every setting of a `dspy.context`.
_REHEARSAL = "dspy_router_rehearsal"


@contextmanager
def rehearsing() -> Iterator[None]:
    """Within this, agents are tried out: they log nothing, draw nothing, and no language model acts in their shadow."""
    with dspy.context(**{_REHEARSAL: True}):
        yield


def is_rehearsal() -> bool:
    """Whether a program is only being tried out, as optimizers do."""
    return bool(dspy.settings.get(_REHEARSAL))


@dataclass
class Progress:
    """What was decided and done so far about one request.

    Attributes:
        inputs: The program's input fields.
        decision: The decision that is acted on.
        handed_over: Whether the fallback acts in the router's place.
        forced: Whether the decision was forced; it stays as it is then.
        shadow: What the router decided, where a language model checks it; None otherwise.
        steps: The steps taken.
    """

    inputs: dict[str, Any]
    decision: Decision
    handed_over: bool = False
    forced: bool = False
    shadow: Decision | None = None
    steps: tuple[Step, ...] = ()

    def adopt(self, choice: Choice | None) -> None:
        """Take over what a language model chose and did; None if its choice is not known."""
        if self.forced:
            return
        if choice is not None:
            self.decision = replace(self.decision, tool=choice.tool, accepted=True, source="lm", propensity=1.0)
            self.steps += choice.steps
        elif self.shadow is not None:
            self.decision = replace(self.decision, accepted=False)  # the router's own, which nobody acted on

    def fail(self, error: Exception, *, withdraw: bool = False) -> None:
        """Put down what went wrong, unless something did before; `withdraw` the decision that nobody acts on."""
        if self.decision.error is None:
            self.decision = replace(self.decision, error=describe_error(error))
        if withdraw and not self.steps and not self.forced:
            self.decision = replace(self.decision, tool=None, accepted=False)


class Explorer:
    """Draws: now and then another choice than the router's, and now and then one for a language model to check.

    Copies start anew: from the same seed where there is one, else from one of their own.

    Attributes:
        epsilon: Share of the accepted decisions that are drawn.
        audit: Share of all decisions that are checked.
        seed: What the draws start from; None for the operating system's randomness.
    """

    def __init__(self, epsilon: float = 0.0, audit: float = 0.0, seed: int | None = None) -> None:
        """Set the shares and the seed.

        Raises:
            ValueError: If a share is not in [0, 1].
        """
        self.epsilon, self.audit = check_share("explore", epsilon), check_share("audit", audit)
        self.seed = seed
        # Threads share the generator: a call of `random` is atomic.
        self._random = random.Random(seed)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Explorer, (self.epsilon, self.audit, self.seed))

    def check(self, router: Router) -> None:
        """See that there is something to explore.

        Raises:
            ValueError: If decisions are to be drawn, and no tool is known to be read-only.
        """
        if self.epsilon and not read_only(router):
            raise ValueError(
                "explore draws among the tools that change nothing, and none of these is known to be such: "
                f"{', '.join(router.tools)}. Say it on their cards, ToolCard(…, read_only=True), or in the hints of "
                "an MCP tool, and make the router with those: Router.from_tools(cards)."
            )

    def is_audited(self) -> bool:
        """Whether the next decision is to be checked; drawn without a look at it."""
        return bool(self.audit) and self._random.random() < self.audit

    def draw(self, decision: Decision, router: Router) -> Decision:
        """The decision, or another one in its place, with its propensity."""
        if not self.epsilon:
            return decision
        return explore(decision, read_only(router), epsilon=self.epsilon, draw=self._random.random())


def read_only(router: Router) -> frozenset[str]:
    """Names of the tools that are known to change nothing."""
    return frozenset(card.name for card in router.cards if card.read_only is True)


class Log(Protocol):
    """What an agent needs of a log; `dspy_router.DecisionLog` is one."""

    def record(self, episode: Episode, *, shadow: Decision | None = None, router: str = "") -> None:
        """Take an episode whose decisions have ids."""


@dataclass
class Logbook:
    """Writes every answer of an agent into a log, if it has one.

    Copies of a program share the log; a pickled program has none, since whoever loads it elsewhere did not ask for one.

    Attributes:
        log: The log; None for none.
    """

    log: Log | None = None
    _known: tuple[Hashable, str] | None = field(default=None, repr=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Logbook:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (Logbook, ())

    @classmethod
    def of(cls, log: Any) -> Logbook:
        """Take a log, the path of one, or None.

        Raises:
            TypeError: If it is none of these.
        """
        if isinstance(log, str | Path):
            from dspy_router.data.log import DecisionLog

            return cls(DecisionLog(log))
        if log is not None and not callable(getattr(log, "record", None)):
            raise TypeError(f"The log must be a DecisionLog, the path of one or None; got {type(log).__name__}.")
        return cls(log)

    @contextmanager
    def keeping(self, progress: Progress, read: Mapping[str, Any], router: Router) -> Iterator[None]:
        """Log what was decided and done within this, also where it fails.

        Args:
            progress: What is being decided and done.
            read: The inputs that the router read; the others, conversations or pictures, are not logged.
            router: The router.
        """
        if self.log is None or is_rehearsal():
            yield
            return
        try:
            yield
        except Exception as error:
            progress.fail(error)
            self._record(progress, read, router)
            raise
        self._record(progress, read, router)

    def _record(self, progress: Progress, read: Mapping[str, Any], router: Router) -> None:
        if self.log is None:
            return
        # The log may fail, the answer not: it was paid for, and its tools have acted.
        try:
            decision = replace(progress.decision, id=_new_id())
            episode = Episode(dict(read), progress.steps, decisions=(decision,))
            self.log.record(episode, shadow=progress.shadow, router=self._fingerprint(router))
        except Exception:
            logger.warning("An answer could not be logged.", exc_info=True)
        else:
            progress.decision = decision

    def _fingerprint(self, router: Router) -> str:
        """The router's fingerprint; computed anew only where something changed, as it digests all the weights."""
        state, known = router.state, self._known
        if known is None or known[0] != state:
            known = self._known = (state, router.fingerprint)
        return known[1]


def _new_id() -> str:
    from dspy_router.data.log import new_id

    return new_id()
