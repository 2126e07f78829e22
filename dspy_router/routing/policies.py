"""The policy: from states and tools to a logit for every tool and for *none*."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dspy_router.routing.words import WordBag

# Units of the corrections: a step of the optimizer should move the logits alike through each of them.
QUERY_SCALE = 10.0
WORD_SCALE = 4.0


class States(NamedTuple):
    """What a batch of decisions is made from.

    Attributes:
        vectors: One vector a decision, float32 [b, d]; of a query, it is the encoder's.
        words: The words of each decision's text, b rows.
    """

    vectors: Tensor
    words: WordBag

    def select(self, rows: Tensor) -> States:
        """The states of these numbers, int64 [m]."""
        return States(self.vectors[rows], self.words.select(rows))


class Tools(NamedTuple):
    """What is known of the tools to choose from.

    Attributes:
        names: Their names, k of them.
        views: Vectors of each card's views (description, name, parameters), float32 [k, 3, d].
        word_rows: For each word id the row of `word_table` that holds it, int64 [v]; the last row if no card has it.
        word_table: Weight of each card word in each card, float32 [c + 1, k]; the last row is zero.
    """

    names: tuple[str, ...]
    views: Tensor
    word_rows: Tensor
    word_table: Tensor

    def to(self, device: torch.device | str) -> Tools:
        """The same tools on another device."""
        return Tools(self.names, *(tensor.to(device) for tensor in self[1:]))

    @property
    def vectors(self) -> Tensor:
        """One vector a tool, float32 [k, d]: its description's."""
        return self.views[:, 0]


class Aim(NamedTuple):
    """What a policy makes of a batch of states before it looks at any tool.

    A tool's logit is then `scale · (word_weight · overlap + query · point) + bonus`, each tool's for itself.

    Attributes:
        query: Where it looks, float32 [b, d].
        none: Logits of *none*, float32 [b].
        scale: Inverse temperature.
        word_weight: Weight of the overlap of words.
        named: The tools that training knew.
        bonus: What their logits gain, float32 [b, n + 1], the last column for all other tools; None for nothing.
    """

    query: Tensor
    none: Tensor
    scale: Tensor
    word_weight: Tensor
    named: Sequence[str]
    bonus: Tensor | None

    def cpu(self) -> Aim:
        """The same where numpy can read it."""
        query, none, scale, word_weight = (part.detach().cpu() for part in self[:4])
        return Aim(query, none, scale, word_weight, self.named, None if self.bonus is None else self.bonus.cpu())


class Policy(Protocol):
    """What a router asks of a policy; any `nn.Module` with this `forward` will do.

    `(states, tools, allowed) → logits [b, k + 1]`, last column *none*. `allowed` is a bool mask [b, k] or None;
    the logit of a forbidden tool is −inf, *none* is always allowed. Permuting the tools must permute the columns.
    """

    def __call__(self, states: States, tools: Tools, allowed: Tensor | None = None) -> Tensor: ...


class ToolSpacePolicy(nn.Module):
    """Tools as points in a space of meaning and words; training moves the points.

    Untrained, a tool's logit is `scale · (Σ_m w_m cos(query, view_m) + w_words · overlap(query words, card words))`,
    and *none* stands at `scale · none_level`. With `view_weights=(1, 0, 0)` and `word_weight=0` that is the plain
    cosine of query and description.

    Training adds, all starting at zero, so that it departs from the zero-shot policy and not from chance:

    * a shared projection of the query, `query + hidden @ project`, which moves all tools alike, unseen ones too;
    * a correction per trained tool (and for *none*): a vector against the query, a vector against the hidden layer, a
      weight for every word and pair of words, and a bias.

    The hidden layer reads the query's vector and its words; it comes with enough examples, see
    `TrainConfig.deep_from`. A tool that was added after training has no correction: it is reached by its card alone.

    With several members there are as many hidden layers, each with its own random start and word vectors; all else they
    share. Each is taught alone, and decisions take the mean of their logits: an ensemble that stays one policy (Lee et
    al. 2015, "Why M heads are better than one: training a diverse ensemble of deep networks", with shared layers).

    Chosen on toole's and clinc150's validation parts with frozen MiniLM vectors; `benchmarks/README.md` tells what was
    kept and what was not.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: int = 1024,
        word_dim: int = 256,
        dropout: float = 0.5,
        word_dropout: float = 0.3,
        members: int = 1,
        view_weights: Sequence[float] = (0.5, 0.25, 0.25),
        word_weight: float = 0.25,
        scale: float = 20.0,
        none_level: float = 0.1,
    ) -> None:
        """Start as the zero-shot policy.

        Args:
            dim: Length of the encoder's vectors.
            hidden: Width of the hidden layer.
            word_dim: Length of the learned vector of a word.
            dropout: Share of the hidden layer that is dropped in training.
            word_dropout: Share of the words that is dropped in training.
            members: How many hidden layers there are to be.
            view_weights: Weight of the cosine with the card's description, name and parameters.
            word_weight: Weight of the overlap of words.
            scale: Inverse temperature.
            none_level: The similarity below which *none* is more likely than a tool.
        """
        super().__init__()
        self.dim, self.hidden, self.word_dim = dim, hidden, word_dim
        self.dropout, self.word_dropout, self.members = dropout, word_dropout, members
        self.view_weights = nn.Parameter(torch.tensor(list(view_weights), dtype=torch.float32))
        self.word_weight = nn.Parameter(torch.tensor(float(word_weight)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.none_level = nn.Parameter(torch.tensor(float(none_level)))
        self.known: list[str] = []
        self._column_cache: tuple[tuple[str, ...], Tensor] | None = None
        self._allocate(tools=0, words=0, deep=False)

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` needs to build a policy of the same shape, JSON-ready."""
        names = ("dim", "hidden", "word_dim", "dropout", "word_dropout", "known", "words", "deep")
        # One member goes without saying, as before there could be more: calibrations of then hold on.
        several = {} if self.members == 1 else {"members": self.members}
        return {name: getattr(self, name) for name in names} | several

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ToolSpacePolicy:
        """A policy of this shape, its weights still to be loaded."""
        settings = dict(config)
        known, words, deep = settings.pop("known"), settings.pop("words"), settings.pop("deep")
        policy = cls(**settings)
        policy.known = list(known)
        policy._allocate(tools=len(known), words=words, deep=deep)
        return policy

    @property
    def words(self) -> int:
        """Number of words that training has seen."""
        return self.word_weights.shape[0]

    @property
    def deep(self) -> bool:
        """Whether there is a hidden layer."""
        return self.project.shape[0] > 0

    @property
    def _apart(self) -> bool:
        """Whether each member speaks for itself, as it does where it is taught."""
        return self.training and self.deep and self.members > 1

    def _allocate(self, *, tools: int, words: int, deep: bool) -> None:
        # Of several members the layers stand one behind the other.
        hidden, word_dim = (self.members * self.hidden, self.members * self.word_dim) if deep else (0, 0)
        self.word_vectors = nn.Parameter(torch.zeros(words, word_dim))
        self.up_weights = nn.Parameter(torch.zeros(hidden, self.dim + (self.word_dim if deep else 0)))
        self.up_biases = nn.Parameter(torch.zeros(hidden))
        self.project = nn.Parameter(torch.zeros(hidden, self.dim))
        # Row 0 of each correction is *none*; the rows of the known tools follow.
        self.query_weights = nn.Parameter(torch.zeros(tools + 1, self.dim))
        self.hidden_weights = nn.Parameter(torch.zeros(tools + 1, hidden))
        self.word_weights = nn.Parameter(torch.zeros(words, tools + 1))
        self.biases = nn.Parameter(torch.zeros(tools + 1))
        self._column_cache = None

    def prepare(
        self,
        names: Sequence[str],
        words: int,
        *,
        deep: bool = True,
        members: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Make room for the corrections of these tools and words; what was learned is kept.

        Args:
            names: The tools that training is about to see.
            words: Size of the vocabulary.
            deep: Whether there is to be a hidden layer; one that is there already stays.
            members: How many hidden layers, where there are none yet; None for as many as it was made with.
            generator: Source of the random start of the hidden layer.
        """
        if members is not None and not self.deep:
            self.members = members
        device, was_deep = self.log_scale.device, self.deep
        old = {name: tensor.detach().cpu() for name, tensor in self.named_parameters()}
        self.known = [*self.known, *(name for name in names if name not in self.known)]
        self._allocate(tools=len(self.known), words=words, deep=deep or was_deep)
        with torch.no_grad():
            if self.deep:
                nn.init.normal_(self.word_vectors, std=1 / math.sqrt(self.word_dim), generator=generator)
                bound = 1 / math.sqrt(self.up_weights.shape[1])
                nn.init.uniform_(self.up_weights, -bound, bound, generator=generator)
            for name, tensor in self.named_parameters():
                tensor[tuple(slice(size) for size in old[name].shape)] = old[name]
        self.to(device)

    @property
    def corrections(self) -> list[Tensor]:
        """The weights that carry the policy away from the zero-shot one; all zero in it."""
        return [self.project, self.query_weights, self.hidden_weights, self.word_weights]

    def forward(self, states: States, tools: Tools, allowed: Tensor | None = None) -> Tensor:
        """Logits, float32 [b, k + 1], last column *none*; in training those of each member, [members · b, k + 1]."""
        scores = self._overlap(states.words, tools) * self.word_weight  # [b, k]
        points = self.points(tools.views)  # [k, d]
        aim = self.aim(states)
        if self._apart:
            scores = scores.repeat(self.members, 1)
            allowed = None if allowed is None else allowed.repeat(self.members, 1)
        logits = aim.scale * (scores + aim.query @ points.T)
        if aim.bonus is not None:
            logits = logits + aim.bonus[:, self._columns(tools.names, aim.bonus.device)]
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -math.inf)
        return torch.cat([logits, aim.none[:, None]], dim=1)

    def points(self, views: Tensor) -> Tensor:
        """Where tools of these views, [k, 3, d], lie in the learned space: float32 [k, d]."""
        return torch.einsum("kmd,m->kd", views, self.view_weights)

    def aim(self, states: States) -> Aim:
        """What it makes of these states before it looks at any tool; in training a batch of it for each member."""
        query, words = states
        scale, bonus = self.log_scale.exp(), None
        none = (scale * self.none_level).expand(len(query))
        if self.known:
            query, corrections = self._corrected(query, words)  # [b, d], [b, n + 1]
            none = scale * self.none_level + corrections[:, 0]
            bonus = F.pad(corrections[:, 1:], (0, 1))  # a last column of zeros for tools that training never saw
        return Aim(query, none, scale, self.word_weight, self.known, bonus)

    def _columns(self, names: tuple[str, ...], device: torch.device) -> Tensor:
        cached = self._column_cache  # read once: another thread may be deciding among other tools
        if cached is None or cached[0] is not names or cached[1].device != device:
            rows = {name: row for row, name in enumerate(self.known)}
            cached = (names, torch.tensor([rows.get(name, -1) for name in names], device=device))
            self._column_cache = cached
        return cached[1]

    def _overlap(self, words: WordBag, tools: Tools) -> Tensor:
        last = len(tools.word_table) - 1
        known = words.indices < len(tools.word_rows)
        rows = torch.where(known, tools.word_rows[words.indices.clamp(max=len(tools.word_rows) - 1)], last)
        return F.embedding_bag(rows, tools.word_table, words.offsets, mode="sum", per_sample_weights=words.weights)

    def _corrected(self, query: Tensor, words: WordBag) -> tuple[Tensor, Tensor]:
        """Where the queries are moved to, [b, d], and the corrections of *none* and the known tools, [b, n + 1]."""
        seen = words.indices < self.words
        indices = torch.where(seen, words.indices, 0)
        weights = words.weights * seen
        if self.training:
            weights = F.dropout(weights, self.word_dropout)
        bag = {"offsets": words.offsets, "mode": "sum", "per_sample_weights": weights}
        corrections = self.biases + QUERY_SCALE * query @ self.query_weights.T
        if self.words:
            corrections = corrections + WORD_SCALE * F.embedding_bag(indices, self.word_weights, **bag)
        if not self.deep:
            return query, corrections
        gist = F.embedding_bag(indices, self.word_vectors, **bag)
        hidden = self._layers(query, gist)  # [members, b, h]
        moves = hidden @ self.project.unflatten(0, (self.members, -1))
        raises = hidden @ self.hidden_weights.T.unflatten(0, (self.members, -1))
        if self._apart:
            return (query + moves).flatten(0, 1), (corrections + raises).flatten(0, 1)
        return query + moves.mean(0), corrections + raises.mean(0)

    def _layers(self, query: Tensor, gist: Tensor) -> Tensor:
        """The hidden layer of each member, [members, b, h]."""
        gists = F.layer_norm(gist.unflatten(1, (self.members, -1)), (self.word_dim,)).transpose(0, 1)
        text = torch.cat([(query * math.sqrt(self.dim)).expand(self.members, -1, -1), gists], dim=2)
        text = F.dropout(text, self.dropout / 2, self.training)
        weights, biases = (part.unflatten(0, (self.members, -1)) for part in (self.up_weights, self.up_biases))
        hidden = torch.baddbmm(biases[:, None], text, weights.transpose(1, 2))
        return F.dropout(F.gelu(hidden), self.dropout, self.training)
