"""Postings: the overlap of words, added up from the words' side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dspy_router.routing.many.postings import Postings
from dspy_router.routing.words import WordBag

# Three cards: words 0 and 2; word 2; words 1 and 3.
BAG = WordBag(torch.tensor([0, 2, 2, 1, 3]), torch.tensor([0, 2, 3]), torch.tensor([0.6, 0.8, 1.0, 0.5, 0.5]))


def overlap(postings: Postings, words: list[int], weights: list[float], cards: int) -> list[float]:
    into = np.zeros(cards, dtype=np.float32)
    postings.overlap(words, weights, into)
    return into.tolist()


def test_the_cards_of_each_word_in_order():
    postings = Postings.of(BAG, 5)
    assert postings.starts.tolist() == [0, 1, 2, 4, 5, 5]
    assert postings.rows.tolist() == [0, 2, 0, 1, 2]


def test_overlap_is_the_sum_of_products_of_the_words_in_common():
    # Card 0: 0.6 · 0.5 + 0.8 · 0.25 = 0.5; card 1: 1.0 · 0.25; card 2 shares none.
    assert overlap(Postings.of(BAG, 5), [0, 2, 4], [0.5, 0.25, 9.0], 3) == pytest.approx([0.5, 0.25, 0.0])


def test_words_that_came_later_are_in_no_card():
    assert overlap(Postings.of(BAG, 5), [7, 100], [1.0, 1.0], 3) == [0.0, 0.0, 0.0]


def test_joined_ones_count_the_cards_on():
    other = Postings.of(WordBag(torch.tensor([6, 2]), torch.tensor([0, 0, 1]), torch.tensor([1.0, 0.3])), 8)
    both = Postings.joined([Postings.of(BAG, 5), other], [3, 3])
    # The fourth card has no word, the fifth word 6, the sixth word 2.
    assert overlap(both, [6, 2], [1.0, 1.0], 6) == pytest.approx([0.8, 1.0, 0.0, 0.0, 1.0, 0.3])
