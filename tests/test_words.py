"""Words as sparse weights, against tf-idf by hand."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.routing.words import Vocabulary
from dspy_router.runtime.words import content_words, stems

CARDS = ["convert units of length", "length of a text"]


def dense(vocabulary: Vocabulary, bag):
    """A bag as a table, float32 [b, v]."""
    ends = [*bag.offsets.tolist()[1:], len(bag.indices)]
    table = torch.zeros(len(bag.offsets), len(vocabulary))
    for row, (start, end) in enumerate(zip(bag.offsets.tolist(), ends, strict=True)):
        table[row].index_add_(0, bag.indices[start:end], bag.weights[start:end])
    return table


def test_names_and_endings_do_not_hide_a_word():
    assert stems("getUserCarts") == stems("get_user_cart") == stems("Get user CARTS!")
    assert stems("Converting units") == stems("convert unit")
    assert stems("is us as") == ["is", "us", "as"]  # too short to have an ending


@pytest.mark.parametrize(
    ("one", "other"),
    [("name", "names"), ("city", "cities"), ("make", "making"), ("time", "timed"), ("boss", "boss"), ("tie", "ties")],
)
def test_the_forms_of_a_word_meet(one, other):
    vocabulary = Vocabulary.build([one])
    for text in (other, other.upper()):
        assert dense(vocabulary, vocabulary.bag([text])).norm() == pytest.approx(1)


def test_different_words_do_not_meet():
    words = ["city", "cite", "pass", "pas", "sing", "sin", "need", "nee", "series", "serious"]
    assert len({*map(tuple, map(stems, words))}) == len(words)


def test_stems_know_every_alphabet():
    assert stems("Zürich, 東京!") == ["zürich", "東京"]
    assert stems("… ?!") == []


def test_function_words_are_no_content():
    assert content_words("what is the length of it") == ["length"]
    assert content_words("just have these before others") == []  # in whatever form they stand


def test_rarity_by_hand():
    """Of two cards 'length' stands in both, idf = ln(3/3) + 1 = 1; 'text' in one, ln(3/2) + 1; a new word ln 3 + 1."""
    vocabulary = Vocabulary.build(CARDS)
    idf = dict(zip(vocabulary.ids, vocabulary.idf, strict=True))
    assert idf == {
        "convert": pytest.approx(math.log(1.5) + 1),
        "unit": idf["convert"],
        "length": 1.0,
        "text": idf["unit"],
    }
    assert vocabulary.rarest == pytest.approx(math.log(3) + 1)


def test_weights_by_hand():
    """'text text length': (1 + ln 2) · idf(text) against 1 · idf(length), divided by the length of the pair."""
    vocabulary = Vocabulary.build(CARDS)
    row = dense(vocabulary, vocabulary.card_bag(["text, text, length"]))[0]
    text, length = (1 + math.log(2)) * (math.log(1.5) + 1), 1.0
    norm = math.hypot(text, length)
    assert row[vocabulary.ids["text"]] == pytest.approx(text / norm)
    assert row[vocabulary.ids["length"]] == pytest.approx(length / norm)
    assert row.count_nonzero() == 2


def test_unknown_words_take_their_share_of_the_length():
    vocabulary = Vocabulary.build(CARDS)
    known, half = dense(vocabulary, vocabulary.card_bag(["units", "units zebra"]))
    assert known.norm() == pytest.approx(1.0)
    unit = vocabulary.idf[vocabulary.ids["unit"]]
    assert half.norm() == pytest.approx(unit / math.hypot(unit, vocabulary.rarest))


def test_queries_bring_the_words_and_pairs_that_occur_often_enough():
    vocabulary = Vocabulary.build(["clock"], ["time in Oslo", "time in Rome", "what a day"])
    time = stems("time")[0]
    assert {time, f"{time} in", "clock"} <= set(vocabulary.ids)
    assert not {"oslo", "rome", "what", "in oslo", *stems("rome")} & set(vocabulary.ids)
    assert {"oslo", "in oslo"} <= set(Vocabulary.build(["clock"], ["in Oslo"], least=1).ids)


def test_the_order_of_words_counts_through_pairs():
    vocabulary = Vocabulary.build([], ["miles to feet", "feet to miles"], least=1)
    there, back = dense(vocabulary, vocabulary.bag(["miles to feet", "feet to miles"]))
    assert not torch.equal(there, back)


def test_words_that_come_later_are_appended():
    vocabulary = Vocabulary.build(CARDS)
    before = dict(vocabulary.ids)
    vocabulary.add("convert currencies")
    assert vocabulary.ids == {**before, "currency": len(before)}
    assert vocabulary.idf[-1] == vocabulary.rarest


def test_extending_keeps_ids_and_takes_the_new_rarity():
    first, second = Vocabulary.build(CARDS), Vocabulary.build(["text", "zebra", "text"])
    both = first.extended(second)
    assert {word: both.ids[word] for word in first.ids} == first.ids
    assert both.idf[both.ids["text"]] == second.idf[second.ids["text"]]
    assert both.idf[both.ids["zebra"]] == second.idf[second.ids["zebra"]]
    assert both.rarest == second.rarest
    assert "zebra" not in first.ids


def test_another_process_numbers_the_words_alike():
    """Else weights, which go by these numbers, would differ from run to run of the same seed."""
    queries = ["time in Oslo now", "the time in Rome now", "convert miles to feet", "convert feet to miles"]
    script = f"""
import json
from dspy_router.routing.words import Vocabulary
print(json.dumps(Vocabulary.build({CARDS!r}, {queries!r}).to_dict()))
"""
    here = Vocabulary.build(CARDS, queries).to_dict()
    command, environment = [sys.executable, "-c", script], {**os.environ, "PYTHONHASHSEED": "4"}
    there = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert json.loads(there) == here


def test_a_dict_and_back():
    vocabulary = Vocabulary.build(CARDS, ["time in Oslo", "time in Rome"])
    again = Vocabulary.from_dict(vocabulary.to_dict())
    assert (again.ids, again.idf, again.rarest) == (vocabulary.ids, vocabulary.idf, vocabulary.rarest)


WORDS = st.lists(st.sampled_from(["convert", "unit", "length", "text", "zebra", "of"]), max_size=6).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=5), st.data())
def test_selected_rows_are_the_rows(texts, data):
    vocabulary = Vocabulary.build(CARDS)
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1))
    bag = vocabulary.bag(texts)
    assert torch.equal(dense(vocabulary, bag.select(torch.tensor(rows))), dense(vocabulary, bag)[rows])


@given(st.lists(WORDS, min_size=1))
def test_no_row_is_longer_than_one(texts):
    vocabulary = Vocabulary.build(CARDS)
    assert (dense(vocabulary, vocabulary.bag(texts)).norm(dim=1) <= 1 + 1e-5).all()


def test_only_the_head_of_a_very_long_text_is_read():
    assert len(stems("word " * 20_000)) < 2_000
