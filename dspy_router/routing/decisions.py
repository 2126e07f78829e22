"""Decisions: what can be decided on, and from a row of probabilities to a record."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from torch import Tensor

from dspy_router.records import Decision

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


def check_probabilities(rows: Tensor) -> Tensor:
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
