"""What the joint optimizer did: each turn, each candidate in it, and what became of the credit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from dspy_router.evaluation.credit import CreditSplit
from dspy_router.program.tuning.forcing import Rule


@dataclass(frozen=True)
class Standing:
    """How good a program is.

    Attributes:
        name: What made it: `start`, or the turn and the steps.
        train: Mean score on the training examples.
        val: Mean score on the validation examples, by which candidates are compared; without any, the same as `train`.
        credit: How the loss on the training examples splits, by the tools tried under this program's prompts.
    """

    name: str
    train: float
    val: float
    credit: CreditSplit


@dataclass
class JointTurn:
    """One turn of router and prompts.

    Attributes:
        number: Counts from 1.
        rule: Which tools were forced while the prompts were optimized; see `program/tuning/forcing.py`.
        before: The best program before the turn.
        candidates: What came out of each step, in order.
        after: The best program after the turn.
        rollouts: Runs of the program with a tool forced.
        lm_calls: Calls of language models, those of the prompt optimizers among them.
        cost: Dollars; None if there were calls whose cost is not known.
        seconds: Wall-clock time.
        errors: What failed, as `step: ErrorType: message`.
    """

    number: int
    rule: Rule
    before: Standing
    after: Standing
    candidates: list[Standing] = field(default_factory=list)
    rollouts: int = 0
    lm_calls: int = 0
    cost: float | None = 0.0
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def improved(self) -> bool:
        """Whether the best program is another one after the turn."""
        return self.after is not self.before


@dataclass
class JointReport:
    """What `JointOptimizer` did.

    Attributes:
        before: The program as it was handed over.
        after: The program that was kept; the same standing as `before` if nothing was better.
        turns: One record a turn.
        ended: Why there was no further turn.
        overlap: How many validation examples ask what a training example asks.
        constant: The score, if the metric gave the same one in every run; else None.
        rollouts: Runs of the program with a tool forced.
        lm_calls: Calls of language models.
        cost: Dollars; None if there were calls whose cost is not known.
        seconds: Wall-clock time.
    """

    before: Standing
    after: Standing
    turns: list[JointTurn] = field(default_factory=list)
    ended: str = ""
    overlap: int = 0
    constant: float | None = None
    rollouts: int = 0
    lm_calls: int = 0
    cost: float | None = 0.0
    seconds: float = 0.0

    @property
    def kept(self) -> str:
        """What made the program that was kept."""
        return self.after.name

    @property
    def errors(self) -> list[str]:
        """What failed on the way."""
        return [error for turn in self.turns for error in turn.errors]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {**asdict(self), "kept": self.kept, "errors": self.errors}
