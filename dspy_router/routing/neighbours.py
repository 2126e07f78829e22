"""A policy that also asks which training queries are near: exact matters where a tool is asked for in its own words."""

from __future__ import annotations

import math
import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn

from dspy_router.routing.policies import Aim, Policy, States, Tools, ToolSpacePolicy
from dspy_router.routing.words import WordBag
from dspy_router.runtime.neighbours import FLOOR, TEMPERATURE, WEIGHT

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
        self._named: list[str] | None = None
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
        shares = self._shares(states)  # [b, names + 1]
        columns = {name: column for column, name in enumerate(self.names)}
        shares = nn.functional.pad(shares, (0, 1))  # a last column of zeros for tools no neighbour can have
        last = shares.shape[1] - 1
        order = [*(columns.get(name, last) for name in tools.names), len(self.names)]
        return self.base(states, tools, allowed) + WEIGHT * (shares[:, order] + FLOOR).log()

    def points(self, views: Tensor) -> Tensor:
        """Where tools of these views, [k, 3, d], lie in the learned space: float32 [k, d]."""
        return self.base.points(views)

    def aim(self, states: States) -> Aim:
        """What it makes of these states before it looks at any tool."""
        aim, gains = self.base.aim(states), WEIGHT * (self._shares(states) + FLOOR).log()  # [b, names + 1]
        if self._named is None:
            self._named = [*aim.named, *sorted(set(self.names).difference(aim.named))]
        rows = {name: row for row, name in enumerate(self.names)}
        gains = nn.functional.pad(gains, (0, 1), value=WEIGHT * math.log(FLOOR))
        bonus = gains[:, [*(rows.get(name, -1) for name in self._named), -1]]
        if aim.bonus is not None:
            known, others = aim.bonus[:, :-1], aim.bonus[:, -1:]
            bonus = bonus + torch.cat([known, others.expand(-1, bonus.shape[1] - known.shape[1])], 1)
        return aim._replace(named=self._named, bonus=bonus, none=aim.none + gains[:, len(self.names)])

    def _shares(self, states: States) -> Tensor:
        numbers = torch.arange(len(states.vectors), device=states.vectors.device).split(_ROWS_A_TIME)
        return torch.cat([self._shares_of(states.select(rows)) for rows in numbers])  # [b, names + 1]

    def _shares_of(self, states: States) -> Tensor:
        similarities = (states.vectors @ cast(Tensor, self.vectors).T + self._word_similarities(states.words)) / 2
        near = similarities.topk(min(self.count, similarities.shape[1]), dim=1)
        weights = (near.values / TEMPERATURE).softmax(1)  # [b, count]
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
