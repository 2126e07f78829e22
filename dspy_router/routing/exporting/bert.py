"""A BERT in fewer operators, wherever its parts are known to compute just what those do."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


def fuse(model: nn.Module) -> None:
    """Replace, in place, a model's BERT self-attentions and embeddings by simpler parts; any other stays what it is.

    ONNX Runtime recognises attention in a graph by its mask, and a graph for texts without padding has none: a layer
    would run as a dozen operators, and as three products instead of one. MiniLM's int8 graph takes some 5 % less time
    so. The embeddings of one text alone, of one type of token, are a sum of two tables instead of some twenty
    operators. Not kept: the residual sums as one operator (slower in int8).
    """
    from transformers.models.bert.modeling_bert import BertEmbeddings, BertSelfAttention

    for module in list(model.modules()):
        for name, part in list(module.named_children()):
            if type(part) is BertSelfAttention and _is_plain(part):
                setattr(module, name, _Attention(part))
            elif type(part) is BertEmbeddings and _is_sum(part):
                setattr(module, name, _Embeddings(part))


def _is_sum(embeddings: Any) -> bool:
    """Whether it adds up three tables; what else it may do differs by release."""
    if getattr(embeddings, "position_embedding_type", "absolute") not in ("absolute", None):
        return False
    tables = (embeddings.word_embeddings, embeddings.position_embeddings, embeddings.token_type_embeddings)
    return all(type(part) is nn.Embedding for part in tables) and type(embeddings.LayerNorm) is nn.LayerNorm


class _Embeddings(nn.Module):
    """Token ids [n, l] to states [n, l, d]."""

    def __init__(self, embeddings: Any) -> None:
        super().__init__()
        self.words, self.norm = embeddings.word_embeddings, embeddings.LayerNorm
        places = embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]
        self.places = nn.Parameter(places.detach(), False)

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        return self.norm(self.words(input_ids) + self.places[: input_ids.shape[1]])


def _is_plain(attention: Any) -> bool:
    """Whether it attends to all tokens by its three products alone; what else it may do differs by release."""
    if getattr(attention, "is_decoder", False) or getattr(attention, "is_causal", False):
        return False
    if getattr(attention, "position_embedding_type", "absolute") not in ("absolute", None):
        return False
    # An adapter stands in a product's place, and its weight is not all that it multiplies by.
    return all(type(part) is nn.Linear for part in (attention.query, attention.key, attention.value))


class _Attention(nn.Module):
    """A self-attention over states [n, l, d] without padding."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_attention_heads
        parts = (attention.query, attention.key, attention.value)
        self.weight = nn.Parameter(torch.cat([part.weight.detach() for part in parts]).T.contiguous(), False)
        self.bias = nn.Parameter(torch.cat([part.bias.detach() for part in parts]), False)

    def forward(self, states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        attended = _Attend.apply(states, self.weight, self.bias, self.heads)
        assert isinstance(attended, Tensor)
        return attended, None


class _Attend(torch.autograd.Function):
    """The operator in torch's arithmetic, and its name in a graph."""

    @staticmethod
    def forward(_: Any, states: Tensor, weight: Tensor, bias: Tensor, heads: int) -> Tensor:
        parts = (states @ weight + bias).unflatten(-1, (3, heads, -1))  # [n, l, 3, heads, d / heads]
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1)
        return (weights @ value).transpose(1, 2).flatten(2)

    @staticmethod
    def symbolic(graph: Any, states: Any, weight: Any, bias: Any, heads: int) -> Any:
        attended = graph.op("com.microsoft::Attention", states, weight, bias, num_heads_i=heads)
        attended.setType(states.type())
        return attended
