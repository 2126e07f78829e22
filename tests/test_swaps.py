"""Swapped words: what may stand for what by hand, and texts that are new, of the same words but some."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.learning.swaps import swap_words, words_alike

# Directions about their mean, which is 0: rain and drizzle lie 2 · atan(1/2) apart, a cosine of 0.6.
WORDS = ["rain", "drizzle", "euro", "##euro", "the", "20"]
VECTORS = torch.tensor([[2.0, 1.0], [2.0, -1.0], [-4.0, 0.0], [0.0, 0.0], [0.0, 3.0], [0.0, -3.0]])
ALIKE = {"rain": ["drizzle"], "cheap": ["low", "budget"]}


class TestAlike:
    def test_near_words_stand_for_each_other_and_far_ones_for_none(self):
        assert words_alike(["Rain or drizzle?", "a euro"], WORDS, VECTORS) == {"rain": ["drizzle"], "drizzle": ["rain"]}

    def test_only_words_of_the_texts_are_looked_up(self):
        assert words_alike(["will it rain"], WORDS, VECTORS) == {"rain": ["drizzle"]}

    def test_function_words_numbers_and_parts_of_words_stand_for_nothing(self):
        assert words_alike(["the 20 ##euro"], WORDS, torch.ones(6, 2)) == {}

    def test_the_nearest_comes_first_and_there_are_eight_at_most(self):
        angles = torch.tensor([0.0] + [0.1 * (i + 1) for i in range(10)])
        vectors = torch.cat([torch.stack([angles.cos(), angles.sin()], 1), torch.tensor([[-30.0, 0.0]])])
        names = ["".join(["sun", *"abcdefghij"[i - 1 : i]]) if i else "sun" for i in range(11)]
        found = words_alike(["sun"], [*names, "moon"], vectors)["sun"]
        assert found == names[1:9]


class TestSwaps:
    def test_letters_around_the_words_stay(self):
        assert swap_words(["Rain, again!"], ALIKE, variations=1) == ["drizzle, again!"]

    def test_a_text_whose_words_nothing_stands_for_is_left_out(self):
        assert swap_words(["snow", "rain"], ALIKE, variations=2) == ["drizzle"]

    def test_none_are_asked_for(self):
        assert swap_words(["rain"], ALIKE, variations=0) == []

    @given(st.lists(st.text(max_size=30).map(lambda text: f"{text} cheap rain"), max_size=5), st.integers(0, 3))
    def test_they_are_new_differ_and_are_no_more_than_asked_for(self, texts, variations):
        made = swap_words(texts, ALIKE, variations=variations)
        assert len(set(made)) == len(made) <= variations * len(texts)
        assert not set(made) & set(texts)

    def test_what_is_made_of_a_text_does_not_change_with_the_others(self):
        texts = [f"cheap rain {number}" for number in range(9)]
        each = [made for text in texts for made in swap_words([text], ALIKE, variations=2)]
        assert set(swap_words(texts, ALIKE, variations=2)) == set(each)

    def test_the_seed_decides(self):
        texts = [f"cheap rain {number}" for number in range(20)]
        one, same, other = (swap_words(texts, ALIKE, variations=2, seed=seed) for seed in (0, 0, 1))
        assert one == same != other
