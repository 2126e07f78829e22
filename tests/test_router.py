"""The router: one text, one decision, whatever the order, the batch or the thread."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from routers import CARD_POOL, CARDS, IDENTITY, QUERIES, CountingEncoder, hash_router

from dspy_router import HashEncoder, Router, ToolCard, TrainConfig, fit
from dspy_router.routing.catalogue import build_encoder
from dspy_router.routing.policies import ToolSpacePolicy

TEXTS = [*(row["query"] for row in IDENTITY), *QUERIES]


@pytest.fixture(scope="module")
def trained():
    router = hash_router()
    fit(router, IDENTITY, config=TrainConfig(epochs=10, learning_rate=0.01))
    return router


def figures(decision):
    return [*decision.probabilities.values(), decision.none_probability]


@pytest.mark.parametrize("text", QUERIES)
def test_a_decision_is_a_distribution_and_its_largest_part(text):
    decision = hash_router(CARD_POOL).decide(text)
    assert list(decision.probabilities) == [card.name for card in CARD_POOL]
    assert sum(figures(decision)) == pytest.approx(1, abs=1e-5)
    assert decision.confidence == pytest.approx(max(figures(decision)), abs=1e-5)
    assert (decision.source, decision.propensity) == ("router", 1.0)


def test_the_cards_alone_lead_somewhere():
    router = hash_router()
    assert router.decide("the sum of two numbers").tool == "add_numbers"
    assert router.decide("current time in the city of Oslo").tool == "clock"
    assert router.decide("zzz").tool is None


def test_the_same_on_any_thread_and_in_any_batch(trained):
    alone = [trained.decide(text) for text in TEXTS]
    assert [trained.decide(text) for text in TEXTS] == alone
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(trained.decide, TEXTS * 8)) == alone * 8
    for batch in (trained.decide_batch(TEXTS), trained.decide_batch(TEXTS * 200)[-len(TEXTS) :]):
        assert [decision.tool for decision in batch] == [decision.tool for decision in alone]
        for one, other in zip(batch, alone, strict=True):
            assert figures(one) == pytest.approx(figures(other), abs=1e-6)


@settings(max_examples=40)
@given(st.permutations(CARD_POOL), st.sampled_from(QUERIES), st.integers(1, len(CARD_POOL)))
def test_the_order_of_tools_never_changes_the_choice(cards, text, count):
    cards = cards[:count]
    in_order = [card for card in CARD_POOL if card in cards]
    first, second = (hash_router(one).decide(text) for one in (in_order, cards))
    assert first.tool == second.tool
    assert dict(first.probabilities) == pytest.approx(dict(second.probabilities), abs=1e-6)


def test_the_order_of_tools_never_changes_the_choice_of_a_trained_router(trained):
    parts = {"policy": trained.policy, "vocabulary": trained.vocabulary}
    turned = Router(trained.cards[::-1], trained.encoder, **parts)
    for text in TEXTS:
        assert turned.decide(text).tool == trained.decide(text).tool


def test_tools_that_no_text_can_tell_apart_are_chosen_by_name():
    cards = [ToolCard(name, "Search the pages of the handbook.") for name in ("plugh", "fnord", "xyzzy")]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        policy = ToolSpacePolicy(64, view_weights=(1, 0, 0), word_weight=0)
        decision = Router([cards[i] for i in order], HashEncoder(64), policy=policy).decide("search the handbook")
        assert len(set(decision.probabilities.values())) == 1
        assert decision.tool == "fnord"


def test_nothing_to_decide():
    assert hash_router().decide_batch([]) == []


class TestThreshold:
    def test_it_accepts_what_is_sure_enough(self):
        router = hash_router()
        text = "the sum of two numbers"
        confidence = router.decide(text).confidence
        accepted = []
        for threshold in (0.0, confidence, min(1.0, confidence + 0.01)):
            router.threshold = threshold
            accepted.append(router.decide(text).accepted)
        assert accepted == [True, True, False]

    @pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan"), "0.5", True, None], ids=repr)
    def test_it_is_a_probability(self, wrong):
        router = hash_router()
        with pytest.raises(ValueError, match=r"expected a number in \[0, 1\], got"):
            router.threshold = wrong
        assert router.threshold == 0.0
        with pytest.raises(ValueError, match=r"expected a number in \[0, 1\]"):
            Router.from_tools(CARDS, encoder="hash", threshold=wrong)


class TestAllowed:
    def test_only_those_and_none(self):
        router = hash_router(CARD_POOL)
        decision = router.decide("sum of two numbers", allowed={"clock", "xyzzy"})
        assert set(decision.probabilities) == {"clock", "xyzzy"}
        assert sum(figures(decision)) == pytest.approx(1, abs=1e-6)
        assert decision.tool in {"clock", "xyzzy", None}

    def test_nothing_allowed_leaves_none(self):
        decision = hash_router().decide("sum of two numbers", allowed=[])
        assert (decision.tool, decision.none_probability, dict(decision.probabilities)) == (None, 1.0, {})

    def test_an_unknown_name_is_refused_with_the_nearest(self):
        with pytest.raises(ValueError, match=r"no tool 'clok'; it knows add_numbers, clock\. Did you mean 'clock'\?"):
            hash_router().decide("time", allowed=["clok"])


class TestBadQueries:
    @pytest.mark.parametrize("text", ["", "  \n\t "], ids=repr)
    def test_empty(self, text):
        with pytest.raises(ValueError, match="must not be empty"):
            hash_router().decide(text)
        with pytest.raises(ValueError, match="must not be empty"):
            hash_router().decide_batch(["fine", text])

    @pytest.mark.parametrize("text", [None, 3, b"time", ["time"]], ids=repr)
    def test_no_string(self, text):
        with pytest.raises(TypeError, match=f"must be a string, got {type(text).__name__}"):
            hash_router().decide(text)

    def test_a_string_is_no_batch(self):
        with pytest.raises(TypeError, match="for a single text use decide"):
            hash_router().decide_batch("what time is it")

    @pytest.mark.parametrize("encoder", ["hash", "gru"])
    def test_very_long(self, encoder):
        router = Router.from_tools(CARDS, encoder=encoder)
        for text in ("time in Oslo " * 8_000, "x" * 100_000):
            assert sum(figures(router.decide(text))) == pytest.approx(1, abs=1e-5)

    def test_the_head_of_a_very_long_query_still_speaks(self):
        decision = hash_router().decide("the current time in a city " * 10 + "x " * 100_000)
        assert decision.probabilities["clock"] > 2 * decision.probabilities["add_numbers"]


class TestBadTools:
    def test_none(self):
        with pytest.raises(ValueError, match="at least one tool, got none"):
            Router.from_tools([], encoder="hash")

    def test_two_of_one_name(self):
        with pytest.raises(ValueError, match=r"name of its own; 'clock' was given more than once"):
            Router.from_tools([*CARDS, ToolCard("clock", "Another.")], encoder="hash")

    def test_what_is_no_tool(self):
        with pytest.raises(TypeError, match="must be a Python function"):
            Router.from_tools([CARDS[0], 3], encoder="hash")


class TestFingerprint:
    def test_the_same_parts_give_the_same(self, trained):
        assert hash_router().fingerprint == hash_router().fingerprint
        assert hash_router().fingerprint != trained.fingerprint

    def test_all_that_decides_counts(self):
        def change_threshold(router):
            router.threshold = 0.5

        def change_weight(router):
            with torch.no_grad():
                router.policy.none_level += 1e-3

        changes = [
            change_threshold,
            change_weight,
            lambda router: router.remove_tools(["clock"]),
            lambda router: router.add_tools([ToolCard("weather")]),
        ]
        prints = [hash_router().fingerprint, Router.from_tools(CARDS, encoder=HashEncoder(64)).fingerprint]
        for change in changes:
            router = hash_router()
            change(router)
            prints.append(router.fingerprint)
        described = [CARDS[0], ToolCard("clock", "Other words.", CARDS[1].parameters)]
        prints.append(hash_router(described).fingerprint)
        assert len(set(prints)) == len(prints)


class TestCopies:
    def test_a_deep_copy_decides_alike_and_goes_its_own_way(self, trained):
        twin = copy.deepcopy(trained)
        assert twin.fingerprint == trained.fingerprint
        assert torch.equal(twin.probabilities(TEXTS), trained.probabilities(TEXTS))
        before = trained.fingerprint
        with torch.no_grad():
            twin.policy.none_level += 5
        twin.add_tools([ToolCard("weather", "Will it rain?")])
        twin.threshold = 0.9
        assert trained.fingerprint == before
        assert trained.decide(TEXTS[0]) != twin.decide(TEXTS[0])

    def test_a_frozen_encoder_is_shared_and_a_trainable_one_copied(self):
        for encoder in (HashEncoder(32), CountingEncoder()):
            assert copy.deepcopy(Router.from_tools(CARDS, encoder=encoder)).encoder is encoder
        gru = build_encoder("gru", dim=16)
        twin = copy.deepcopy(Router.from_tools(CARDS, encoder=gru)).encoder
        assert twin is not gru and twin.fingerprint == gru.fingerprint

    @pytest.mark.parametrize("encoder", ["hash", "gru"])
    def test_pickled(self, encoder):
        router = Router.from_tools(CARDS, encoder=encoder, threshold=0.25)
        fit(router, IDENTITY, config=TrainConfig(epochs=1, threads=1))
        again = pickle.loads(pickle.dumps(router))
        assert (again.fingerprint, again.threshold) == (router.fingerprint, 0.25)
        assert torch.equal(again.probabilities(TEXTS), router.probabilities(TEXTS))


class TestOtherTools:
    def test_the_same_names_in_any_order_will_do(self, trained, tmp_path):
        trained.save(tmp_path / "router")
        again = Router.load(tmp_path / "router", tools=list(trained.cards)[::-1])
        assert again.tools == trained.tools

    def test_others_are_refused(self, trained, tmp_path):
        trained.save(tmp_path / "router")
        with pytest.raises(ValueError, match=r"saved for other tools.*\['clock'\].*unknown to it: \['weather'\]"):
            Router.load(tmp_path / "router", tools=[CARDS[0], ToolCard("weather")])


def test_weights_that_are_no_numbers_decide_nothing(trained):
    router = copy.deepcopy(trained)
    with torch.no_grad():
        router.policy.word_weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="not numbers"):
        router.decide("the sum of numbers")


def test_it_describes_itself(trained):
    assert repr(hash_router()) == "Router(2 tools, HashEncoder, untrained, threshold=0.0)"
    assert "trained" in repr(trained) and "untrained" not in repr(trained)
