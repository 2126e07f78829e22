"""The policy's head in the slim runtime: many texts at once, each as if it were alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from exporting import exported, trained
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.runtime import head as heads
from dspy_router.runtime.head import Head, _Entries, one_row
from dspy_router.runtime.words import WordRows

ROWS = st.lists(st.lists(st.tuples(st.integers(1, 9), st.floats(0.1, 1.0)), max_size=9), min_size=1, max_size=20)
QUERIES = ["hour " * count + "of Oslo" for count in (1, 30, 2, 0, 7, 30, 1)] + ["zzz", "seven plus two"]


def packed(rows) -> WordRows:
    offsets = [sum(map(len, rows[:row])) for row in range(len(rows))]
    return WordRows([word for row in rows for word, _ in row], offsets, [weight for row in rows for _, weight in row])


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Head:
    return exported(trained(), tmp_path_factory.mktemp("head") / "router").head


@given(ROWS, st.integers(1, 7))
def test_every_text_is_in_one_run_beside_others_of_its_length(rows, most):
    entries = _Entries(packed(rows))
    runs = [run.tolist() for run in entries.runs(most)]
    assert sorted(row for run in runs for row in run) == list(range(len(rows)))
    assert all(0 < len(run) <= most for run in runs)
    lengths = [len(rows[row]) for run in runs for row in run]
    assert lengths == sorted(lengths)


@given(ROWS)
def test_rows_filled_up_hold_their_words_and_nothing_that_weighs(rows):
    ids, weights = _Entries(packed(rows)).filled_up(np.arange(len(rows)))
    assert ids.shape == weights.shape == (len(rows), max(1, *map(len, rows)))
    for row, words, shares in zip(rows, ids.tolist(), weights.tolist(), strict=True):
        assert words[: len(row)] == [word for word, _ in row]
        assert shares == pytest.approx([weight for _, weight in row] + [0.0] * (len(words) - len(row)))


def test_long_texts_go_together_as_far_as_memory_allows(monkeypatch):
    monkeypatch.setattr(heads, "_ENTRIES_A_RUN", 10)
    runs: Iterator = _Entries(packed([[(1, 1.0)] * count for count in (1, 1, 1, 4, 4, 4, 99)])).runs(64)
    assert [run.tolist() for run in runs] == [[0, 1, 2], [3, 4], [5], [6]]


def test_a_text_without_a_word_has_one_that_weighs_nothing():
    for count in (0, 1):
        ids, weights = one_row(WordRows([], [0] * count, []))
        assert ids.shape == weights.shape == (count, 1)
        assert not weights.any()


@pytest.mark.parametrize("most", [1, 2, 64])
def test_a_text_has_the_logits_that_it_has_alone(head, most, monkeypatch):
    monkeypatch.setattr(heads, "_TEXTS_A_RUN", most)
    vectors = np.random.default_rng(0).normal(size=(len(QUERIES), 512)).astype(np.float32)
    forbidden = np.array([[0.0, -np.inf, 0.0]], dtype=np.float32)
    together = head(vectors, QUERIES, forbidden)
    alone = [head(vectors[row : row + 1], [text], forbidden)[0] for row, text in enumerate(QUERIES)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
