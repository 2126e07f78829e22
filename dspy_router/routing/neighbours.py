"""A policy that also asks which training queries are near: exact matters where a tool is asked for in its own words."""

from __future__ import annotations

import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn

from dspy_router.routing.policies import Policy, States, Tools, ToolSpacePolicy
from dspy_router.routing.words import WordBag

# Chosen on toole's validation part, where the results are flat around them.
_TEMPERATURE = 0.03
_WEIGHT = 0.6
_FLOOR = 1e-3
_ROWS_A_TIME = 128


# torch says so once a process of every sparse tensor of this layout; it is nothing that a user could act on.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


class NeighbourPolicy(nn.Module):
    """A trained policy whose logits are raised for the tools of the nearest training queries.

    `logits + 0.6 · log(p + 0.001)`, where `p` is the distribution of labels among the `count` nearest training queries,
    weighted by `softmax(similarity / 0.03)`; the similarity is the mean of the cosines of vectors and of words. After
    Khandelwal et al. 2020, "Generalization through memorization: nearest neighbor language models", with a product of
    the two distributions where they mix them.

    It keeps every training query and compares with all of them: some milliseconds a decision at 17,000 queries, and
    their vectors in memory. Worth it where users repeat each other's words.
    """

    def __init__(
        self, base: ToolSpacePolicy, names: tuple[str, ...], right: Tensor, states: States, *, count: int = 50
    ) -> None:
        """Ask these neighbours.

        Args:
            base: The trained policy.
            names: The tools of the columns of `right`.
            right: Which tools (and *none*, last column) are right for each training query, bool [n, k + 1].
            states: The training queries.
            count: How many neighbours are asked.
        """
        super().__init__()
        self.base, self.names, self.count = base, names, count
        self.register_buffer("right", right.float() / right.sum(1, keepdim=True))
        self.register_buffer("vectors", states.vectors)
        for name, tensor in zip(WordBag._fields, states.words, strict=True):
            self.register_buffer(f"word_{name}", tensor)

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` needs to build a policy of the same shape, JSON-ready."""
        shapes = {name: list(tensor.shape) for name, tensor in self.named_buffers(recurse=False)}
        return {"base": self.base.config, "names": list(self.names), "count": self.count, "shapes": shapes}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NeighbourPolicy:
        """A policy of this shape, its weights still to be loaded."""
        parts = {name: torch.ones(shape) for name, shape in config["shapes"].items()}
        parts |= {name: parts[name].long() for name in ("word_indices", "word_offsets")}
        bag = WordBag(*(parts[f"word_{name}"] for name in WordBag._fields))
        base = ToolSpacePolicy.from_config(config["base"])
        states = States(parts["vectors"], bag)
        return cls(base, tuple(config["names"]), parts["right"], states, count=config["count"])

    def forward(self, states: States, tools: Tools, allowed: Tensor | None = None) -> Tensor:
        """Logits, float32 [b, k + 1], last column *none*."""
        numbers = torch.arange(len(states.vectors), device=states.vectors.device).split(_ROWS_A_TIME)
        shares = torch.cat([self._shares(states.select(rows)) for rows in numbers])  # [b, names + 1]
        columns = {name: column for column, name in enumerate(self.names)}
        shares = nn.functional.pad(shares, (0, 1))  # a last column of zeros for tools no neighbour can have
        last = shares.shape[1] - 1
        order = [*(columns.get(name, last) for name in tools.names), len(self.names)]
        return self.base(states, tools, allowed) + _WEIGHT * (shares[:, order] + _FLOOR).log()

    def _shares(self, states: States) -> Tensor:
        similarities = (states.vectors @ cast(Tensor, self.vectors).T + self._word_similarities(states.words)) / 2
        near = similarities.topk(min(self.count, similarities.shape[1]), dim=1)
        weights = (near.values / _TEMPERATURE).softmax(1)  # [b, count]
        return torch.einsum("bn,bnk->bk", weights, cast(Tensor, self.right)[near.indices])

    def _word_similarities(self, words: WordBag) -> Tensor:
        indices, offsets = cast(Tensor, self.word_indices), cast(Tensor, self.word_offsets)
        ends = torch.cat([offsets, offsets.new_tensor([len(indices)])])
        size = (len(offsets), max(self.base.words, 1))
        # Not kept: torch can neither copy nor pickle a sparse tensor of this layout, and making it copies nothing.
        table = torch.sparse_csr_tensor(ends, indices, cast(Tensor, self.word_weights), size, check_invariants=False)
        queries = words.weights.new_zeros(len(words.offsets), size[1])
        ends = torch.cat([words.offsets, words.offsets.new_tensor([len(words.indices)])])
        rows = torch.repeat_interleave(torch.arange(len(queries), device=ends.device), ends.diff())
        known = words.indices < queries.shape[1]
        queries[rows[known], words.indices[known]] = words.weights[known]
        return (table @ queries.T).T


def without_neighbours(policy: Policy) -> Policy:
    """The policy that a trainer goes on with: what lies under the neighbours."""
    return policy.base if isinstance(policy, NeighbourPolicy) else policy
