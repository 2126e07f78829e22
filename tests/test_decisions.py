"""Decisions: the largest probability, whatever else stands in the row."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.runtime.decisions import as_decision, check_probabilities, check_queries

NAMES = ("clock", "add", "units")


def test_the_most_probable_tool():
    decision = as_decision([0.2, 0.5, 0.1, 0.2], NAMES, allowed=None, threshold=0.5)
    assert (decision.tool, decision.confidence, decision.accepted) == ("add", 0.5, True)
    assert decision.probabilities == {"clock": 0.2, "add": 0.5, "units": 0.1}
    assert (decision.none_probability, decision.source, decision.propensity) == (0.2, "router", 1.0)


def test_none_is_an_option_like_any_other():
    decision = as_decision([0.2, 0.1, 0.1, 0.6], NAMES, allowed=None, threshold=0.7)
    assert (decision.tool, decision.confidence, decision.accepted) == (None, 0.6, False)


def test_what_is_not_allowed_is_left_out():
    decision = as_decision([0.0, 0.4, 0.0, 0.6], NAMES, allowed={"add"}, threshold=0.0)
    assert decision.probabilities == {"add": 0.4}


@pytest.mark.parametrize("noise", [0.0, 1e-8, -1e-8])
def test_among_equals_the_first_by_name_and_none_last(noise):
    """The order of a sum changes the last digits; it must not change the choice."""
    assert as_decision([0.3 + noise, 0.3, 0.1, 0.3], NAMES, allowed=None, threshold=0.0).tool == "add"
    assert as_decision([0.5 + noise, 0.0, 0.0, 0.5], NAMES, allowed=None, threshold=0.0).tool == "clock"


@given(st.permutations(range(3)), st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=4, max_size=4))
def test_the_order_of_the_tools_does_not_matter(order, row):
    turned = [row[i] for i in order] + row[3:]
    first = as_decision(row, NAMES, allowed=None, threshold=0.0)
    second = as_decision(turned, [NAMES[i] for i in order], allowed=None, threshold=0.0)
    assert (first.tool, first.confidence) == (second.tool, second.confidence)


def test_queries_that_nothing_can_be_decided_on():
    check_queries(["what now", "東京"])
    with pytest.raises(ValueError, match="must not be empty"):
        check_queries(["fine", " \n"])
    with pytest.raises(TypeError, match="must be a string, got NoneType"):
        check_queries(["fine", None])  # pyright: ignore[reportArgumentType]


def test_probabilities_that_are_no_numbers():
    rows = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    assert check_probabilities(rows) is rows
    rows[1, 1] = torch.nan
    with pytest.raises(FloatingPointError, match="not numbers"):
        check_probabilities(rows)
