"""A cross-check: what the index finds against a look at every tool."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dspy_router.routing.many.crowd import Crowd
from dspy_router.routing.many.shortlist import Look


@dataclass(frozen=True)
class IndexReport:
    """How far decisions by an index are from those by a look at every tool.

    Attributes:
        texts: How many texts were compared.
        tools: Among how many tools.
        recall: Share of the `depth` most likely tools that are the `depth` most likely by the index; mean over texts.
        depth: How many of the most likely tools that is.
        agreement: Share of the texts for which the most likely option, tool or *none*, is the same.
        probability: Largest difference of the probability of a listed tool or of *none*.
        tail: Largest difference of the probability of all tools that are not listed.
    """

    texts: int
    tools: int
    recall: float
    depth: int
    agreement: float
    probability: float
    tail: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self)


def compare(crowd: Crowd, looks: Iterable[Look], *, depth: int = 10) -> IndexReport:
    """The report on looks at a crowd; of the most likely tools only listed ones can be compared."""
    count = min(depth, len(crowd.slots), crowd.config.listed)
    recalls, agreements, apart, tails = [], [], [0.0], [0.0]
    for mine, right in (pair for look in looks for pair in zip(look.shortlists(), look.exact(), strict=True)):
        recalls.append(len(np.intersect1d(mine.slots[:count], right.slots[:count])) / count)
        (shares, tail, none), (right_shares, right_tail, right_none) = mine.probabilities(), right.probabilities()
        agreements.append(_first(mine.slots, shares, none) == _first(right.slots, right_shares, right_none))
        _, here, there = np.intersect1d(mine.slots, right.slots, return_indices=True)
        apart.append(float(np.abs(shares[here] - right_shares[there]).max(initial=abs(none - right_none))))
        tails.append(abs(tail - right_tail))
    return IndexReport(
        texts=len(recalls),
        tools=len(crowd.slots),
        recall=float(np.mean(recalls)),
        depth=count,
        agreement=float(np.mean(agreements)),
        probability=max(apart),
        tail=max(tails),
    )


def _first(slots: NDArray[np.int64], shares: NDArray[np.float64], none: float) -> int:
    """The slot of the most likely tool; −1 for *none*."""
    return -1 if none > shares[0] else int(slots[0])
