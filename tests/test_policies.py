"""Policies: what the untrained one computes, and that nothing in any of them hangs on order or number of tools."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from routers import CARDS, IDENTITY, BilinearPolicy, hash_router
from torch.nn import functional as F

from dspy_router import HashEncoder, Router, ToolCard, TrainConfig, fit
from dspy_router.routing.policies import Tools, ToolSpacePolicy

MORE = [
    *CARDS,
    ToolCard("convert_units", "Convert a length or a weight to another unit."),
    ToolCard("search_pages", "Full-text search over the pages of the handbook."),
    ToolCard("send_mail", "Send an e-mail to somebody."),
]
TEXTS = ["search the handbook pages for holidays", "3 miles in kilometres, the unit", "mail this to Ann", "plus", "zzz"]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def trained_on(cards, *, deep: bool = False, members: int | None = None) -> Any:
    router = hash_router(cards)
    fit(router, IDENTITY, config=TrainConfig(epochs=40, threads=1, deep_from=1 if deep else 1000, members=members))
    assert isinstance(router.policy, ToolSpacePolicy) and router.policy.deep == deep
    assert router.policy.members == (members or 1)
    return router


@pytest.fixture(scope="module", params=[(False, None), (True, None), (True, 3)], ids=["shallow", "deep", "members"])
def trained(request):
    return trained_on(MORE, deep=request.param[0], members=request.param[1])


def logits(router: Router, texts=TEXTS, allowed=None) -> torch.Tensor:
    assert isinstance(router.space, Tools)
    with torch.no_grad():
        return router.policy(router.read(texts), router.space, allowed)


def rearranged(router: Router, order) -> Any:
    cards = [router.cards[i] for i in order]
    return Router(cards, router.encoder, policy=router.policy, vocabulary=router.vocabulary)


def test_plain_cosine_is_a_special_case():
    """Scale · cos(query, description) for the tools, scale · none_level for none."""
    encoder = HashEncoder(128)
    policy = ToolSpacePolicy(128, view_weights=(1, 0, 0), word_weight=0, scale=7, none_level=0.3)
    router = Router(MORE, encoder, policy=policy)
    cosines = F.cosine_similarity(encoder(TEXTS)[:, None], encoder([card.description for card in MORE])[None], dim=2)
    assert torch.allclose(logits(router)[:, :-1] / 7, cosines, atol=1e-6)
    assert logits(router)[:, -1] / 7 == pytest.approx([0.3] * len(TEXTS), abs=1e-6)


def test_each_view_and_the_words_add_their_share():
    encoder = HashEncoder(128)
    parts = [((1, 0, 0), 0), ((0, 1, 0), 0), ((0, 0, 1), 0), ((0, 0, 0), 1)]

    def scores(views, words):
        policy = ToolSpacePolicy(128, view_weights=views, word_weight=words, scale=1)
        return logits(Router(MORE, encoder, policy=policy))[:, :-1]

    each = [scores(*part) for part in parts]
    together = scores((0.4, 0.3, 0.2), 0.1)
    assert torch.allclose(together, 0.4 * each[0] + 0.3 * each[1] + 0.2 * each[2] + 0.1 * each[3], atol=1e-6)
    for one, view in zip(each, range(3), strict=False):
        views = encoder([card.views[view] for card in MORE])
        assert torch.allclose(one, encoder(TEXTS) @ views.T, atol=1e-6)


def test_rare_words_speak_louder_than_words_that_all_cards_have():
    cards = [ToolCard(f"t{name}", f"the {name} of a customer order") for name in ("price", "date", "address")]
    policy = ToolSpacePolicy(64, view_weights=(0, 0, 0), word_weight=1, scale=1)
    router = Router(cards, HashEncoder(64), policy=policy)
    rare, common = logits(router, ["price", "customer order"])[:, :-1]
    assert rare[0] > common[0] > 0
    assert rare.argmax() == 0 and rare[1] == rare[2] == 0
    assert common.max() - common.min() < 1e-6


@settings(max_examples=15)
@given(st.permutations(range(len(MORE))))
def test_permuting_the_tools_permutes_the_logits(order):
    router = hash_router(MORE)
    assert torch.allclose(logits(rearranged(router, order)), logits(router)[:, [*order, -1]], atol=1e-5)


def test_permuting_the_tools_permutes_the_logits_of_a_trained_policy_too(trained):
    for order in ([4, 3, 2, 1, 0], [1, 0, 3, 4, 2]):
        expected = logits(trained, [*TEXTS, *(row["query"] for row in IDENTITY)])[:, [*order, -1]]
        permuted = logits(rearranged(trained, order), [*TEXTS, *(row["query"] for row in IDENTITY)])
        assert torch.allclose(permuted, expected, atol=1e-5)


def test_training_moved_something(trained):
    assert (logits(trained) - logits(hash_router(MORE))).abs().max() > 0.1


def test_an_untrained_policy_is_the_same_for_any_number_of_tools():
    few, many = hash_router(MORE[:2]), hash_router([*MORE, *(ToolCard(f"tool{i}", f"Number {i}.") for i in range(60))])
    assert isinstance(few.policy, ToolSpacePolicy) and isinstance(many.policy, ToolSpacePolicy)
    assert {n: p.shape for n, p in few.policy.named_parameters()} == {
        n: p.shape for n, p in many.policy.named_parameters()
    }
    with torch.no_grad():
        alone = few.policy(few.read(TEXTS), few.space)
        swapped = many.policy(few.read(TEXTS), few.space)
    assert torch.equal(alone, swapped)
    assert logits(many).shape == (len(TEXTS), 66)


def test_a_tool_added_after_training_is_reached_by_its_card_at_once():
    router = trained_on(CARDS)
    query = "translate this sentence into French"
    before = router.decide("seven plus twelve")
    router.add_tools([ToolCard("translate", "Translate a sentence into another language.")])
    assert router.decide(query).tool == "translate"
    after = router.decide("seven plus twelve")
    assert (before.tool, after.tool) == ("add_numbers", "add_numbers")


@pytest.mark.parametrize("known", [False, True], ids=["untrained", "trained"])
def test_a_tool_that_comes_leaves_the_others_odds_and_one_that_goes_restores_them(known):
    router = trained_on(CARDS) if known else hash_router(CARDS)
    before = router.probabilities(TEXTS)
    router.add_tools([MORE[2]])
    between = router.probabilities(TEXTS)
    shares = between[:, [0, 1, 3]] / (1 - between[:, [2]])
    assert torch.allclose(shares, before, atol=1e-6)
    router.remove_tools(["convert_units"])
    assert torch.allclose(router.probabilities(TEXTS), before, atol=1e-6)


def test_removing_a_tool_renormalises(trained):
    router = rearranged(trained, range(len(MORE)))
    before = router.probabilities(TEXTS)
    router.remove_tools(["clock"])
    kept = before[:, [0, 2, 3, 4, 5]]
    assert torch.allclose(router.probabilities(TEXTS), kept / kept.sum(1, keepdim=True), atol=1e-6)


def test_a_forbidden_tool_is_as_good_as_removed(trained):
    allowed = ["add_numbers", "search_pages", "send_mail"]
    masked = trained.probabilities(TEXTS, allowed=allowed)
    router = rearranged(trained, range(len(MORE)))
    router.remove_tools(["clock", "convert_units"])
    assert torch.allclose(masked[:, [0, 3, 4, 5]], router.probabilities(TEXTS), atol=1e-6)
    assert (masked[:, [1, 2]] == 0).all()


def test_each_decision_has_a_mask_of_its_own(trained):
    mask = torch.ones(2, len(MORE), dtype=torch.bool)
    mask[1, 0] = False
    rows = logits(trained, ["plus", "plus"], mask)
    assert rows[0].isfinite().all()
    assert rows[1, 0] == -torch.inf and rows[1, -1].isfinite()
    assert torch.allclose(rows[0, 1:], rows[1, 1:], atol=1e-5)


def test_making_room_keeps_what_was_learned(trained):
    router = rearranged(trained, range(len(MORE)))
    router.add_tools([ToolCard("translate", "Translate a sentence.")])
    before = logits(router)
    policy = ToolSpacePolicy.from_config(router.policy.config)
    policy.load_state_dict(router.policy.state_dict())
    policy.eval().prepare(["translate", "clock"], policy.words + 7, deep=policy.deep)
    assert policy.known == [*trained.policy.known, "translate"]
    router.policy = policy
    assert torch.allclose(logits(router), before, atol=1e-5)


def test_training_again_starts_from_what_was_learned(trained):
    router = rearranged(trained, range(len(MORE)))
    before = router.probabilities([row["query"] for row in IDENTITY])
    more = [{"query": f"mail number {i} to Ann", "tool": "send_mail"} for i in range(3)]
    fit(router, [*IDENTITY, *more], config=TrainConfig(epochs=1, learning_rate=0.0))
    assert torch.allclose(router.probabilities([row["query"] for row in IDENTITY]), before, atol=0.05)


def test_a_config_builds_the_same_shape(trained):
    policy = ToolSpacePolicy.from_config(json.loads(json.dumps(trained.policy.config)))
    assert policy.config == trained.policy.config
    policy.load_state_dict(trained.policy.state_dict())


@pytest.fixture(scope="module")
def several():
    return trained_on(MORE, deep=True, members=3)


class TestMembers:
    """Several hidden layers in one policy: each is taught alone, decisions take the mean."""

    def alone(self, router: Any, member: int) -> Router:
        """The router with one of its members, in a policy of its own."""
        policy, size = router.policy, router.policy.hidden
        rows, columns = slice(member * size, (member + 1) * size), slice(member * policy.word_dim, None)
        weights = policy.state_dict()
        for name in ("up_weights", "up_biases", "project"):
            weights[name] = weights[name][rows]
        weights["hidden_weights"] = weights["hidden_weights"][:, rows]
        weights["word_vectors"] = weights["word_vectors"][:, columns][:, : policy.word_dim]
        one = ToolSpacePolicy.from_config({**policy.config, "members": 1})
        one.load_state_dict(weights)
        copied = rearranged(router, range(len(MORE)))
        copied.policy = one.eval()
        return copied

    def test_a_decision_is_their_mean(self, several):
        each = torch.stack([logits(self.alone(several, member)) for member in range(3)])
        assert (each[0] - each[1]).abs().max() > 0.01  # they have learned apart
        assert torch.allclose(logits(several), each.mean(0), atol=1e-4)

    def test_in_training_each_speaks_for_itself(self, several):
        policy = ToolSpacePolicy.from_config({**several.policy.config, "dropout": 0.0, "word_dropout": 0.0})
        policy.load_state_dict(several.policy.state_dict())
        copied = rearranged(several, range(len(MORE)))
        copied.policy = policy.train()
        mask = torch.rand(len(TEXTS), len(MORE)) < 0.7
        each = torch.cat([logits(self.alone(several, member), allowed=mask) for member in range(3)])
        assert torch.allclose(logits(copied, allowed=mask), each, atol=1e-4)

    def test_a_policy_keeps_the_hidden_layers_it_has(self, several):
        again = rearranged(several, range(len(MORE)))
        fit(again, IDENTITY, config=TrainConfig(epochs=1, deep_from=1, members=2))
        assert isinstance(again.policy, ToolSpacePolicy) and again.policy.members == 3


class TestOwnPolicy:
    """A policy of a researcher's own, twenty lines long, works wherever the shipped one does."""

    def router(self) -> Router:
        return Router.from_tools(CARDS, encoder=HashEncoder(64), policy=BilinearPolicy(64))

    def test_it_decides_and_obeys(self):
        router = self.router()
        assert router.decide("the sum of numbers").tool == "add_numbers"
        assert router.decide("the sum of numbers", allowed=["clock"]).probabilities.keys() == {"clock"}

    @pytest.mark.parametrize("objective", ["cross_entropy", "contrastive"])
    def test_it_learns(self, objective):
        router = self.router()
        config = TrainConfig(objective=objective, epochs=40, learning_rate=0.02)
        fit(router, IDENTITY, config=config)
        assert isinstance(router.policy, BilinearPolicy)
        assert [router.decide(row["query"]).tool for row in IDENTITY] == [row["tool"] for row in IDENTITY]

    def test_it_is_saved_and_loaded_by_its_owner(self, tmp_path):
        router = self.router()
        fit(router, IDENTITY, config=TrainConfig(epochs=3))
        router.save(tmp_path / "router")
        again = Router.load(tmp_path / "router", policy=BilinearPolicy(64))
        assert torch.equal(again.probabilities(TEXTS), router.probabilities(TEXTS))
        with pytest.raises(ValueError, match=r"policy of its user's own \(BilinearPolicy\).*`policy=`"):
            Router.load(tmp_path / "router")
        with pytest.raises(ValueError, match="does not fit the policy"):
            Router.load(tmp_path / "router", policy=BilinearPolicy(32))


def test_a_policy_is_described_as_before_there_could_be_several_layers():
    """A calibration holds for a policy's description and weights, and those saved earlier must hold on."""
    assert "members" not in ToolSpacePolicy(8).config
    several = ToolSpacePolicy.from_config(ToolSpacePolicy(8, members=3).config)
    assert several.members == 3
    assert ToolSpacePolicy.from_config(several.config | {"members": 1}).members == 1
