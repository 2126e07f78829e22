"""Training and encoders: a frozen one is asked once, one that trains is a copy, and the kept one reads the cards."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from routers import CARDS, IDENTITY, CountingEncoder, choices, quick, small

from dspy_router import HashEncoder, Router, fit
from dspy_router.routing.encoders import encode

NONE = [{"query": "sing me a song", "tool": None}, {"query": "tell me a joke", "tool": None}]
QUERIES = [row["query"] for row in [*IDENTITY, *NONE]]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def test_a_frozen_encoder_encodes_each_text_once():
    encoder = CountingEncoder()
    router = Router.from_tools(CARDS, encoder=encoder)
    encoder.seen.clear()
    fit(router, IDENTITY, val=NONE + IDENTITY[:1], config=quick(epochs=6, patience=6))
    counts = Counter(encoder.seen)
    assert {text: counts[text] for text in QUERIES if counts[text] != 1} == {IDENTITY[0]["query"]: 2}
    assert not {text for card in CARDS for text in card.views} & set(counts)  # nor the cards again


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_an_encoder_from_scratch_always_trains_on_a_copy(kind):
    router = small(kind)
    encoder, before = router.encoder, router.encoder.fingerprint
    fit(router, IDENTITY, config=quick())
    assert router.encoder is not encoder
    assert router.encoder.fingerprint != before == encoder.fingerprint


@pytest.mark.parametrize("val", [None, IDENTITY], ids=["last epoch", "best epoch"])
def test_the_cards_are_read_by_the_encoder_that_is_kept(val):
    """Else a tool that is added later would live in another space than the old ones."""
    router = small("gru")
    fit(router, IDENTITY, val=val, config=quick(epochs=6, patience=6, encoder_learning_rate=0.02))
    views = encode(router.encoder, [text for card in CARDS for text in card.views])
    assert torch.allclose(router.space.views.flatten(0, 1), views, atol=1e-6)
    assert router.memory is not None
    assert torch.allclose(router.memory.vectors, encode(router.encoder, router.memory.texts), atol=1e-6)


def test_fine_tuning_leaves_the_shared_encoder_alone():
    router = Router.from_tools(CARDS, encoder="minilm")
    other = copy.deepcopy(router)
    before, decision = other.encoder.fingerprint, other.decide("seven plus twelve")
    assert other.encoder is router.encoder
    fit(router, IDENTITY[::2], config=quick(epochs=1, train_encoder=True))
    assert router.encoder is not other.encoder
    assert router.encoder.fingerprint != before == other.encoder.fingerprint
    assert (router.encoder(["x"]) - other.encoder(["x"])).abs().max() > 1e-4
    assert other.decide("seven plus twelve") == decision


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_mixed_precision_learns_the_same_task_to_whole_weights(kind):
    mixed, full = small(kind), small(kind)
    for router, mixed_precision in ((mixed, True), (full, False)):
        fit(router, IDENTITY, config=quick(epochs=20, mixed_precision=mixed_precision))
    assert choices(mixed, IDENTITY) == [row["tool"] for row in IDENTITY]
    assert mixed.fingerprint != full.fingerprint  # it did compute another way
    assert {p.dtype for p in mixed.encoder.parameters()} == {torch.float32}  # pyright: ignore
    assert mixed.probabilities(QUERIES).dtype == torch.float32


@pytest.mark.parametrize("encoder", [HashEncoder(32), CountingEncoder()], ids=lambda one: type(one).__name__)
def test_an_encoder_without_weights_cannot_train(encoder):
    router = Router.from_tools(CARDS, encoder=encoder)
    with pytest.raises(ValueError, match=f"train_encoder=True needs an encoder with weights; {type(encoder).__name__}"):
        fit(router, IDENTITY, config=quick(train_encoder=True))
