"""Batches: every number once, and lengths that go together."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.learning.batches import bucketed_batches, shuffled_batches, spread


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_spread_takes_the_first_rows_of_each_label_and_none_without():
    labels = [("add",), ("add",), ("clock",), (), ("add",), (), ("clock", "add"), None, None]
    assert spread(labels, 1) == [0, 2, 3, 6]
    assert spread(labels, 2) == [0, 1, 2, 3, 5, 6]
    assert spread(labels, 0) == []
