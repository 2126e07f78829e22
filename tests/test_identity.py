"""A router's identity: what changes it, and that no change of torch's goes unnoticed."""

from __future__ import annotations

import copy

import pytest
import torch
from routers import CARDS, hash_router, small
from torch import nn

from dspy_router import Router, ToolCard
from dspy_router.routing.trust.identity import Watch
from dspy_router.runtime.certificate import Identity


def identity(router: Router, watch: Watch | None = None) -> Identity:
    return (watch or Watch()).read(router.encoder, router.policy, router.vocabulary, router.cards, router.space)


def parts(router: Router):
    return router.encoder, router.policy, router.vocabulary, router.cards


def test_the_order_of_the_tools_is_no_part_of_it():
    router = hash_router()
    turned = Router(router.cards[::-1], router.encoder, policy=router.policy, vocabulary=router.vocabulary)
    assert identity(turned) == identity(router)


def test_the_threshold_is_no_part_of_it():
    router = hash_router()
    before = identity(router)
    router.threshold = 0.5
    assert identity(router) == before


def test_each_change_is_named():
    router = hash_router()
    before = identity(router)
    router.add_tools([ToolCard("units", "Convert units.")])
    after = identity(router)
    assert before.changes(after) == ["the vocabulary", "the tools or their cards"]
    with torch.no_grad():
        router.policy.log_scale.add_(0.1)  # pyright: ignore
    assert after.changes(identity(router)) == ["the policy's weights"]
    other = Router.from_tools(CARDS, encoder="hash")
    reworded = Router.from_tools([ToolCard("clock", "Something else."), CARDS[0]], encoder="hash")
    assert "the tools or their cards" in identity(other).changes(identity(reworded))


def change_in_place(policy):
    with torch.no_grad():
        policy.biases.mul_(2).add_(1)


def change_by_optimizer(policy):
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.1, fused=True)
    policy.biases.sum().backward()
    optimizer.step()


def write_past_the_count(policy):
    policy.query_weights.data.add_(1)


def load_weights(policy):
    state = {name: tensor + 1 for name, tensor in policy.state_dict().items()}
    policy.load_state_dict(state)


def swap_a_parameter(policy):
    policy.biases = nn.Parameter(policy.biases.detach() + 1)


def swap_the_data(policy):
    policy.biases.data = policy.biases.data + 1


@pytest.mark.parametrize(
    "change",
    [change_in_place, change_by_optimizer, write_past_the_count, load_weights, swap_a_parameter, swap_the_data],
)
def test_a_watch_sees_every_change(change):
    router, watch = hash_router(), Watch()
    before = identity(router, watch)
    assert identity(router, watch) is before  # read once, as long as nothing happens
    change(router.policy)
    assert identity(router, watch) != before
    assert identity(router, watch) == identity(router)


def test_a_watch_sees_an_encoder_that_learns():
    router, watch = small("gru"), Watch()
    router.encoder = router.encoder.thawed()  # pyright: ignore
    before = identity(router, watch)
    with torch.no_grad():
        next(iter(router.encoder.parameters())).add_(1)  # pyright: ignore
    assert before.changes(identity(router, watch)) == ["the encoder"]


def test_a_copy_is_the_same():
    router = hash_router()
    assert identity(copy.deepcopy(router)) == identity(router)
