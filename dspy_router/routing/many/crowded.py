"""A router among many tools: what of it is about the index of its tools."""

from __future__ import annotations

import copy
import json
import logging
import threading
from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from dspy_router.records import Decision, ToolCard
from dspy_router.routing.encoders import Encoder
from dspy_router.routing.explanation import Memory
from dspy_router.routing.many.check import IndexReport, compare
from dspy_router.routing.many.crowd import Crowd, lens_of
from dspy_router.routing.many.files import WITHOUT_USEARCH
from dspy_router.routing.many.nearest import index_available
from dspy_router.routing.many.settings import IndexConfig
from dspy_router.routing.many.shortlist import Look, Shortlist, lens_policy
from dspy_router.routing.policies import Policy, States, Tools
from dspy_router.routing.threads import bounded_threads
from dspy_router.routing.toolset import build_tools, card_text
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.routing.words import Vocabulary
from dspy_router.runtime.decisions import check_probabilities, choose
from dspy_router.runtime.names import check_cards, check_names

logger = logging.getLogger(__name__)

_DECISIONS_A_BATCH = 256
_FEW_TEXTS = 16


class Crowded:
    """What of a `Router` is about many tools; the attributes are the router's.

    Attributes:
        index: With how many tools it looks them up in an index, and how carefully.
    """

    cards: tuple[ToolCard, ...]
    space: Tools | Crowd
    encoder: Encoder
    policy: Policy
    vocabulary: Vocabulary
    memory: Memory | None
    seen: SeenTexts
    index: IndexConfig
    device: torch.device
    _threshold: float
    _lock: threading.Lock
    _described: tuple[Any, Any, str] | None = None

    def read(self, texts: Sequence[str], *, progress: bool = False) -> States:
        """Texts as states."""
        raise NotImplementedError

    def check_index(self, texts: Sequence[str], *, depth: int = 10) -> IndexReport:
        """Compare decisions by the index with those by a look at every tool.

        Args:
            texts: What users say; some hundred tell the recall to a percent.
            depth: How many of the most likely tools are compared.

        Raises:
            TypeError: If a text is no string.
            ValueError: If there are no texts, one is empty, or the router looks at every tool anyway.
        """
        crowd = self.crowd
        if crowd is None:
            raise ValueError(
                f"This router has no index to check: it looks at each of its {len(self.cards)} tools. An index comes "
                f"with more than {self.index.above} tools (index=IndexConfig(above=…)) under a shipped policy."
            )
        if not texts:
            raise ValueError("check_index compares decisions on texts: expected at least one, got none.")
        with torch.no_grad():
            states = self.read(texts)
            parts = torch.arange(len(texts), device=self.device).split(_DECISIONS_A_BATCH)
            return compare(crowd, (Look(self.policy, crowd, states.select(rows)) for rows in parts), depth=depth)

    @property
    def crowd(self) -> Crowd | None:
        """The tools behind their index; None where the router looks at every tool."""
        space = self.space
        return self._as_seen(space) if isinstance(space, Crowd) else None

    def _as_seen(self, crowd: Crowd) -> Crowd:
        """The crowd where the policy sees it now: its points are another's once somebody has changed its weights."""
        policy = lens_policy(self.policy)
        if policy is None or crowd.lens == lens_of(policy):
            return crowd
        with self._lock:
            space = self.space
            if isinstance(space, Crowd) and space.names is crowd.names and space.lens == lens_of(policy):
                return space  # another thread was quicker
            logger.info("The policy's view weights have changed: the index of its tools is made anew.")
            seen = crowd.seen_by(policy)
            if space is crowd:
                self.space = seen
            return seen

    def among(self, names: Collection[str]) -> Self:
        """A router over these of its tools alone: same encoder, a copy of the policy, the same words, no calibration.

        Raises:
            ValueError: If a name is not a tool's, or there is none.
        """
        check_names(names, self.space.names)
        kept = frozenset(names)
        rows = [row for row, card in enumerate(self.cards) if card.name in kept]
        settings: dict[str, Any] = {
            "policy": copy.deepcopy(self.policy),
            "vocabulary": self.vocabulary,
            "threshold": self._threshold,
            "device": str(self.device),
            "views": self.space.views[rows],
            "memory": self.memory,
            "seen": self.seen,
            "index": self.index,
        }
        return type(self)([self.cards[row] for row in rows], self.encoder, **settings)  # pyright: ignore[reportCallIssue]

    def _space_of(self, cards: Sequence[ToolCard], views: Tensor) -> Tools | Crowd:
        """The tools as the policy is to see them: all of them, or with an index."""
        if len(cards) <= self.index.above:
            return build_tools(cards, views, self.vocabulary).to(self.device)
        policy = lens_policy(self.policy)
        if policy is None:
            logger.warning(
                "A router of %d tools looks at every one of them for each decision: only the shipped policies can look "
                "tools up in an index, not a %s.",
                len(cards),
                type(self.policy).__name__,
            )
            return build_tools(cards, views, self.vocabulary).to(self.device)
        if not index_available():
            logger.warning(WITHOUT_USEARCH, len(cards))
        return Crowd.build(cards, views, self.vocabulary, policy, self.index)

    def _decide_in_crowd(self, texts: Sequence[str], allowed: Collection[str] | None, crowd: Crowd) -> list[Decision]:
        crowd, slots = self._as_seen(crowd), None
        if allowed is not None:
            check_names([name for name in allowed if name not in crowd.slot_of], crowd.names)
            slots = np.array(sorted({crowd.slot_of[name] for name in allowed}), dtype=np.int64)
        found: list[Decision] = []
        # A look at every tool gives a second thread enough to do, as does a big batch.
        threads = 1 if len(texts) <= _FEW_TEXTS and crowd.nearest is not None else None
        with torch.no_grad(), bounded_threads(threads):
            states = self.read(texts)
            for rows in torch.arange(len(texts), device=self.device).split(_DECISIONS_A_BATCH):
                look = Look(self.policy, crowd, states.select(rows))
                if slots is None:
                    shortlists = look.shortlists()
                else:  # of few all are listed, as a router of as few tools would
                    shortlists = look.exact(slots, listed=len(slots) if len(slots) <= self.index.above else None)
                found.extend(self._as_decision(one, crowd) for one in shortlists)
        return found

    def _as_decision(self, shortlist: Shortlist, crowd: Crowd) -> Decision:
        shares, tail, none = shortlist.probabilities()
        check_probabilities(shares)
        names = [crowd.slot_names[slot] for slot in shortlist.slots.tolist()]
        row = [*shares.tolist(), none]
        best = choose(row, names)
        return Decision(
            tool=names[best] if best < len(names) else None,
            probabilities=dict(zip(names, row, strict=False)),
            none_probability=none,
            accepted=row[best] >= self._threshold,
            tail_probability=tail,
        )

    def _logits_in_crowd(self, texts: Sequence[str], allowed: Collection[str] | None, crowd: Crowd) -> Tensor:
        crowd = self._as_seen(crowd)
        if allowed is not None:
            check_names([name for name in allowed if name not in crowd.slot_of], crowd.names)
        with torch.no_grad(), bounded_threads(1 if len(texts) <= _FEW_TEXTS else None):
            states = self.read(texts)
            parts = torch.arange(len(texts), device=self.device).split(_DECISIONS_A_BATCH)
            rows = [Look(self.policy, crowd, states.select(part)).logits(allowed) for part in parts]
        return torch.cat(rows) if rows else torch.empty(0, len(crowd.names) + 1)

    def _add_to_crowd(self, crowd: Crowd, fresh: Sequence[ToolCard], views: Tensor) -> None:
        """Add tools to the index; the lock is held."""
        policy = lens_policy(self.policy)
        assert policy is not None
        if taken := [card for card in fresh if card.name in crowd.slot_of]:
            check_cards([*taken, *taken])
        check_cards(fresh)
        vocabulary = self.vocabulary.extended(Vocabulary(rarest=self.vocabulary.rarest))
        for card in fresh:
            vocabulary.add(card_text(card))
        self.vocabulary = vocabulary
        self.space = crowd.added(fresh, views, vocabulary, policy)
        self.cards = (*self.cards, *fresh)

    def _describe_crowd(self) -> str:
        """Hex digest of cards, words and settings, made once for each state: of so many tools it takes a while."""
        last = self._described
        if last is None or last[0] is not self.cards or last[1] is not self.vocabulary:
            text = repr((self.cards, self.vocabulary.to_dict())) + json.dumps(self.index.to_dict(), sort_keys=True)
            last = (self.cards, self.vocabulary, sha256(text.encode("utf-8", "surrogatepass")).hexdigest())
            self._described = last
        return last[2]
