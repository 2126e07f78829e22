"""Decisions: what can be decided on, and from a row of probabilities to a record."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dspy_router.records import Decision
from dspy_router.runtime.probabilities import Probabilities, columns_of

Rows = TypeVar("Rows", bound=Any)  # an array or a tensor

_A_TIE = 1e-6  # more than the order of a sum can change a probability by


def as_decision(
    row: Sequence[float],
    names: Sequence[str],
    *,
    allowed: Collection[str] | None,
    threshold: float,
    choice: int | None = None,
    kept: bool = True,
) -> Decision:
    """A row of probabilities as a decision.

    Args:
        row: Probability of each tool and, last, of *none*.
        names: The tools' names.
        allowed: Names of the tools that could be chosen; None for all.
        threshold: Least confidence of an accepted decision.
        choice: The chosen column; by default that of the most probable option.
        kept: Whether a guarantee permits to accept it.
    """
    best = choose(row, names) if choice is None else choice
    return Decision(
        tool=names[best] if best < len(names) else None,
        probabilities={name: row[i] for i, name in enumerate(names) if allowed is None or name in allowed},
        none_probability=row[-1],
        accepted=kept and row[best] >= threshold,
    )


def choose(row: Sequence[float], names: Sequence[str]) -> int:
    """The column of the largest probability; among equals the first by name, as the order of tools must not matter."""
    least = max(row) - _A_TIE
    best = [column for column, probability in enumerate(row) if probability >= least]
    return min(best, key=lambda column: (column == len(names), *names[column : column + 1]))


def choose_all(rows: NDArray[np.float64], names: Sequence[str]) -> list[int]:
    """What `choose` chooses in each of these rows, [n, k + 1]."""
    if not len(rows):
        return []
    # Without an axis it takes half the time, and a single decision waits for it.
    tied = rows >= (rows.max() if len(rows) == 1 else rows.max(axis=1, keepdims=True)) - _A_TIE
    choices = tied.argmax(axis=1).tolist()
    if np.count_nonzero(tied) == len(rows):  # without an axis it takes no time at all
        return choices
    for row in np.flatnonzero(tied.sum(axis=1) > 1).tolist():
        choices[row] = choose(rows[row].tolist(), names)
    return choices


def as_decisions(
    rows: NDArray[np.float64],
    names: Sequence[str],
    *,
    choices: Sequence[int],
    kept: Sequence[bool],
    allowed: Collection[str] | None,
    threshold: float,
) -> list[Decision]:
    """What `as_decision` makes of each of these rows, [n, k + 1]; `choices` and `kept` are one for each row."""
    columns = columns_of(tuple(names))
    if allowed is not None:
        columns = {name: column for name, column in columns.items() if name in allowed}
    # A copy of the row: a decision that somebody keeps must not keep its whole batch.
    return [
        Decision(
            names[best] if best < len(names) else None,
            MappingProxyType(Probabilities(columns, row.copy())),
            row.item(-1),
            keep and row.item(best) >= threshold,
        )
        for row, best, keep in zip(rows, choices, kept, strict=True)
    ]


def check_queries(texts: Sequence[str]) -> None:
    """Refuse what nothing can be decided on.

    Raises:
        TypeError: If a text is no string.
        ValueError: If a text is empty.
    """
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"A query must be a string, got {type(text).__name__}: {text!r:.80}.")
        if not text.strip():
            raise ValueError("A query must not be empty: expected some text, got an empty string or only spaces.")


def check_probabilities(rows: Rows) -> Rows:
    """The same rows, if they are numbers.

    Raises:
        FloatingPointError: If one of them is not.
    """
    if not math.isfinite(float(rows.sum())):
        raise FloatingPointError(
            "The policy's weights give probabilities that are not numbers (NaN). The router was damaged, or its "
            "training diverged: load a saved one, or train again with a smaller learning rate."
        )
    return rows


def check_threshold(value: Any) -> float:
    """The threshold, if it is one.

    Raises:
        ValueError: If it is no number in [0, 1].
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ValueError(f"The threshold is a probability: expected a number in [0, 1], got {value!r}.")
    return float(value)
