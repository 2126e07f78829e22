"""The router's state: it differs wherever decisions could, so that no cached decision is ever a stale one."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from routers import CARDS, IDENTITY, CountingEncoder, hash_router, quick, small

from dspy_router import HashEncoder, Router, StaleCalibration, ToolCard, fit
from dspy_router.runtime.cache import DecisionCache

TEXT = "what hour is it in Oslo"
LABELLED = [{"query": f"{row['query']} number {n}", "tool": row["tool"]} for n in range(4) for row in IDENTITY]


def cached_router(encoder=None):
    router = Router.from_tools(CARDS, encoder=encoder or CountingEncoder())
    router.cache = DecisionCache(100)
    return router


def test_a_text_is_encoded_once():
    encoder = CountingEncoder()
    router = cached_router(encoder)
    first, again = router.decide(TEXT), router.decide(TEXT)
    assert first is again
    assert Counter(encoder.seen)[TEXT] == 1
    assert router.decide(TEXT, allowed=["clock"]) != first
    assert router.cache is not None and (router.cache.hits, router.cache.misses) == (1, 2)


def nudge_a_weight(router):
    with torch.no_grad():
        router.policy.none_level.add_(0.01)


CHANGES = {
    "threshold": lambda router: setattr(router, "threshold", 0.99),
    "a tool more": lambda router: router.add_tools([ToolCard("hours", "What hour it is.")]),
    "a tool less": lambda router: router.remove_tools(["add_numbers"]),
    "training": lambda router: fit(router, IDENTITY, config=quick()),
    "calibration": lambda router: router.calibrate(LABELLED),
    "weights in place": nudge_a_weight,
    "another encoder": lambda router: setattr(router, "encoder", HashEncoder(64)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_nothing_of_before_is_found(change):
    router = cached_router()
    router.decide(TEXT)
    state = router.state
    CHANGES[change](router)
    uncached = copy.deepcopy(router)
    uncached.cache = None
    assert router.state != state
    assert router.decide(TEXT) == uncached.decide(TEXT)
    assert router.cache is not None and router.cache.hits == 0


def test_without_a_change_the_state_stays():
    router = cached_router()
    router.calibrate(LABELLED)
    assert router.state == router.state == copy.deepcopy(router).state
    assert router.uncalibrated().state != router.state


def test_copies_share_the_cache_and_each_finds_its_own():
    router = cached_router()
    decision = router.decide(TEXT)
    other = copy.deepcopy(router)
    assert other.cache is router.cache
    assert other.decide(TEXT) is decision
    nudge_a_weight(other)
    assert other.decide(TEXT) != decision
    assert router.decide(TEXT) is decision


def test_what_a_guarantee_forbids_is_not_served_from_the_cache():
    router = cached_router()
    router.calibrate([{**row, "query": row["query"] + f" {n}"} for n in range(6) for row in LABELLED], max_risk=0.3)
    router.decide(TEXT)
    router.add_tools([ToolCard("hours", "What hour it is.")])
    with pytest.raises(StaleCalibration):
        router.decide(TEXT)


def test_an_encoder_that_learns_is_watched_too():
    router = small("gru")
    router.cache = DecisionCache()
    before = router.decide(TEXT)
    with torch.no_grad():
        next(router.encoder.parameters()).add_(0.3)  # pyright: ignore[reportAttributeAccessIssue]
    assert router.decide(TEXT) is not before
    assert router.cache.hits == 0


def test_no_texts_no_decisions_and_one_tool_is_enough():
    router = hash_router([ToolCard("clock", "The time.")])
    assert router.decide_batch([]) == []
    assert router.decide("the time").tool == "clock"
    assert router.decide("the time", allowed=[]).tool is None
    router.cache = DecisionCache()
    assert router.decide_batch([]) == []
