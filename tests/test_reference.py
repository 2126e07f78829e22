"""The reference of a monitor: what is counted of the decisions at the calibration."""

from __future__ import annotations

import pytest

from dspy_router import Decision
from dspy_router.evaluation.reference import Reference


def decisions(*confidences: float, bar: float = 0.5) -> list[Decision]:
    return [Decision("add", {"add": value}, 1 - value, accepted=value >= bar) for value in confidences]


def test_confidences_are_counted_in_bins_of_equal_mass():
    reference = Reference.of(decisions(*(0.4 + number / 1000 for number in range(400))))
    assert (reference.kept, reference.escalated) == (300, 100)
    assert len(reference.counts) == len(reference.edges) + 1 == 20
    assert set(reference.counts) == {20}


def test_equal_confidences_share_a_bin():
    reference = Reference.of(decisions(*[0.9] * 30))
    assert sum(reference.counts) == 30
    assert max(reference.counts) == 30


def test_no_decisions_are_no_reference():
    with pytest.raises(ValueError, match="at least one decision"):
        Reference.of([])
