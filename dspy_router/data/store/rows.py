"""Episodes as rows of a decision log, and rows as episodes again."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from dspy_router.data.store.values import (
    HASHED,
    WITHHELD,
    Part,
    Redact,
    clean,
    dump,
    hash_inputs,
    hash_value,
    plain,
    trim,
)
from dspy_router.records import Decision, Episode, Step

INSERT_DECISION = (
    "INSERT INTO decisions (id, episode, position, time, inputs, tool, probabilities, none_probability, accepted, "
    "source, propensity, error, audited, router, shadow_of) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (id) DO NOTHING"
)
INSERT_STEP = (
    "INSERT INTO steps (episode, position, decision, tool, arguments, result, error, filled_by, seconds) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (episode, position) DO NOTHING"
)
_SHADOW = ".shadow"
_LONGEST_NAME = 500


@dataclass(frozen=True)
class Draft:
    """An episode on its way into the log: a copy that nothing changes any more, not yet redacted.

    Attributes:
        id: The id of its first decision, which the episode goes by.
        time: When it was recorded, seconds since 1970.
        inputs: In plain values.
        decisions: What was decided, and acted on.
        steps: What was done, arguments and results in plain values.
        shadow: What the router would have decided beside the first decision; None if it was not asked.
        router: Fingerprint of the router.
    """

    id: str
    time: float
    inputs: dict[str, Any]
    decisions: tuple[Decision, ...]
    steps: tuple[Step, ...]
    shadow: Decision | None
    router: str

    @classmethod
    def of(
        cls, episode: Episode, *, shadow: Decision | None = None, router: str = "", max_chars: int | None = None
    ) -> Draft:
        """Copy an episode.

        Args:
            episode: What was decided and done.
            shadow: What the router would have decided.
            router: Its fingerprint.
            max_chars: About how many characters to keep of the inputs, the arguments and the result each; None keeps
                all.

        Raises:
            TypeError: If it is no episode.
            ValueError: If it has no decision, one has no id or a second one the same, or a probability, propensity or
                duration is no finite number in its range.
        """
        if not isinstance(episode, Episode):
            raise TypeError(f"A decision log records Episodes; got {type(episode).__name__}: {episode!r:.80}.")
        if not episode.decisions:
            raise ValueError("A decision log records decisions; this episode has none.")
        ids = [decision.id for decision in episode.decisions]
        if not all(isinstance(id_, str) and id_ for id_ in ids) or len(set(ids)) < len(ids):
            raise ValueError(
                f"Every decision of an episode needs an id of its own to go by in the log, such as new_id() gives; "
                f"got {ids!r:.200}."
            )
        for decision in (*episode.decisions, *(() if shadow is None else (shadow,))):
            _check(decision)
        inputs = episode.inputs if isinstance(episode.inputs, Mapping) else {"inputs": episode.inputs}
        return cls(
            clean(str(ids[0])),
            time.time(),
            _copy(inputs, max_chars),
            tuple(episode.decisions),
            tuple(_copy_step(step, max_chars) for step in episode.steps),
            shadow,
            clean(router)[:_LONGEST_NAME],
        )


def _check(decision: Decision) -> None:
    try:
        total = decision.none_probability + math.fsum(decision.probabilities.values())
        fine = math.isfinite(total) and 0.0 < decision.propensity <= 1.0
    except (TypeError, ValueError, OverflowError):
        fine = False
    if not fine:
        raise ValueError(
            "A logged decision needs finite probabilities and a propensity in (0, 1]; got the propensity "
            f"{decision.propensity!r:.40} and P(none) {decision.none_probability!r:.40} with {decision!r:.200}."
        )


def _copy(value: Any, max_chars: int | None) -> Any:
    return plain(value) if max_chars is None else trim(plain(value), max_chars)


def _copy_step(step: Step, max_chars: int | None) -> Step:
    seconds = float(step.seconds) if math.isfinite(step.seconds) else 0.0
    arguments, result = _copy(step.arguments, max_chars), _copy(step.result, max_chars)
    return Step(step.tool, arguments, result, _copy(step.error, max_chars), step.filled_by, seconds)


class Rows(NamedTuple):
    """A draft's rows of `decisions` and of `steps`, and how many values a failing redaction withheld."""

    decisions: list[tuple[Any, ...]]
    steps: list[tuple[Any, ...]]
    failures: int


@dataclass(frozen=True)
class Writing:
    """How drafts become rows.

    Attributes:
        inputs: Whether what was said is kept, or only hashes of it.
        redact: Called on every inputs, arguments, result and error before anything else is done with them.
        max_chars: About how many characters of each are kept.
    """

    inputs: Literal["text", "hash"]
    redact: Redact | None
    max_chars: int

    @property
    def cut_early(self) -> int | None:
        """How many characters a draft need not have more than; None where all are looked at before it is cut.

        A redaction would not know half a card number for what it is, and the hash is that of the whole text.
        """
        return self.max_chars if self.redact is None and self.inputs == "text" else None

    def rows(self, draft: Draft) -> Rows:
        """A draft's rows, redacted, hashed and cut."""
        keeper = _Keeper(self)
        ids = [clean(str(decision.id)) for decision in draft.decisions]
        inputs = keeper.keep("inputs", draft.inputs)

        def row(id_: str, position: int, decision: Decision, shadow_of: str | None = None) -> tuple[Any, ...]:
            first = position == 0 and shadow_of is None
            return (
                id_,
                draft.id,
                position,
                draft.time,
                dump(inputs) if first else None,
                None if decision.tool is None else clean(decision.tool),
                dump({name: float(share) for name, share in decision.probabilities.items()}),
                float(decision.none_probability),
                int(decision.accepted),
                clean(decision.source),
                float(decision.propensity),
                keeper.keep_error(decision.error),
                int(decision.audited),
                draft.router,
                shadow_of,
            )

        decisions = [row(ids[position], position, decision) for position, decision in enumerate(draft.decisions)]
        if draft.shadow is not None:
            own = draft.shadow.id
            id_ = f"{draft.id}{_SHADOW}" if own is None or own in ids else clean(own)
            decisions.insert(1, row(id_, 0, draft.shadow, draft.id))
        steps = [
            (
                draft.id,
                position,
                ids[min(position, len(ids) - 1)],
                clean(step.tool),
                dump(keeper.keep("arguments", step.arguments)),
                dump(None if step.failed else keeper.keep("result", step.result)),
                keeper.keep_error(step.error),
                clean(step.filled_by),
                step.seconds,
            )
            for position, step in enumerate(draft.steps)
        ]
        return Rows(decisions, steps, keeper.failures)


class _Keeper:
    """What is kept of each value of one draft; counts how often the redaction failed."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing
        self.failures = 0

    def keep(self, part: Part, value: Any) -> Any:
        """What is written of a plain value."""
        if self._writing.redact is not None:
            try:
                value = _redacted(self._writing.redact, part, value)
            except Exception as error:
                # Nobody knows what would have been left, so nothing is. Of the error only its kind: its message may
                # hold the very text.
                self.failures += 1
                return {WITHHELD: f"the redaction failed: {type(error).__name__}"}
        if self._writing.inputs == "hash":
            return {HASHED: hash_inputs(value)} if part == "inputs" else hash_value(value)
        return value if self._writing.cut_early is not None else trim(value, self._writing.max_chars)

    def keep_error(self, error: str | None) -> str | None:
        """What is written of an error."""
        if error is None:
            return None
        if self._writing.inputs == "hash":  # what it says may repeat what was said; its kind does not
            return clean(error.partition(":")[0])[:_LONGEST_NAME]
        value = self.keep("error", str(error))
        return clean(value if isinstance(value, str) else dump(value))


def _redacted(redact: Redact, part: Part, value: Any) -> Any:
    left = redact(part, value)
    if part in ("inputs", "arguments") and not isinstance(left, Mapping):
        raise TypeError
    return plain(left)


def as_decision(row: sqlite3.Row) -> Decision:
    """A row of `decisions` as the decision that was recorded."""
    return Decision(
        row["tool"],
        json.loads(row["probabilities"]),
        row["none_probability"],
        accepted=bool(row["accepted"]),
        source=row["source"],
        propensity=row["propensity"],
        id=row["id"],
        error=row["error"],
        audited=bool(row["audited"]),
    )


def as_step(row: sqlite3.Row) -> Step:
    """A row of `steps` as the step that was recorded; what is no JSON value has become its text."""
    return Step(
        row["tool"],
        json.loads(row["arguments"]),
        json.loads(row["result"]),
        row["error"],
        row["filled_by"],
        row["seconds"],
    )


def as_episode(
    inputs: str | None,
    decisions: Sequence[Decision],
    steps: Sequence[Step] = (),
    *,
    reward: float | None = None,
    labels: Mapping[str, str] | None = None,
) -> Episode:
    """An episode from its rows, its reward, and the labels of its decisions as JSON lists by id.

    Labels stand in the order of the decisions, so they end before the first decision that has none.
    """
    known: list[tuple[str, ...]] = []
    for decision in decisions:
        told = (labels or {}).get(decision.id or "")
        if told is None:
            break
        known.append(tuple(json.loads(told)))
    fields = json.loads(inputs) if inputs else {}
    return Episode(fields, tuple(steps), reward, tuple(known), tuple(decisions))
