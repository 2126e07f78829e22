"""Shortlists: what the tools that were not looked at are worth together."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from crowds import CARDS, QUERIES, crowd_of, crowded
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.routing.many.shortlist import Look, Shortlist


def look(router):
    with torch.no_grad():
        return Look(router.policy, router.crowd, router.read(QUERIES))


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=5), st.floats(-50, 50), st.floats(-50, 50))
def test_all_shares_sum_to_one(logits, tail, none):
    shares, beyond, others = Shortlist(np.arange(len(logits)), np.array(logits), tail, none).probabilities()
    assert float(shares.sum()) + beyond + others == pytest.approx(1.0)


def test_shares_are_the_softmax():
    # exp(0), exp(log 2), a tail of 3 in all and none at exp(log 4): 1 + 2 + 3 + 4 = 10.
    shares, tail, none = Shortlist(
        np.array([5, 6]), np.array([math.log(2), 0.0]), math.log(3), math.log(4)
    ).probabilities()
    assert [*shares, tail, none] == pytest.approx([0.2, 0.1, 0.3, 0.4])


def test_with_nothing_beyond_the_tail_is_nothing():
    assert Shortlist(np.array([1]), np.array([0.0]), -math.inf, 0.0).probabilities()[1] == 0.0


def test_the_tail_is_estimated_without_bias():
    # Over many samples the mean of the estimated sum comes close to the sum: 300 tools, 30 of them sampled.
    router = crowded(nearest=10, sharing=10, listed=5, sample=30)
    exact = np.array([math.exp(one.tail) for one in look(router).exact()])
    sums = []
    for seed in range(200):
        names = np.random.default_rng(seed).permutation(len(CARDS)).astype(np.uint64)
        router.space = replace(crowd_of(router), hashes=names)
        sums.append([math.exp(one.tail) for one in look(router).shortlists()])
    ratios = np.mean(sums, axis=0) / exact
    assert ratios == pytest.approx(np.ones(len(QUERIES)), abs=0.1)
    assert np.std(np.array(sums) / exact, axis=0).max() < 0.6


def test_the_index_and_the_words_each_find_what_the_other_misses():
    router = crowded(nearest=1, sharing=30, search_effort=1)
    by_words = router.check_index(QUERIES[:4], depth=3).recall
    alone = crowded(nearest=1, sharing=0, search_effort=1).check_index(QUERIES[:4], depth=3).recall
    assert by_words > alone
