"""Toolsets: what a policy sees of the cards."""

from __future__ import annotations

import pytest
import torch
from routers import CARDS

from dspy_router import HashEncoder, ToolCard
from dspy_router.routing.toolset import (
    allowed_mask,
    build_tools,
    card_text,
    encode_cards,
)
from dspy_router.routing.words import Vocabulary
from dspy_router.runtime.names import check_cards, check_names, check_same_tools


def test_a_card_says_each_view_once():
    assert card_text(ToolCard("opening_hours")) == "opening hours"
    assert card_text(CARDS[1]) == "The current time in a city. clock city"


def test_every_view_has_its_vector():
    encoder = HashEncoder(32)
    views = encode_cards(encoder, CARDS)
    assert views.shape == (2, 3, 32)
    for row, card in zip(views, CARDS, strict=True):
        assert torch.equal(row, encoder(card.views))


def test_the_table_of_words_holds_each_card_s_words():
    vocabulary = Vocabulary.build(map(card_text, CARDS))
    vocabulary.add("weather")  # a word of no card
    tools = build_tools(CARDS, encode_cards(HashEncoder(32), CARDS), vocabulary)
    assert tools.names == ("add_numbers", "clock")
    assert len(tools.word_rows) == len(vocabulary)
    weights = {word: tools.word_table[tools.word_rows[row]] for word, row in vocabulary.ids.items()}
    assert weights["clock"][0] == 0 < weights["clock"][1]
    assert weights["number"][1] == 0 < weights["number"][0]
    assert not weights["weather"].any()
    assert tools.word_table.norm(dim=0).tolist() == pytest.approx([1, 1])  # each card is of unit length


def test_toolsets_that_cannot_be():
    with pytest.raises(ValueError, match="at least one tool, got none"):
        check_cards([])
    with pytest.raises(ValueError, match="'clock' was given more than once"):
        check_cards([*CARDS, CARDS[1]])
    check_cards(CARDS)


def test_names_that_are_none():
    check_names(["clock"], ["clock", "units"])
    with pytest.raises(ValueError, match=r"no tool 'unit'; it knows clock, units\. Did you mean 'units'\?"):
        check_names(["unit"], ["clock", "units"])
    with pytest.raises(ValueError, match=r"t7, … \(60 in all\)\.$"):
        check_names(["qqq"], [f"t{i}" for i in range(60)])


def test_the_mask_of_what_is_allowed():
    names, cpu = ("clock", "units", "weather"), torch.device("cpu")
    assert allowed_mask(names, None, cpu) is None
    for allowed, row in ((["weather", "clock"], [True, False, True]), (set(), [False] * 3)):
        mask = allowed_mask(names, allowed, cpu)
        assert mask is not None and mask.tolist() == [row]
    with pytest.raises(ValueError, match=r"no tool 'unit'; .* Did you mean 'units'\?"):
        allowed_mask(names, ["unit"], cpu)


def test_tools_are_the_same_in_any_order():
    check_same_tools(["clock", "units"], ["units", "clock"])
    with pytest.raises(ValueError, match=r"knows 2; not among the given ones: none; given but .*: \['weather'\]"):
        check_same_tools(["clock", "units"], ["weather", "units", "clock"])
    with pytest.raises(ValueError, match=r"not among the given ones: \['units'\]; given but unknown to it: none"):
        check_same_tools(["clock", "units"], ["clock"])
