"""The head: a policy and its tools folded into a few matrices, so that a decision is a matrix product or two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from dspy_router.routing.exporting.encoders import ExportRefused, Packed
from dspy_router.routing.exporting.graphs import as_int8, trace
from dspy_router.routing.exporting.scales import has_dynamic_scales
from dspy_router.routing.neighbours import NeighbourPolicy
from dspy_router.routing.novelty import Novelty, NoveltyPolicy
from dspy_router.routing.policies import QUERY_SCALE, WORD_SCALE, Policy, Tools, ToolSpacePolicy
from dspy_router.runtime import neighbours
from dspy_router.runtime.head import GRAPH, one_row
from dspy_router.runtime.vectorisers import read_vectoriser
from dspy_router.runtime.words import Vocabulary

_MOST_BYTES = 1 << 30  # of the table of words and tools


class FoldedHead(nn.Module):
    """A `ToolSpacePolicy` over fixed tools: `query @ a + hidden @ b + words + bias`, and a novelty behind it.

    The hidden layer is that of all its members, one behind the other.

    With the tools' points P, the projection and the corrections as `ToolSpacePolicy` has them, scale s:
    `a = s · Pᵀ + corrections against the query`, `b = s · project @ Pᵀ + corrections against the hidden layer`, and
    every word has one row of what it adds to each logit. The last column is *none*'s.
    """

    def __init__(self, policy: ToolSpacePolicy, tools: Tools, words: int, novelty: Novelty | None) -> None:
        """Fold them.

        Args:
            policy: The policy, on the CPU.
            tools: Its tools, on the CPU.
            words: Size of the vocabulary.
            novelty: What *none* gains by novelty; None for nothing.
        """
        super().__init__()
        self.names, self.novelty, self.deep = tools.names, novelty, policy.deep
        scale = float(policy.log_scale.exp())
        points = torch.einsum("kmd,m->dk", tools.views, policy.view_weights)  # [d, k]
        rows = {name: row for row, name in enumerate(policy.known, start=1)}
        # Of each column the row of its correction; the last one, of zeros, for tools that training never saw.
        columns = torch.tensor([*(rows.get(name, len(rows) + 1) for name in tools.names), 0])

        def corrections(table: Tensor) -> Tensor:
            return F.pad(table, (0, 1))[..., columns]

        self.a = _frozen(F.pad(scale * points, (0, 1)) + corrections(QUERY_SCALE * policy.query_weights.T))
        bias = corrections(policy.biases).clone()
        bias[-1] += scale * float(policy.none_level)
        self.bias = _frozen(bias)
        # Of each word what it adds to the logits and, behind that, its own vector.
        self.options = len(tools.names) + 1
        table = torch.zeros(max(words, 1), self.options)
        table[: len(tools.word_rows), :-1] = scale * float(policy.word_weight) * tools.word_table[tools.word_rows]
        table[: policy.words] += corrections(WORD_SCALE * policy.word_weights)
        if self.deep:
            b = F.pad(scale * policy.project @ points, (0, 1)) + corrections(policy.hidden_weights.T)
            self.b = _frozen(b / policy.members)
            by_query, by_words = policy.up_weights.T.split([policy.dim, policy.word_dim])
            self.up_query = _frozen(by_query * math.sqrt(policy.dim))
            self.up_words = nn.ParameterList(map(_frozen, by_words.chunk(policy.members, dim=1)))
            self.word_dim = policy.word_dim
            self.up_bias = _frozen(policy.up_biases)
            # Words that came after training have none.
            table = torch.cat([table, F.pad(policy.word_vectors, (0, 0, 0, len(table) - policy.words))], dim=1)
        self.table = _frozen(table)

    def forward(self, vectors: Tensor, words: Tensor, weights: Tensor, summands: Tensor) -> Tensor:
        """Logits, float32 [n, k + 1]; the arguments are those of `runtime.head.Head`."""
        # As a product rather than as a weighted sum: it never writes a row a word.
        said = (weights[:, None, :] @ self.table[words]).squeeze(1)
        logits = vectors @ self.a + said[:, : self.options] + self.bias
        if self.deep:
            gist = said[:, self.options :]
            hidden = F.gelu(vectors @ self.up_query + self._read(gist) + self.up_bias)
            logits = logits + hidden @ self.b
        logits = logits + summands
        return logits if self.novelty is None else self.novelty.adjust(logits, self.names)

    def _read(self, gist: Tensor) -> Tensor:
        """What the hidden layers make of the words alone, [n, members · h]."""
        # Without cutting up and putting together where there is but one: a student's decision would feel it.
        parts = (gist,) if len(self.up_words) == 1 else gist.split(self.word_dim, dim=1)
        read = [F.layer_norm(part, (self.word_dim,)) @ up for part, up in zip(parts, self.up_words, strict=True)]
        return read[0] if len(read) == 1 else torch.cat(read, dim=1)


class Folded(NamedTuple):
    """A policy as an exported router has it.

    Attributes:
        neighbours: What its index says of the training queries that are asked; None where none are.
        alone: Whether the graph must be given one text at a time.
        files: The graph, and those queries.
    """

    neighbours: dict[str, Any] | None
    alone: bool
    files: dict[str, bytes]


def export_policy(
    policy: Policy, tools: Any, words: int, *, scales_on: Iterable[Mapping[str, NDArray[Any]]] | None
) -> Folded:
    """A policy over these tools as files for the slim runtime.

    Args:
        policy: One of the shipped kinds.
        tools: Its tools.
        words: Size of the vocabulary.
        scales_on: What the graph is asked in some examples, on which the scales of its 8-bit activations are found;
            None for a graph in float32. Tables that are only looked up stay what they are.

    Raises:
        ExportRefused: If the policy is of another kind, or there are too many tools for one table.
    """
    if not isinstance(tools, Tools):
        raise ExportRefused(
            f"{len(tools.names):,} tools are looked up in an index, which is not exported: a table of "
            "all tools is. Use the Router, or export one over fewer tools."
        )
    size = 4 * words * (len(tools.names) + 1)
    if size > _MOST_BYTES:
        raise ExportRefused(
            f"{len(tools.names):,} tools and {words:,} words make a table of {size / 2**30:.1f} GiB, and at most "
            f"{_MOST_BYTES / 2**30:g} GiB is exported. Use the Router, or export one over fewer tools."
        )
    novelty, base = (policy.novelty, policy.base) if isinstance(policy, NoveltyPolicy) else (None, policy)
    near = base if isinstance(base, NeighbourPolicy) else None
    plain = near.base if near is not None else base
    if type(plain) is not ToolSpacePolicy:
        raise ExportRefused(
            f"A policy of the class {type(plain).__name__} cannot be exported: expected a ToolSpacePolicy, a "
            "NeighbourPolicy or a NoveltyPolicy."
        )
    with torch.no_grad():
        head = FoldedHead(_on_cpu(plain), tools.to("cpu"), words, novelty)
        inputs = {
            "vectors": torch.randn(2, plain.dim),
            "words": torch.zeros(2, 3, dtype=torch.int64),
            "weights": torch.rand(2, 3),
            "summands": torch.zeros(2, len(tools.names) + 1),
        }
        sizes = {name: {0: "n"} for name in ("vectors", "logits")}
        sizes |= {"words": {0: "n", 1: "w"}, "weights": {0: "n", 1: "w"}, "summands": {0: "m"}}
        graph = trace(head, inputs, output="logits", sizes=sizes)
    graph = graph if scales_on is None else as_int8(graph, scales_on, operators=["MatMul"])
    files, alone = {GRAPH: graph}, has_dynamic_scales(graph)
    if near is None:
        return Folded(None, alone, files)
    files[neighbours.FILE] = save(_by_word(near))
    return Folded({"names": list(near.names), "count": near.count}, alone, files)


def head_inputs(
    vectorising: Packed, vocabulary: Vocabulary, texts: Sequence[str], options: int
) -> Iterator[dict[str, NDArray[Any]]]:
    """What the head's graph is given for each of these texts, `options` being the tools and *none*."""
    vectors = read_vectoriser(vectorising.entry, vectorising.files)(texts)
    for row, text in enumerate(texts):
        words, weights = one_row(vocabulary.rows([text]))
        summands = np.zeros((1, options), dtype=np.float32)
        yield {"vectors": vectors[row : row + 1], "words": words, "weights": weights, "summands": summands}


def _on_cpu(policy: ToolSpacePolicy) -> ToolSpacePolicy:
    copied = ToolSpacePolicy.from_config(policy.config)
    copied.load_state_dict({name: tensor.cpu() for name, tensor in policy.state_dict().items()})
    return copied.eval()


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().contiguous(), requires_grad=False)


def _by_word(policy: NeighbourPolicy) -> dict[str, Tensor]:
    """The training queries, their words filed by word rather than by query."""
    indices, offsets, weights = (
        cast(Tensor, getattr(policy, f"word_{name}")).cpu().numpy() for name in ("indices", "offsets", "weights")
    )
    queries = np.repeat(np.arange(len(offsets)), np.diff(offsets, append=len(indices)))
    order = np.argsort(indices, kind="stable")
    starts = np.searchsorted(indices[order], np.arange(policy.base.words + 1))
    return {
        "vectors": cast(Tensor, policy.vectors).cpu().contiguous(),
        "right": cast(Tensor, policy.right).cpu().contiguous(),
        "starts": torch.from_numpy(starts.astype(np.int64)),
        "queries": torch.from_numpy(queries[order].astype(np.int64)),
        "weights": torch.from_numpy(weights[order].astype(np.float32)),
    }
