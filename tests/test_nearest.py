"""The index over points: what it finds, and that growing leaves the one that others search alone."""

from __future__ import annotations

import numpy as np
import pytest

from dspy_router.routing.many.nearest import NearestPoints
from dspy_router.routing.many.settings import IndexConfig

CONFIG = IndexConfig(search_effort=400, nearest=5)
POINTS = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
QUERIES = np.random.default_rng(1).normal(size=(8, 16)).astype(np.float32)


@pytest.mark.parametrize("precision", ["i8", "f16"])
def test_it_finds_the_points_of_largest_product(precision):
    index = NearestPoints.build(POINTS, IndexConfig(search_effort=400, nearest=20, precision=precision))
    right = np.argsort(-QUERIES @ POINTS.T, axis=1)[:, :5]
    for found, wanted in zip(index.search(QUERIES, 20), right, strict=True):
        assert set(wanted) <= set(found)


def test_one_query_finds_what_it_finds_among_others():
    index = NearestPoints.build(POINTS, CONFIG)
    for query, found in zip(QUERIES, index.search(QUERIES, 5), strict=True):
        assert index.search(query[None], 5)[0].tolist() == found.tolist()


def test_the_scale_of_a_query_makes_no_difference():
    index = NearestPoints.build(POINTS, CONFIG)
    assert [one.tolist() for one in index.search(QUERIES, 5)] == [
        one.tolist() for one in index.search(QUERIES * 1e-3, 5)
    ]


def test_growing_makes_another():
    index = NearestPoints.build(POINTS[:299], CONFIG)
    grown = index.grown(10 * POINTS[299:])
    assert (len(index), len(grown)) == (299, 300)
    assert 299 in grown.search(POINTS[299:], 5)[0]
    assert 299 not in index.search(POINTS[299:], 5)[0]


def test_asked_for_more_than_there_are_it_gives_all():
    index = NearestPoints.build(POINTS[:3], CONFIG)
    assert sorted(index.search(QUERIES[:1], 10)[0].tolist()) == [0, 1, 2]


def test_two_builds_are_one_to_the_byte():
    assert NearestPoints.build(POINTS, CONFIG).to_bytes() == NearestPoints.build(POINTS, CONFIG).to_bytes()


def test_points_that_are_all_zero_can_be_indexed():
    assert len(NearestPoints.build(np.zeros((3, 4), dtype=np.float32), CONFIG).search(QUERIES[:1, :4], 2)[0]) == 2
