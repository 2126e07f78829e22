"""Exploration: the propensity is the probability with which the choice was drawn, and nothing harmful is tried."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.records import Decision
from dspy_router.routing.sampling import explore, mixture

READ_ONLY = frozenset({"a", "b"})
# The tool z changes something; it is the most probable choice.
UNSAFE = Decision("z", {"a": 0.2, "b": 0.05, "z": 0.5}, 0.25)
SAFE = Decision("a", {"a": 0.6, "b": 0.1, "z": 0.1}, 0.2)


def test_the_mixture_is_the_formula():
    """ε = 0.1. For SAFE, S = {a, b, none} has 0.6 + 0.1 + 0.2 = 0.9: π(a) = 0.9 + 0.1·6/9, π(b) = 0.1·1/9, and so on.
    For UNSAFE, S has 0.2 + 0.05 + 0.25 = 0.5, and z, which is not in S, is called when nothing is drawn.
    """
    assert mixture(SAFE, READ_ONLY, 0.1) == pytest.approx({"a": 0.9 + 0.6 / 9, "b": 0.1 / 9, None: 0.2 / 9})
    assert mixture(UNSAFE, READ_ONLY, 0.1) == pytest.approx({"z": 0.9, "a": 0.04, "b": 0.01, None: 0.05})
    assert mixture(UNSAFE, READ_ONLY, 1.0) == pytest.approx({"a": 0.4, "b": 0.1, None: 0.5})


@pytest.mark.parametrize("decision", [SAFE, UNSAFE, Decision(None, {"a": 0.1, "b": 0.2, "z": 0.1}, 0.6)])
@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1.0])
def test_what_is_logged_is_how_often_it_happens(decision, epsilon):
    draws, n = random.Random(0), 4_000
    drawn = [explore(decision, READ_ONLY, epsilon=epsilon, draw=draws.random()) for _ in range(n)]
    counts, said = Counter(one.tool for one in drawn), {one.tool: one.propensity for one in drawn}
    assert set(counts) == set(mixture(decision, READ_ONLY, epsilon))
    for tool, count in counts.items():
        deviation = (said[tool] * (1 - said[tool]) / n) ** 0.5
        assert count / n == pytest.approx(said[tool], abs=4 * deviation)


@pytest.mark.parametrize(
    ("decision", "read_only", "epsilon"),
    [
        (SAFE, READ_ONLY, 0.0),
        (UNSAFE, frozenset(), 0.5),
        (Decision("a", {"a": 0.4}, 0.6, accepted=False), READ_ONLY, 0.5),
        (Decision("z", {"z": 0.7}, 0.3), READ_ONLY, 0.5),
        (Decision("z", {"z": 0.7, "a": 0.0}, 0.3), READ_ONLY, 0.5),
    ],
    ids=["never", "no read-only tool", "not accepted", "none allowed", "impossible ones"],
)
def test_where_there_is_nothing_to_explore_the_decision_stands(decision, read_only, epsilon):
    for draw in (0.0, 0.5, 0.999999):
        assert explore(decision, read_only, epsilon=epsilon, draw=draw) == decision


PROBABILITIES = st.lists(st.floats(0, 1), min_size=5, max_size=5).filter(lambda row: sum(row) > 0.01)


@given(PROBABILITIES, st.sampled_from(["a", "b", "y", "z", None]), st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_invariants(row, greedy, epsilon, draw):
    """The shares are a distribution, only read-only tools are tried, and only the choice and its propensity change."""
    total = sum(row)
    *tools, none = (p / total for p in row)
    decision = Decision(greedy, dict(zip(("a", "b", "y", "z"), tools, strict=True)), none)
    shares = mixture(decision, READ_ONLY, epsilon)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(share > 0 for share in shares.values())
    assert set(shares) <= {*READ_ONLY, None, greedy}
    drawn = explore(decision, READ_ONLY, epsilon=epsilon, draw=draw)
    assert drawn.propensity == pytest.approx(shares[drawn.tool])
    assert 0 < drawn.propensity <= 1
    assert dict(drawn.probabilities) == dict(decision.probabilities)
    assert (drawn.accepted, drawn.source, drawn.none_probability) == (True, "router", none)


def test_misuse_is_told():
    wrong: list[Any] = [-0.1, 1.1, "0.1", True]
    for epsilon in wrong:
        with pytest.raises(ValueError, match="must be a share of the decisions"):
            explore(SAFE, READ_ONLY, epsilon=epsilon, draw=0.5)
    with pytest.raises(ValueError, match=r"\[0, 1\); got 1"):
        explore(SAFE, READ_ONLY, epsilon=0.1, draw=1.0)
