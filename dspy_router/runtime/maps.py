"""Calibration maps: from a policy's logits to probabilities that mean what they say, the choice untouched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]

_SHARPNESS = 2.0
_MOST = 50.0  # log-odds beyond this are as good as certain
_BEYOND = 1e6
_LEAST = 1e-300


def selection_scores(logits: Rows, choices: NDArray[np.int64]) -> Rows:
    """How sure each choice is, as log-odds, [n]: what decisions are ranked by, without a look at any label.

    The log-odds of the choice in `softmax(2 · logits)`: its share of the squared probabilities. Squaring lets the
    runners-up count for more and the sum of many small probabilities for less. On toole's validation part the first
    37 % by it are 1 % wrong, the first 11 % by the probability itself; on clinc150's it is 69 % by either. Beyond 2
    little changes.

    Args:
        logits: Of the tools and *none*, [n, k + 1]; −∞ where a tool is not allowed.
        choices: The chosen columns, [n].
    """
    # A decision waits for this: numbers are taken and put by their place in all rows, in half the time of two indices.
    places = places_of(logits, choices)
    apart = _SHARPNESS * (logits - logits.take(places)[:, None])
    apart.put(places, -np.inf)
    highest = np.maximum(apart.max(axis=1), -_BEYOND)
    shares = np.exp(apart - highest[:, None]).sum(axis=1)
    others = np.log(np.maximum(shares, _LEAST)) + highest  # no share at all: a choice without a rival
    return np.minimum(np.maximum(-others, -_MOST), _MOST)  # np.clip takes three times as long for a few numbers


def places_of(rows: Rows, columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where one column of each row, [n], lies in an array of rows, [n, k + 1], counted from its first number."""
    return columns if len(rows) == 1 else np.arange(len(rows)) * rows.shape[1] + columns


def softmax(logits: Rows) -> Rows:
    """Probabilities of rows of logits."""
    # A single decision waits for its row, and without an axis that takes half the time.
    whole: Any = {} if len(logits) == 1 else {"axis": 1, "keepdims": True}
    raised = logits - logits.max(**whole)
    np.exp(raised, out=raised)
    raised /= raised.sum(**whole)
    return raised


class RowMap(Protocol):
    """Logits to logits: each option's times a factor, plus a summand; what was −∞ stays so."""

    def arrays(self, names: Sequence[str]) -> tuple[Rows, Rows]:
        """Factors and summands of these tools and, last, of *none*, [k + 1] each."""
        ...


@dataclass(frozen=True)
class Temperature:
    """All logits divided by one number (Guo et al. 2017, "On calibration of modern neural networks"); at 1 none."""

    value: float = 1.0

    def arrays(self, names: Sequence[str]) -> tuple[Rows, Rows]:
        return np.full(len(names) + 1, 1.0 / self.value), np.zeros(len(names) + 1)


@dataclass(frozen=True)
class VectorScaling:
    """Every option's logit times a number, plus a number, by the tool's name (Guo et al. 2017).

    Attributes:
        tools: Factor and summand of each tool.
        none: Those of *none*.
    """

    tools: Mapping[str, tuple[float, float]]
    none: tuple[float, float]

    def arrays(self, names: Sequence[str]) -> tuple[Rows, Rows]:
        factors, summands = np.array([*(self.tools[name] for name in names), self.none]).T
        return factors, summands


@dataclass(frozen=True)
class Isotonic:
    """Scores of choices to their probabilities: a rising line through these points, flat beyond them."""

    scores: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, scores: Rows) -> Rows:
        return np.interp(scores, *self._points)

    @cached_property
    def _points(self) -> tuple[Rows, Rows]:
        """As arrays: of tuples, which are made into arrays each time, there can be hundreds."""
        return np.array(self.scores), np.array(self.values)


_KINDS: dict[str, Any] = {
    "temperature": Temperature,
    "vector": VectorScaling,
    "isotonic": Isotonic,
}


def describe_map(one: Any) -> dict[str, Any] | None:
    """A map as a JSON-ready dict; None for None."""
    if one is None:
        return None
    kind = next(name for name, known in _KINDS.items() if type(one) is known)
    return {"kind": kind, **{name: getattr(one, name) for name in one.__dataclass_fields__}}


def read_map(data: Mapping[str, Any] | None) -> Any:
    """The map that `describe_map` described."""
    if data is None:
        return None
    settings = {name: _as_given(value) for name, value in data.items()}
    return _KINDS[settings.pop("kind")](**settings)


def _as_given(value: Any) -> Any:
    """A value out of JSON, which has lists where there were tuples."""
    if isinstance(value, Mapping):
        return {name: _as_given(one) for name, one in value.items()}
    return tuple(map(_as_given, value)) if isinstance(value, list | tuple) else value


def repair(rows: Rows, choices: NDArray[np.int64]) -> Rows:
    """Rows in which no option is more probable than the choice: it and those above it share what they have alike.

    The nearest row, in squares, that leaves the choice on top; the other options keep what they had.
    """
    at = np.arange(len(rows))
    chosen = rows[at, choices]
    bad = np.flatnonzero(rows.max(axis=1) > chosen)
    if len(bad) == 0:
        return rows
    others = rows[bad].copy()
    others[np.arange(len(bad)), choices[bad]] = -np.inf
    ranked = -np.sort(-others, axis=1)  # [b, k + 1], highest first
    pools = (chosen[bad, None] + np.cumsum(ranked, axis=1)) / np.arange(2, rows.shape[1] + 2)
    # The pool takes in the next highest as long as that is above the pool so far.
    before = np.concatenate([chosen[bad, None], pools[:, :-1]], axis=1)
    level = np.where(ranked > before, pools, -np.inf).max(axis=1)
    fixed = np.minimum(rows[bad], level[:, None])
    fixed[np.arange(len(bad)), choices[bad]] = level
    repaired = rows.copy()
    repaired[bad] = fixed
    return repaired


def with_top(rows: Rows, choices: NDArray[np.int64], confidence: Rows) -> Rows:
    """Rows whose choices have these probabilities; the other options share the rest in proportion.

    Where one of them would come out above the choice it is held down to it, and the others have what it leaves. A
    confidence below an equal share of the options that are possible at all is raised to it.
    """
    places, top = places_of(rows, choices), np.minimum(confidence, 1.0)
    sure = float(top.min(initial=1.0)) >= 0.5  # then no choice is below its share, and nothing comes out above one
    if not sure:
        top = np.maximum(top, 1.0 / np.maximum(np.count_nonzero(rows, axis=1), 1))
    result = rows.copy()
    result.put(places, 0.0)
    sums = result.sum(axis=1)
    if sums.min(initial=1.0) <= _LEAST:  # what has no rival at all is certain
        top = np.where(sums > _LEAST, top, 1.0)
    result *= ((1.0 - top) / np.maximum(sums, _LEAST))[:, None]
    result.put(places, top)
    if not sure:
        for row in np.flatnonzero(result.max(axis=1) > top):
            others = rows[row].copy()
            others[choices[row]] = 0.0
            result[row] = _held_down(others, int(choices[row]), float(top[row]))
    return result


def _held_down(others: Rows, choice: int, top: float) -> Rows:
    held, result = np.zeros(len(others), dtype=bool), others.copy()
    while True:
        free = (others > 0) & ~held
        rest = 1.0 - top * (1 + held.sum())
        result[free] = others[free] * (max(rest, 0.0) / others[free].sum()) if free.any() else 0.0
        result[held] = top
        above = free & (result > top)
        if not above.any():
            break
        held |= above
    result[choice] = top
    return result / result.sum()
