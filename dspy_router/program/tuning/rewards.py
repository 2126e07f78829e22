"""What a rollout earned and cost: its record, the sum of what was spent, and how a metric's answer is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Real
from typing import Any, Literal

from dspy_router.records import Step

Failure = Literal["tool", "arguments", "program", "metric"]
Key = tuple[str, str | None, str]


@dataclass(frozen=True)
class Rollout:
    """One run of the program on one example with one tool forced.

    Attributes:
        example: Digest of the example: of all that the program and the metric may look at.
        tool: The forced tool; None for *none*.
        prompt: Fingerprint of the prompts and the language models it ran under.
        score: What the metric gave; None if there is no score.
        feedback: What the metric said beside it.
        failure: What went wrong. The call of the tool failed, by the tool itself (`tool`) or because it could not be
            filled (`arguments`), and the outcome was scored all the same; or the `program` or the `metric` raised, and
            there is no score.
        error: The error, as `ErrorType: message`.
        lm_calls: Calls of language models, those of the metric and those that DSPy's cache answered among them.
        cost: Dollars by the language model's own history; None if that does not know.
        seconds: Wall-clock time.
    """

    example: str
    tool: str | None
    prompt: str
    score: float | None
    feedback: str = ""
    failure: Failure | None = None
    error: str | None = None
    lm_calls: int = 0
    cost: float | None = None
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict that `Rollout(**…)` takes back."""
        return asdict(self)

    @property
    def key(self) -> Key:
        """What it is remembered by."""
        return (self.example, self.tool, self.prompt)


@dataclass
class Spent:
    """What rollouts have cost so far; remembered ones cost nothing.

    Attributes:
        rollouts: Runs of the program.
        lm_calls: Calls of language models.
        cost: Dollars; None once there was a call whose cost is not known.
        errors: Runs in which the program, its language model or the metric raised.
        failed_calls: Runs in which the call of the tool failed.
        cached: Rollouts that were asked for and known already.
        seconds: Wall-clock time of `Rollouts.run`, all of them together.
        free_rollouts: Those of the runs that no budget counts, such as runs to validate.
        free_lm_calls: The calls in them.
        max_rollouts: The budget of runs; None for no limit.
        max_lm_calls: The budget of calls; None for no limit.
    """

    rollouts: int = 0
    lm_calls: int = 0
    cost: float | None = 0.0
    errors: int = 0
    failed_calls: int = 0
    cached: int = 0
    seconds: float = 0.0
    free_rollouts: int = 0
    free_lm_calls: int = 0
    max_rollouts: int | None = None
    max_lm_calls: int | None = None

    @property
    def exhausted(self) -> bool:
        """Whether a budget is used up."""
        calls = self.lm_calls - self.free_lm_calls
        return self.rollouts_left == 0 or (self.max_lm_calls is not None and calls >= self.max_lm_calls)

    @property
    def rollouts_left(self) -> int | None:
        """Runs that the budget still allows; None for no limit."""
        return None if self.max_rollouts is None else max(0, self.max_rollouts - self.rollouts + self.free_rollouts)

    def add(self, rollout: Rollout, *, free: bool = False) -> None:
        """Count a run; a free one is not held against the budgets."""
        self.free_rollouts += free
        self.free_lm_calls += rollout.lm_calls if free else 0
        self.rollouts += 1
        self.lm_calls += rollout.lm_calls
        self.cost = None if self.cost is None or rollout.cost is None else self.cost + rollout.cost
        self.errors += rollout.score is None
        self.failed_calls += rollout.failure in ("tool", "arguments")

    def since(self, earlier: Spent) -> Spent:
        """What was spent after `earlier`, a copy of this account; the budgets are those that stand."""
        cost = None if self.cost is None or earlier.cost is None else self.cost - earlier.cost
        counts = [name for name in asdict(self) if name != "cost" and not name.startswith("max_")]
        return replace(self, cost=cost, **{name: getattr(self, name) - getattr(earlier, name) for name in counts})

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self)


def read_score(value: Any) -> tuple[float, str]:
    """A metric's answer as score and feedback.

    Args:
        value: A number, a bool, or what has a `score` and perhaps a `feedback`: a `dspy.Prediction` or a mapping.

    Raises:
        TypeError: If it is none of these.
        ValueError: If the score is no finite number.
    """
    score: Any
    if isinstance(value, Mapping):
        score, feedback = value.get("score"), value.get("feedback")
    elif hasattr(value, "score"):
        score, feedback = value.score, getattr(value, "feedback", None)
    else:
        score, feedback = value, None
    if not isinstance(score, Real) and callable(getattr(score, "item", None)):
        score = score.item()  # a scalar of numpy or torch
    if not isinstance(score, Real):
        hint = " Does it return on every path?" if score is None else ""
        raise TypeError(
            "The metric must give a number, a bool or a dspy.Prediction(score=…, feedback=…); "
            f"got {type(score).__name__}: {score!r:.80}.{hint}"
        )
    if not math.isfinite(score):
        raise ValueError(f"The metric must give a finite number; got {float(score)!r}.")
    return float(score), "" if feedback is None else str(feedback)


def failed_call(steps: Sequence[Step]) -> dict[str, Any]:
    """The `failure` and `error` of a rollout whose last tool call failed; nothing if it went well."""
    if not steps or not steps[-1].failed:
        return {}
    error = str(steps[-1].error)
    return {"failure": "arguments" if error.startswith("ArgumentError") else "tool", "error": error}
