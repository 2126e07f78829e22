"""Encoders as graphs: what of each kind is needed to turn texts into vectors without torch."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from dspy_router.routing.controllers import GRUEncoder, TransformerEncoder
from dspy_router.routing.encoders import Encoder, HashEncoder, SentenceEncoder
from dspy_router.routing.exporting.bert import fuse
from dspy_router.routing.exporting.graphs import as_int8, trace
from dspy_router.routing.exporting.scales import has_dynamic_scales
from dspy_router.routing.static import StaticEncoder
from dspy_router.runtime.tokens import TokenReader
from dspy_router.runtime.vectorisers import GRAPH, TABLE, TOKENIZER

_EXAMPLE = 9  # tokens of the text that the graph is traced with; the graph takes any number


class ExportRefused(ValueError):  # noqa: N818 - it names what happened
    """A router that cannot be exported, or whose export decides otherwise than it does."""


class Packed(NamedTuple):
    """A part of a router for the slim runtime.

    Attributes:
        entry: What its index says of it.
        files: What it reads, by file name.
    """

    entry: dict[str, Any]
    files: dict[str, bytes]


def export_encoder(encoder: Encoder, *, scales_on: Sequence[str] | None) -> Packed:
    """An encoder as files for the slim runtime.

    Args:
        encoder: One of the shipped kinds.
        scales_on: Texts on which the scales of a graph's 8-bit activations are found; None for a graph in float32. A
            table of vectors stays what it is.

    Raises:
        ExportRefused: If it is of another kind, or has parts that have no counterpart there.
    """
    if type(encoder) is HashEncoder:
        return Packed({"kind": "hash", "dim": encoder.dim}, {})
    if type(encoder) is StaticEncoder:
        table = torch.from_numpy(encoder.vectoriser().table)
        files = {TOKENIZER: encoder.tokenizer.to_str().encode(), TABLE: save({"table": table.contiguous()})}
        return Packed({"kind": "static", "max_length": encoder.max_length}, files)
    if isinstance(encoder, SentenceEncoder):
        module, tokenizer = _SentenceGraph(encoder), _fast_tokenizer(encoder)
        window, empty = cast(int, encoder.model.max_seq_length), None
    elif type(encoder) is GRUEncoder or type(encoder) is TransformerEncoder:
        module = _RecurrentGraph(encoder) if isinstance(encoder, GRUEncoder) else _AttentiveGraph(encoder)
        tokenizer, window, empty = encoder.tokenizer.to_str(), encoder.max_length, 1
    else:
        raise ExportRefused(
            f"An encoder of the class {type(encoder).__name__} cannot be exported: expected one of the shipped ones, "
            "which are 'hash', 'static', 'gru', 'transformer' and the sentence-transformers models."
        )
    ids = torch.ones(2, _EXAMPLE, dtype=torch.int64)
    sizes = {"ids": {0: "n", 1: "l"}, "vectors": {0: "n"}}
    with torch.no_grad():
        graph = trace(module.cpu().eval(), {"ids": ids}, output="vectors", sizes=sizes)
    if scales_on is not None:
        rows = [row or [empty] for row in TokenReader(tokenizer, window)(scales_on)]
        graph = as_int8(graph, ({"ids": np.array([row], dtype=np.int64)} for row in rows))
    entry = {"kind": "onnx", "window": window, "empty": empty, "alone": has_dynamic_scales(graph)}
    return Packed(entry, {GRAPH: graph, TOKENIZER: tokenizer.encode()})


class _SentenceGraph(nn.Module):
    """Token ids [n, l], without padding, to a sentence-transformers model's vectors [n, dim]."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        super().__init__()
        first, *others = copy.deepcopy(encoder.model)
        transformer = getattr(first, "auto_model", None)
        if not isinstance(transformer, nn.Module):
            raise ExportRefused(
                f"The sentence-transformers model '{encoder.name}' begins with a {type(first).__name__}, which cannot "
                "be exported: expected a Transformer."
            )
        # Its plain arithmetic rather than a fused kernel of torch's: ONNX Runtime has its own, and recognises it.
        cast(Any, transformer).set_attn_implementation("eager")
        fuse(transformer)
        self.transformer, self.others = transformer, nn.ModuleList(cast(Sequence[nn.Module], others))
        self.mean = bool(others) and is_mean(others)

    def forward(self, ids: Tensor) -> Tensor:
        vectors = self.transformer(input_ids=ids)[0]  # [n, l, dim]
        if self.mean:
            return F.normalize(vectors.float().mean(1), dim=1)
        features = {"token_embeddings": vectors, "attention_mask": torch.ones_like(ids)}
        for module in self.others:
            features = module(features)
        return F.normalize(features["sentence_embedding"].float(), dim=1)


def is_mean(modules: Sequence[Any]) -> bool:
    """Whether what follows a transformer is the mean over its tokens, perhaps brought to length 1."""
    first, *others = modules
    names = [type(module).__name__ for module in modules]
    inputs = (getattr(other, "module_input_name", "sentence_embedding") for other in others)
    plain = getattr(first, "pooling_mode", None) == "mean" and all(name == "sentence_embedding" for name in inputs)
    return plain and names in (["Pooling"], ["Pooling", "Normalize"])


class _RecurrentGraph(nn.Module):
    """Token ids [n, l], without padding, to a GRU encoder's vectors [n, dim]."""

    def __init__(self, encoder: GRUEncoder) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)

    def forward(self, ids: Tensor) -> Tensor:
        return F.normalize(self.encoder.gru(self.encoder.tokens(ids))[0].amax(1), dim=1)


class _AttentiveGraph(nn.Module):
    """Token ids [n, l], without padding, to a transformer encoder's vectors [n, dim].

    torch's own attention layer writes the sizes of the example into the graph; this is the same in plain arithmetic.
    """

    def __init__(self, encoder: TransformerEncoder) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)

    def forward(self, ids: Tensor) -> Tensor:
        states = self.encoder.tokens(ids) + self.encoder.positions[: ids.shape[1]]
        for layer in self.encoder.attention.layers:
            states = _attend(cast(nn.TransformerEncoderLayer, layer), states)
        return F.normalize(states.mean(1), dim=1)


def _attend(layer: nn.TransformerEncoderLayer, states: Tensor) -> Tensor:
    """A pre-norm layer on states [n, l, dim] without padding."""
    attention = layer.self_attn
    parts = F.linear(layer.norm1(states), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = parts.unflatten(-1, (3, attention.num_heads, attention.head_dim)).permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(-1, -2) / math.sqrt(attention.head_dim)).softmax(-1)  # [n, heads, l, l]
    states = states + attention.out_proj((weights @ value).transpose(1, 2).flatten(2))
    return states + layer.linear2(F.gelu(layer.linear1(layer.norm2(states))))


def _fast_tokenizer(encoder: SentenceEncoder) -> str:
    tokenizer = getattr(encoder.model.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        raise ExportRefused(
            f"The tokenizer of '{encoder.name}' ({type(encoder.model.tokenizer).__name__}) has no form that the "
            "tokenizers package reads: expected one of transformers' fast tokenizers."
        )
    return tokenizer.to_str()
