"""The static encoder: sums of vectors by hand, the same with and without torch, files, and texts of every kind."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from routers import CARDS, IDENTITY, choices, quick
from tokenizers import Tokenizer, models

from dspy_router import Router, fit
from dspy_router.routing.catalogue import build_encoder
from dspy_router.routing.static import StaticEncoder
from dspy_router.runtime.static import StaticVectoriser, WordPieces

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "sun": 2, "##ny": 3, "rain": 4}
TABLE = np.array([[0, 0], [0, 1], [3, 0], [0, 4], [1, 1]], dtype=np.float32)


def tokenizer() -> Tokenizer:
    return Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))


def vectoriser(max_length: int = 8) -> StaticVectoriser:
    return StaticVectoriser(WordPieces(tokenizer(), max_length), TABLE)


def learned(dim: int = 16) -> StaticEncoder:
    encoder = StaticEncoder(dim=dim)
    encoder.learn_vocabulary([row["query"] for row in IDENTITY])
    return encoder


class TestVectoriser:
    def test_a_text_is_the_sum_of_its_pieces_at_length_one(self):
        # "sunny" = [3, 0] + [0, 4], of length 5; "Sun! Rain" = [3, 0] + [1, 1] = [4, 1], of length √17.
        found = vectoriser()(["sunny", "Sun! Rain"])
        np.testing.assert_allclose(found, [[0.6, 0.8], [4 / 17**0.5, 1 / 17**0.5]], atol=1e-6)
        np.testing.assert_allclose(vectoriser()(["sunny"]), [[0.6, 0.8]], atol=1e-6)

    def test_names_are_read_as_their_words(self):
        np.testing.assert_array_equal(vectoriser()(["sunRain", "sun_rain"]), vectoriser()(["sun rain"] * 2))

    @pytest.mark.parametrize("text", ["", "?!", "quorum", "\ud800", "x" * 9000])
    def test_a_text_without_a_known_word_has_the_unknown_pieces_direction(self, text):
        np.testing.assert_array_equal(vectoriser()([text]), [[0.0, 1.0]])

    def test_beyond_the_window_nothing_is_read(self):
        np.testing.assert_array_equal(vectoriser(2)(["sun sun rain rain"]), vectoriser(2)(["sun"]))

    def test_no_texts(self):
        assert vectoriser()([]).shape == (0, 2)

    def test_a_table_of_another_tokenizer_is_refused(self):
        with pytest.raises(ValueError, match="knows 5 pieces, but the table has vectors for 4 only"):
            StaticVectoriser(WordPieces(tokenizer(), 8), TABLE[:4])
        with pytest.raises(ValueError, match=r"must have a piece \[UNK\]"):
            WordPieces(Tokenizer(models.WordPiece({"a": 0}, unk_token="a")), 8)


class TestEncoder:
    @given(st.lists(st.text(max_size=60), max_size=6))
    def test_with_and_without_torch_the_vectors_are_the_same(self, texts):
        encoder = ENCODER
        with torch.no_grad():
            np.testing.assert_allclose(encoder.vectoriser()(texts), encoder(texts).numpy(), atol=1e-6)

    def test_vectors_are_of_length_one_in_any_batch(self):
        texts = [row["query"] for row in IDENTITY]
        together = ENCODER(texts)
        torch.testing.assert_close(together.norm(dim=1), torch.ones(len(texts)))
        torch.testing.assert_close(torch.cat([ENCODER([text]) for text in texts]), together)

    def test_it_learns_from_labels_without_a_teacher(self):
        router = Router.from_tools(CARDS, encoder=build_encoder("static", dim=32))
        fit(router, IDENTITY, config=quick(epochs=20))
        assert choices(router, IDENTITY) == [row["tool"] for row in IDENTITY]

    def test_a_saved_router_carries_its_table_and_tokenizer(self, tmp_path):
        router = Router.from_tools(CARDS, encoder=learned())
        router.save(tmp_path / "router")
        names = {path.name for path in (tmp_path / "router").iterdir()}
        assert {"encoder.safetensors", "tokenizer.json"} <= names
        loaded = Router.load(tmp_path / "router")
        assert loaded.fingerprint == router.fingerprint
        torch.testing.assert_close(loaded.probabilities(["what hour"]), router.probabilities(["what hour"]))
        (tmp_path / "router/tokenizer.json").write_text(json.dumps({}))
        with pytest.raises(ValueError, match=r"tokenizer\.json is not what was saved"):
            Router.load(tmp_path / "router")

    def test_numbers_that_half_the_bytes_can_hold_take_half_the_bytes(self):
        whole, halved = learned(), learned()
        with torch.no_grad():
            halved.tokens.weight.copy_(halved.tokens.weight.half().float())
        sizes = [len(one.to_files()["encoder.safetensors"]) for one in (whole, halved)]
        assert sizes[1] < 0.55 * sizes[0]
        again = StaticEncoder.from_files(halved.config, halved.to_files())
        assert again.fingerprint == halved.fingerprint

    def test_the_fingerprint_knows_the_tokenizer(self):
        one, other = learned(), learned()
        assert one.fingerprint == other.fingerprint
        swapped = one.tokenizer.to_str().replace('"hour"', '"hxxr"')
        assert swapped != one.tokenizer.to_str()
        other.start_from(Tokenizer.from_str(swapped), one.tokens.weight.detach())
        assert one.fingerprint != other.fingerprint


ENCODER = learned()
