"""Training a router that looks its tools up in an index: on a part of them, for all of them."""

from __future__ import annotations

import pytest
from crowds import CARDS, QUERIES, crowded
from routers import quick

from dspy_router import fit
from dspy_router.learning.part import part_for
from dspy_router.routing.policies import ToolSpacePolicy

# No word of these queries is in any card.
ROWS = [
    {"query": f"{word} {number}", "tool": card.name}
    for word, card in (("blorp", CARDS[0]), ("quux", CARDS[1]), ("flim", CARDS[2]))
    for number in ("one", "two", "three", "four", "five", "six")
]


def test_it_learns_which_of_all_tools_is_meant():
    router = crowded(above=280)
    report = fit(router, ROWS, config=quick(epochs=30))
    assert report.examples == len(ROWS)
    assert [router.decide(f"{word} seven").tool for word in ("blorp", "quux", "flim")] == [
        card.name for card in CARDS[:3]
    ]
    assert router.tools == tuple(card.name for card in CARDS)
    assert router.crowd is not None
    assert router.check_index([*QUERIES, "blorp seven"]).agreement == 1.0
    assert router.memory is not None


def test_the_part_has_the_tools_of_the_examples_those_known_before_and_others():
    router = crowded()
    fit(router, ROWS, config=quick(epochs=1))
    assert isinstance(router.policy, ToolSpacePolicy)
    known = set(router.policy.known)
    other = next(card.name for card in CARDS if card.name not in known)
    with pytest.raises(ValueError, match=r"with those known from earlier training that makes 51; .* at most 50"):
        part_for(router, [{"query": "x", "tool": other}])
    assert set(part_for(router, ROWS).tools) == known
    assert len(known) == 50
    assert {card.name for card in CARDS[:3]} < known


def test_a_tool_that_is_not_the_routers_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=f"Did you mean '{CARDS[0].name}'"):
        fit(crowded(), [*ROWS, {"query": "x", "tool": CARDS[0].name + "s"}], config=quick())


def test_a_loss_about_all_tools_is_refused():
    with pytest.raises(ValueError, match="all 300 tools"):
        fit(crowded(), ROWS, config=quick(), downstream=lambda choices, rows: choices.sum(1))


def test_trained_neighbours_and_novelty_decide_in_an_index_as_without():
    none = [{"query": f"{word} thing", "tool": None} for word in "abcdefghijklmnopqrstuvwxyz"]
    labelled = [
        {"query": f"{word} {number}", "tool": CARDS[row].name}
        for row, word in enumerate(("blorp", "quux", "flim"))
        for number in range(12)
    ]
    small = crowded(CARDS[:40])
    fit(small, [*labelled, *none], config=quick(neighbours=5))
    large = crowded(CARDS[:40], nearest=400, search_effort=400, sharing=400, sample=300)
    large.adopt(small, small.memory)
    small.index = large.index.__class__(above=1_000)
    for router in (small, large):
        router.add_tools(CARDS[40:])
    assert large.crowd is not None and small.crowd is None
    for text in ("blorp 13", "c thing", *QUERIES):
        mine, right = large.decide(text), small.decide(text)
        assert mine.tool == right.tool
        assert mine.none_probability == pytest.approx(right.none_probability, abs=1e-5)
        listed = {name: right.probabilities[name] for name in mine.probabilities}
        assert dict(mine.probabilities) == pytest.approx(listed, abs=1e-5)
