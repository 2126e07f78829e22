"""The policy that asks the nearest training queries."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from math import log

import pytest
import torch
from routers import CARDS, IDENTITY, BilinearPolicy, hash_router

from dspy_router import HashEncoder, Router, ToolCard, TrainConfig, fit
from dspy_router.routing.neighbours import NeighbourPolicy, without_neighbours
from dspy_router.routing.policies import Tools

TEXTS = ["seven plus twelve", "what hour is it in Rome", "sing a song", "plus an hour", "zzz"]
NONE = [{"query": "sing me a song", "tool": None}]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def trained(count: int = 3, rows=(*IDENTITY, *NONE), cards=CARDS) -> Router:
    router = hash_router(cards)
    fit(router, rows, config=TrainConfig(epochs=3, threads=1, neighbours=count))
    assert isinstance(router.policy, NeighbourPolicy)
    return router


def logits(router: Router, policy=None) -> torch.Tensor:
    assert isinstance(router.space, Tools)
    with torch.no_grad():
        return (policy or router.policy)(router.read(TEXTS), router.space)


def test_a_single_neighbour_by_hand():
    """All mass is on its label: log(1 + 0.001) there and log(0.001) elsewhere, times 0.6."""
    router = trained(1)
    raised = logits(router) - logits(router, without_neighbours(router.policy))
    near, far = 0.6 * log(1.001), 0.6 * log(0.001)
    assert raised[0].tolist() == pytest.approx([near, far, far], abs=1e-4)
    assert raised[1].tolist() == pytest.approx([far, near, far], abs=1e-4)
    assert raised[2].tolist() == pytest.approx([far, far, near], abs=1e-4)


def test_several_right_tools_share_a_neighbour():
    router = trained(1, [*IDENTITY[1:], *NONE, {"query": TEXTS[0], "tool": ["clock", "add_numbers"]}])
    raised = logits(router) - logits(router, without_neighbours(router.policy))
    assert raised[0].tolist() == pytest.approx([0.6 * log(0.501), 0.6 * log(0.501), 0.6 * log(0.001)], abs=1e-4)


def test_it_learns_what_stands_in_the_queries():
    """The neighbours alone: without a learning rate the policy under them stays the untrained one."""
    rows = [*IDENTITY, *NONE]
    still = TrainConfig(epochs=1, learning_rate=0.0, threads=1)
    plain, router = hash_router(), hash_router()
    fit(plain, rows, config=still)
    fit(router, rows, config=replace(still, neighbours=3))
    assert not all(plain.decide(row["query"]).tool == row["tool"] for row in rows)
    assert [router.decide(row["query"]).tool for row in rows] == [row["tool"] for row in rows]


def test_tools_permuted_added_and_removed():
    router = trained()
    turned = Router(router.cards[::-1], router.encoder, policy=router.policy, vocabulary=router.vocabulary)
    assert torch.allclose(logits(turned), logits(router)[:, [1, 0, 2]], atol=1e-5)
    before = router.probabilities(TEXTS)
    router.add_tools([ToolCard("weather", "Will it rain?")])
    between = router.probabilities(TEXTS)
    assert torch.allclose(between[:, [0, 1, 3]] / (1 - between[:, [2]]), before, atol=1e-5)
    router.remove_tools(["clock", "weather"])
    kept = before[:, [0, 2]]
    assert torch.allclose(router.probabilities(TEXTS), kept / kept.sum(1, keepdim=True), atol=1e-5)


def test_a_forbidden_tool_stays_forbidden():
    decision = trained().decide("what hour is it in Rome", allowed=["add_numbers"])
    assert set(decision.probabilities) == {"add_numbers"}


def test_more_neighbours_than_queries_and_big_batches():
    router = trained(500)
    alone = [router.decide(text) for text in TEXTS]
    many = router.decide_batch(TEXTS * 80)
    assert [decision.tool for decision in many] == [decision.tool for decision in alone] * 80


def test_saved_copied_and_pickled(tmp_path):
    router = trained()
    router.add_tools([ToolCard("weather", "Will it rain?")])  # none of the neighbours knows it
    router.save(tmp_path / "router")
    for twin in (Router.load(tmp_path / "router"), copy.deepcopy(router), pickle.loads(pickle.dumps(router))):
        assert isinstance(twin.policy, NeighbourPolicy)
        assert twin.fingerprint == router.fingerprint
        assert torch.equal(twin.probabilities(TEXTS), router.probabilities(TEXTS))
        assert twin.decide("will it rain").tool == router.decide("will it rain").tool == "weather"


def test_training_again_replaces_the_neighbours():
    router = trained()
    fit(router, IDENTITY, config=TrainConfig(epochs=1, threads=1))
    assert not isinstance(router.policy, NeighbourPolicy)
    fit(router, IDENTITY, config=TrainConfig(epochs=1, threads=1, neighbours=2))
    assert isinstance(router.policy, NeighbourPolicy)
    assert not isinstance(router.policy.base, NeighbourPolicy)


def test_it_needs_the_policy_it_knows():
    router = Router.from_tools(CARDS, encoder=HashEncoder(64), policy=BilinearPolicy(64))
    before = router.fingerprint
    with pytest.raises(ValueError, match=r"neighbours needs a ToolSpacePolicy .* is a BilinearPolicy"):
        fit(router, IDENTITY, config=TrainConfig(epochs=1, neighbours=2))
    assert router.fingerprint == before
