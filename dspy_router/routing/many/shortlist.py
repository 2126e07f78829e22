"""Shortlists: of many tools those that a text may mean, weighed exactly, and a sample that stands for the rest."""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dspy_router.routing.many.crowd import Crowd, Slots
from dspy_router.routing.neighbours import NeighbourPolicy
from dspy_router.routing.novelty import NoveltyPolicy, without_novelty
from dspy_router.routing.policies import Policy, States, ToolSpacePolicy
from dspy_router.routing.words import WordBag

ScoringPolicy = ToolSpacePolicy | NeighbourPolicy


class Shortlist(NamedTuple):
    """What is known of the tools for one text.

    Attributes:
        slots: The listed tools, most likely first, int64 [m].
        logits: Theirs, float64 [m].
        tail: Log of the summed exponentials of all other tools' logits, an estimate where not all were looked at.
        none: Logit of *none*.
    """

    slots: Slots
    logits: NDArray[np.float64]
    tail: float
    none: float

    def probabilities(self) -> tuple[NDArray[np.float64], float, float]:
        """Of the listed tools, of the tail and of *none*; they sum to 1."""
        values = np.array([*self.logits, self.tail, self.none])
        raised = np.exp(values - values.max())
        shares = raised / raised.sum()
        return shares[:-2], float(shares[-2]), float(shares[-1])


def scoring_policy(policy: Policy) -> ScoringPolicy | None:
    """The part of a policy that gives each tool its logit for itself; None where there is none such."""
    base = without_novelty(policy)
    # Of a subclass nobody knows what it makes of a tool.
    return base if isinstance(base, ScoringPolicy) and type(base) in (ToolSpacePolicy, NeighbourPolicy) else None


def lens_policy(policy: Policy) -> ToolSpacePolicy | None:
    """The part of a policy that places the tools in its space; None where there is none such."""
    base = scoring_policy(policy)
    return base.base if isinstance(base, NeighbourPolicy) else base


class Look:
    """A policy's look at a crowd for a batch of states.

    What the tools gain by training (their bonus) is not in the points that the index holds, so all tools that training
    knew are always looked at. Beside them: the nearest by the index, those that share the most telling words with the
    text, and those that the index does not hold yet. The first two are the two lists of the threshold algorithm (Fagin,
    Lotem & Naor 2003, "Optimal aggregation algorithms for middleware"): a logit is the sum of a product of vectors and
    an overlap of words, so that a tool in neither list lies below the last of the one plus the last of the other.

    The tools that are not looked at are represented by those of a uniform sample that are none of the former, each
    standing for equally many: the estimator MIMPS of Rastogi & Van Durme 2015, "Sublinear partition estimation", whose
    error Mussmann & Ermon 2016, "Learning and inference via maximum inner product search", bound. It is without bias;
    where everything was looked at it is exact.
    """

    def __init__(self, policy: Policy, crowd: Crowd, states: States) -> None:
        """Look with a policy that `scoring_policy` knows.

        Raises:
            TypeError: If it does not know it.
        """
        scoring = scoring_policy(policy)
        if scoring is None:
            raise TypeError(f"Only the shipped policies can look up tools in an index, not a {type(policy).__name__}.")
        self.crowd, self.novelty = crowd, policy.novelty if isinstance(policy, NoveltyPolicy) else None
        self.aim = scoring.aim(states).cpu()
        self.words = _rows(states.words.to("cpu"))
        self.scale, self.word_weight = float(self.aim.scale), float(self.aim.word_weight)
        self.known, self.columns = crowd.columns(self.aim.named if self.aim.bonus is not None else ())
        self.trained = np.zeros(0, dtype=bool)
        if self.novelty is not None:
            self.trained = crowd.columns(self.novelty.trained)[1] >= 0

    def shortlists(self) -> list[Shortlist]:
        """A shortlist for each state."""
        crowd, config = self.crowd, self.crowd.config
        if crowd.nearest is None:
            return self.exact()
        # Where the index still holds tools that are gone, as many more are asked for.
        held = crowd.fresh - int(crowd.gone[: crowd.fresh].sum())
        wanted = config.nearest if held == crowd.fresh else math.ceil(config.nearest * crowd.fresh / max(held, 1))
        near = crowd.nearest.search(self.aim.query.numpy(), wanted)
        return [self._shortlist(row, slots) for row, slots in enumerate(near)]

    def exact(self, slots: Slots | None = None, *, listed: int | None = None) -> list[Shortlist]:
        """The same with a look at every tool, or at every one of these; `listed` instead of the settings' number."""
        similarities = self.crowd.products(self.aim.query, slots)
        slots = self.crowd.slots if slots is None else slots
        listed = self.crowd.config.listed if listed is None else listed
        return [
            self._weigh(row, slots, similarities[row].numpy(), self._overlap(row), listed=listed)
            for row in range(len(self.words))
        ]

    def logits(self, allowed: Collection[str] | None = None) -> Tensor:
        """Logits of every tool in the order of the cards and of *none*, float32 [b, k + 1].

        Those of tools that are not allowed are −∞.
        """
        slots = self.crowd.slots
        similarities = self.crowd.products(self.aim.query)
        masked = np.array([allowed is not None and name not in allowed for name in self.crowd.names])
        result = torch.empty(len(self.words), len(slots) + 1)
        for row in range(len(self.words)):
            logits = self._logits(row, slots, similarities[row].numpy(), self._overlap(row))
            logits[masked] = -np.inf
            none = self._none(row, slots, logits, np.zeros(len(logits)))
            result[row] = torch.from_numpy(np.append(logits, none))
        return result

    def _overlap(self, row: int) -> NDArray[np.float32]:
        """The overlap of words of every slot, float32 [n]."""
        crowd, (words, weights) = self.crowd, self.words[row]
        into = np.zeros(len(crowd.slot_names), dtype=np.float32)
        for segment, first, end in zip(crowd.segments, crowd.firsts[:-1], crowd.firsts[1:], strict=True):
            segment.postings.overlap(words, weights, into[first:end])
        return into

    def _shortlist(self, row: int, near: Slots) -> Shortlist:
        crowd, config, query = self.crowd, self.crowd.config, self.aim.query[row]
        overlap = self._overlap(row)
        parts = [near, self.known, crowd.nearest_fresh(query)]
        if config.sharing:
            sharing = np.flatnonzero(overlap > 0)  # of truth values it is several times quicker than of numbers
            sharing = sharing[~crowd.gone[sharing]]
            parts.append(sharing[_highest(overlap[sharing], config.sharing)])
        taken = np.zeros(len(crowd.slot_names), dtype=bool)
        for part in parts:
            taken[part] = True
        taken[crowd.gone] = False
        slots = np.flatnonzero(taken)
        others = crowd.sample[~taken[crowd.sample]]
        similarities = torch.mv(crowd.points(slots), query).numpy()
        beyond = None
        unseen = len(crowd.slots) - len(slots)
        if len(others) and unseen:
            sampled = torch.mv(crowd.sample_points, query).numpy()[~taken[crowd.sample]]
            beyond = (others, sampled, math.log(unseen / len(others)))
        return self._weigh(row, slots, similarities, overlap, listed=config.listed, beyond=beyond)

    def _weigh(
        self,
        row: int,
        slots: Slots,
        similarities: NDArray[np.float32],
        overlap: NDArray[np.float32],
        *,
        listed: int,
        beyond: tuple[Slots, NDArray[np.float32], float] | None = None,
    ) -> Shortlist:
        logits = self._logits(row, slots, similarities, overlap)
        weights = np.zeros(len(logits))
        every, values = slots, logits
        if beyond is not None:
            others, sampled, weight = beyond
            every = np.concatenate([slots, others])
            values = np.concatenate([logits, self._logits(row, others, sampled, overlap)])
            weights = np.concatenate([weights, np.full(len(others), weight)])
        none = self._none(row, every, values, weights)
        order = _highest(logits, listed)
        rest = np.ones(len(values), dtype=bool)
        rest[order] = False
        return Shortlist(slots[order], logits[order], _log_sum(values[rest] + weights[rest]), none)

    def _logits(
        self, row: int, slots: Slots, similarities: NDArray[np.float32], overlap: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        logits = self.scale * (self.word_weight * overlap[slots] + similarities).astype(np.float64)
        if self.aim.bonus is not None:
            logits = logits + self.aim.bonus[row].numpy()[self.columns[slots]]
        return logits

    def _none(self, row: int, slots: Slots, logits: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
        none = float(self.aim.none[row])
        if self.novelty is None:
            return none
        parts = (torch.from_numpy(part) for part in (logits, weights, self.trained[slots]))
        values, log_weights, trained = parts
        return self.novelty.none_logit(values, log_weights, none=none, trained=trained)


def _rows(bag: WordBag) -> list[tuple[list[int], list[float]]]:
    indices, weights = bag.indices.tolist(), bag.weights.tolist()
    ends = [*bag.offsets.tolist(), len(indices)]
    return [(indices[start:end], weights[start:end]) for start, end in pairwise(ends)]


def _highest(values: NDArray, count: int) -> NDArray[np.int64]:
    """The places of the highest values, highest first."""
    places = np.argpartition(-values, count - 1)[:count] if len(values) > count else np.arange(len(values))
    return places[np.argsort(-values[places], kind="stable")]


def _log_sum(values: NDArray[np.float64]) -> float:
    if len(values) == 0:
        return -math.inf
    highest = float(values.max())
    return highest + math.log(float(np.exp(values - highest).sum())) if math.isfinite(highest) else highest
