"""What a router's decisions were like when it was calibrated: confidences in bins, and the share it kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dspy_router.records import Decision

_BINS = 20
# Where nothing is known of a router's confidences: they crowd near 1.
_EDGES = (0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.96, 0.98, 0.99, 0.995, 0.999)


@dataclass(frozen=True)
class Reference:
    """What decisions were like when the router was calibrated.

    Attributes:
        edges: Between which values the confidences are counted, ascending.
        counts: How many confidences were in each of the `len(edges) + 1` bins.
        kept: How many decisions the router kept.
        escalated: How many it handed over.
    """

    edges: tuple[float, ...] = _EDGES
    counts: tuple[int, ...] = (0,) * (len(_EDGES) + 1)
    kept: int = 0
    escalated: int = 0

    @classmethod
    def of(cls, decisions: Iterable[Decision]) -> Reference:
        """The reference that these decisions are, such as those on the calibration examples.

        Raises:
            ValueError: If there are none.
        """
        known = list(decisions)
        if not known:
            raise ValueError("A reference needs at least one decision.")
        confidences = np.array([decision.confidence for decision in known])
        edges = np.unique(np.quantile(confidences, np.linspace(0, 1, _BINS + 1)[1:-1]))
        counts = np.bincount(np.searchsorted(edges, confidences, side="right"), minlength=len(edges) + 1)
        kept = sum(decision.accepted for decision in known)
        return cls(tuple(edges.tolist()), tuple(counts.tolist()), kept, len(known) - kept)
