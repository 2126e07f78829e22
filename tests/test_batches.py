"""Batches: labels as masks, every number once, and lengths that go together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dspy_router import Episode
from dspy_router.learning.batches import Labelled, bucketed_batches, shuffled_batches, spread

TOOLS = ("add", "clock", "units")
ROWS = [
    {"query": "2 + 3", "tool": "add"},
    {"query": "3 miles", "tool": ["units", "add"]},
    {"query": "sing", "tool": None},
    {"query": "hum", "tool": []},
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_labels_become_columns():
    data = Labelled.read(ROWS, TOOLS)
    assert data.texts == ["2 + 3", "3 miles", "sing", "hum"]
    assert data.labels == [("add",), ("units", "add"), (), ()]
    assert data.right.int().tolist() == [[1, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
    assert len(data) == 4


def test_rows_and_episodes_read_alike():
    rows, episodes = Labelled.read(ROWS, TOOLS), Labelled.read(map(Episode.from_example, ROWS), TOOLS)
    assert rows.texts == episodes.texts
    assert torch.equal(rows.right, episodes.right)


def test_the_empty_set_is_called_by_its_name():
    with pytest.raises(ValueError, match="The validation set is empty: expected at least one example"):
        Labelled.read([], TOOLS, what="validation set")


def test_an_unknown_label_is_named_with_its_place_and_the_nearest_tool():
    with pytest.raises(ValueError, match=r"Example 2 .* labelled 'unit', .* 3 tools\. Did you mean 'units'\?"):
        Labelled.read([ROWS[0], {"query": "3 miles", "tool": ["add", "unit"]}], TOOLS)


def test_a_missing_label_is_named_with_its_text():
    with pytest.raises(ValueError, match=r"Example 2 .* has no label: expected a field 'tool' .*'3 miles'"):
        Labelled.read([ROWS[0], {"query": "3 miles"}], TOOLS)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 99))
def test_every_number_once(count, size, seed):
    for batches in (
        list(shuffled_batches(count, size, generator(seed))),
        list(bucketed_batches([i % 7 for i in range(count)], size, generator(seed))),
    ):
        assert sorted(torch.cat(batches).tolist()) == list(range(count))
        assert max(map(len, batches)) <= size
        assert len(batches) == -(-count // size)


def test_the_generator_alone_decides_the_order():
    lengths = list(range(50))
    for draw in (lambda g: shuffled_batches(50, 8, g), lambda g: bucketed_batches(lengths, 8, g)):
        first, again, other = (torch.cat(list(draw(generator(seed)))) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_a_bucket_holds_similar_lengths():
    """Of 200 lengths a shuffled batch of 10 spans most of the range; a bucket may span a fifth and the jitter."""
    lengths = [5 * i for i in range(1, 201)]
    for batch in bucketed_batches(lengths, 10, generator()):
        longest = max(lengths[i] for i in batch.tolist())
        shortest = min(lengths[i] for i in batch.tolist())
        assert longest - shortest <= 0.25 * longest + 50


def test_spread_takes_the_first_rows_of_each_label():
    labels = [("add",), ("add",), ("clock",), (), ("add",), (), ("clock", "add")]
    assert spread(labels, 1) == [0, 2, 3, 6]
    assert spread(labels, 2) == [0, 1, 2, 3, 5, 6]
    assert spread(labels, 0) == []
