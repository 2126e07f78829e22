"""Encoders by name: what a name builds, and what is refused."""

from __future__ import annotations

import pytest
import torch
from routers import CountingEncoder

from dspy_router import HashEncoder, Router, ToolCard
from dspy_router.routing.catalogue import build_encoder
from dspy_router.routing.controllers import GRUEncoder, TransformerEncoder
from dspy_router.routing.encoders import SentenceEncoder
from dspy_router.routing.static import StaticEncoder


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("hash", HashEncoder),
        ("static", StaticEncoder),
        ("gru", GRUEncoder),
        ("transformer", TransformerEncoder),
        ("minilm", SentenceEncoder),
    ],
)
def test_names(name, kind):
    assert type(build_encoder(name)) is kind


def test_options_go_to_the_encoder():
    gru, transformer = build_encoder("gru", dim=24), build_encoder("transformer", dim=8, layers=1, heads=2)
    assert (gru.dim, transformer.dim) == (24, 8)
    assert transformer(["a b"]).shape == (1, 8)
    with pytest.raises(TypeError, match="layer_count"):
        build_encoder("transformer", layer_count=1)


def test_an_encoder_is_taken_as_it_is():
    for encoder in (HashEncoder(8), CountingEncoder()):
        assert build_encoder(encoder) is encoder
        assert Router.from_tools([ToolCard("clock")], encoder=encoder).decide("clock").tool == "clock"


@pytest.mark.parametrize("wrong", [None, "", 3, object(), lambda texts: torch.zeros(len(texts), 4)], ids=repr)
def test_what_is_no_encoder(wrong):
    with pytest.raises(TypeError, match="An encoder must be 'minilm', 'hash', 'static', 'gru', 'transformer'"):
        build_encoder(wrong)


@pytest.mark.parametrize("name", ["grue", "sentence", "nobody/no-such-model"])
def test_a_model_that_cannot_be_had(name):
    with pytest.raises(
        ValueError, match=f"(?s)model '{name}'.*one of 'minilm', 'hash', 'static', 'gru', 'transformer'"
    ) as caught:
        build_encoder(name)
    assert caught.value.__cause__ is not None
