"""A BERT in fewer operators: the same numbers, and only where they are known to be the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from torch import nn
from transformers import BertConfig, BertModel

from dspy_router.routing.exporting.bert import fuse
from dspy_router.routing.exporting.encoders import is_mean

IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    sizes = BertConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=4, intermediate_size=64, vocab_size=16)
    model = BertModel(sizes).eval()
    for part in model.parameters():
        nn.init.normal_(part, std=0.3)  # biases are 0 at first, and would hide a wrong one
    return model


def states(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS)[0]


def attentions(model: Any) -> list[str]:
    return [type(layer.attention.self).__name__ for layer in model.encoder.layer]


def test_simpler_parts_give_the_same_states(model):
    before = states(model)
    fuse(model)
    assert attentions(model) == ["_Attention"] * 2
    assert type(model.embeddings).__name__ == "_Embeddings"
    torch.testing.assert_close(states(model), before, atol=1e-5, rtol=1e-5)


def test_a_layer_with_an_adapter_stays_what_it_is(model):
    class Adapted(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2.0 * super().forward(input)

    adapted = Adapted(32, 32)
    adapted.load_state_dict(model.encoder.layer[1].attention.self.value.state_dict())
    model.encoder.layer[1].attention.self.value = adapted
    before = states(model)
    fuse(model)
    assert attentions(model) == ["_Attention", "BertSelfAttention"]
    torch.testing.assert_close(states(model), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "value"), [("is_causal", True), ("position_embedding_type", "relative_key")])
def test_an_attention_that_does_more_stays_what_it_is(model, name, value):
    setattr(model.encoder.layer[0].attention.self, name, value)
    fuse(model)
    assert attentions(model) == ["BertSelfAttention", "_Attention"]


@pytest.mark.parametrize("table", ["word_embeddings", "position_embeddings", "token_type_embeddings"])
def test_embeddings_with_an_adapter_stay_what_they_are(model, table):
    class Adapted(nn.Embedding):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2.0 * super().forward(input)

    plain = getattr(model.embeddings, table)
    adapted = Adapted(plain.num_embeddings, plain.embedding_dim)
    adapted.load_state_dict(plain.state_dict())
    setattr(model.embeddings, table, adapted)
    before = states(model)
    fuse(model)
    torch.testing.assert_close(states(model), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("modules", "mean"),
    [
        ([Pooling(8, "mean")], True),
        ([Pooling(8, "mean"), Normalize()], True),
        ([Pooling(8, "cls")], False),
        ([Pooling(8, ["mean", "max"])], False),
        ([Pooling(8, "mean"), Normalize("token_embeddings")], False),
        ([Pooling(8, "mean"), nn.Linear(8, 8)], False),
    ],
)
def test_which_vectors_are_means_of_tokens(modules, mean):
    assert is_mean(modules) is mean
