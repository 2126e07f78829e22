"""The router: encoder, policy and tool cards; text in, decision out."""

from __future__ import annotations

import copy
import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dspy_router.records import Decision, ToolCard
from dspy_router.routing.calibratable import Calibratable
from dspy_router.routing.catalogue import build_encoder
from dspy_router.routing.encoders import Encoder, encode
from dspy_router.routing.exchange import Exchangeable
from dspy_router.routing.explanation import Explanation, Memory, explain
from dspy_router.routing.identified import Identified
from dspy_router.routing.many.crowd import Crowd
from dspy_router.routing.many.crowded import Crowded
from dspy_router.routing.many.settings import IndexConfig
from dspy_router.routing.policies import Policy, States, Tools, ToolSpacePolicy
from dspy_router.routing.portable import Portable
from dspy_router.routing.threads import bounded_threads
from dspy_router.routing.toolset import (
    allowed_mask,
    card_text,
    encode_cards,
)
from dspy_router.routing.trust.identity import Watch
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.routing.words import Vocabulary
from dspy_router.runtime.cache import Cacheable, DecisionCache
from dspy_router.runtime.calibration import Calibration
from dspy_router.runtime.decisions import as_decisions, check_probabilities, check_queries, check_threshold, choose_all
from dspy_router.runtime.halving import in_batches
from dspy_router.runtime.names import check_cards, check_names, check_same_tools

_DECISIONS_A_BATCH = 1024
_FEW_TEXTS = 16


class Router(Calibratable, Crowded, Identified, Cacheable, Portable, Exchangeable):
    """Chooses a tool for a text.

    Deterministic: the same weights and the same text give the same decision, on any thread and in any batch.

    Attributes:
        cards: What is known of each tool, in the order they were given; the order never changes a choice.
        space: The tools as the policy sees them.
        encoder: Texts to vectors.
        policy: States and tools to logits.
        vocabulary: The words that the policy weighs.
        threshold: Least confidence of an accepted decision, in [0, 1].
        memory: Training queries to explain by; None before training.
        seen: Which texts it was trained on, as digests.
        calibration: What makes its probabilities mean what they say, and what it may keep; None before `calibrate`.
        cache: Decisions that need not be made again; None, the default, makes each of them anew.
    """

    def __init__(
        self,
        cards: Sequence[ToolCard],
        encoder: Encoder,
        *,
        policy: Policy | None = None,
        vocabulary: Vocabulary | None = None,
        threshold: float = 0.0,
        device: str = "cpu",
        views: Tensor | Crowd | None = None,
        memory: Memory | None = None,
        seen: SeenTexts | None = None,
        calibration: Calibration | None = None,
        index: IndexConfig | None = None,
        cache: DecisionCache | None = None,
    ) -> None:
        """Put a router together from its parts; `Router.from_tools` is the easier way.

        Policy and vocabulary are by default those of an untrained router, and `views`, the vectors of the cards' views
        as float32 [k, 3, d] or the tools with their index, are encoded anew.

        Raises:
            ValueError: If there are no cards, two of one name, or the threshold lies outside [0, 1].
        """
        check_cards(cards)
        self.encoder = encoder
        self.device = torch.device(device)
        self.policy = policy if policy is not None else ToolSpacePolicy(encoder.dim)
        if isinstance(self.policy, nn.Module):
            self.policy.to(self.device).eval()
        if isinstance(encoder, nn.Module):
            encoder.eval()  # once, here: to switch while others encode would let them see dropout
        self.vocabulary = vocabulary if vocabulary is not None else Vocabulary.build(map(card_text, cards))
        self.threshold = threshold
        self.memory, self.seen = memory, SeenTexts() if seen is None else seen
        self._lock = threading.Lock()
        self._watch = Watch()
        self.calibration, self.cache = calibration, cache
        self.index = IndexConfig() if index is None else index
        self._set_cards(cards, views)

    @classmethod
    def from_tools(
        cls,
        tools: Iterable[Any],
        *,
        encoder: str | Encoder = "minilm",
        policy: Policy | None = None,
        threshold: float = 0.0,
        device: str = "cpu",
        index: IndexConfig | None = None,
    ) -> Self:
        """An untrained router over these tools: it goes by the words and the meaning of their cards.

        Args:
            tools: Tool cards, Python functions, `dspy.Tool`s, MCP tools, LangChain tools or function schemas.
            encoder: `"minilm"`, `"hash"`, `"gru"`, `"transformer"`, the name or path of a sentence-transformers model,
                or an `Encoder`.
            policy: By default an untrained `ToolSpacePolicy`.
            threshold: Least confidence of an accepted decision, in [0, 1].
            device: Where it runs: `"cpu"`, `"cuda"`, `"mps"`.
            index: From how many tools on they are looked up in an index, and how carefully; by default from 2,001 on.

        Raises:
            TypeError: If a tool or the encoder is none of these.
            ValueError: If there are no tools, two of one name, or the threshold lies outside [0, 1].
        """
        cards = [ToolCard.from_tool(tool) for tool in tools]
        check_cards(cards)
        settings: dict[str, Any] = {"policy": policy, "threshold": threshold, "device": device, "index": index}
        return cls(cards, build_encoder(encoder, device=device), **settings)

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the tools."""
        return self.space.names

    @property
    def threshold(self) -> float:
        """Least confidence of an accepted decision, in [0, 1]."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._threshold = check_threshold(value)

    @property
    def truncated(self) -> int:
        """How many texts so far were longer than the encoder's window, so that their end was not read."""
        return getattr(self.encoder, "truncated", 0)

    def decide(self, text: str, *, allowed: Collection[str] | None = None) -> Decision:
        """Choose a tool for one text.

        Args:
            text: What the user wants, in their words.
            allowed: Names of the tools that may be chosen; by default all. *None* may always be chosen.

        Raises:
            TypeError: If the text is no string.
            ValueError: If the text is empty, or a name in `allowed` is not a tool's.
            StaleCalibration: If what may be accepted was certified for another state of the router.
        """
        return self.decide_batch([text], allowed=allowed)[0]

    def decide_batch(self, texts: Sequence[str], *, allowed: Collection[str] | None = None) -> list[Decision]:
        """Choose a tool for each text; as `decide`, for many at once."""
        if isinstance(texts, str):
            raise TypeError("decide_batch takes a sequence of texts; for a single text use decide.")
        return self._through_cache(texts, allowed, lambda some: self._undisturbed(lambda: self._decide(some, allowed)))

    def _decide(self, texts: Sequence[str], allowed: Collection[str] | None) -> list[Decision]:
        space = self.space  # read once: another thread may add a tool meanwhile
        calibration, names = self._calibration_in_force(space), space.names
        if isinstance(space, Crowd):
            return self._decide_in_crowd(texts, allowed, space)
        logits = self.logits(texts, allowed=allowed, space=space)
        rows: NDArray[np.float64] = check_probabilities(logits.softmax(1)).double().numpy()
        choices, kept = choose_all(rows, names), [True] * len(rows)
        if calibration is not None:
            rows, passing = calibration.apply(logits.numpy(), choices, names)
            kept = passing.tolist()
        return as_decisions(rows, names, choices=choices, kept=kept, allowed=allowed, threshold=self._threshold)

    def probabilities(self, texts: Sequence[str], *, allowed: Collection[str] | None = None) -> Tensor:
        """The policy's own distribution for each text, uncalibrated; float32 [n, k + 1], last column *none*.

        Raises:
            FloatingPointError: If the policy's weights give no number.
            TypeError: If a text is no string.
            ValueError: If a text is empty, or a name in `allowed` is not a tool's.
        """
        return check_probabilities(self.logits(texts, allowed=allowed).softmax(1))

    def logits(
        self, texts: Sequence[str], *, allowed: Collection[str] | None = None, space: Tools | Crowd | None = None
    ) -> Tensor:
        """The policy's logits for each text among these tools, by default the router's; as `probabilities`."""
        space = self.space if space is None else space
        if isinstance(space, Crowd):
            return self._logits_in_crowd(texts, allowed, space)
        mask = allowed_mask(space.names, allowed, self.device)
        # Only a big batch gives a second thread enough to do.
        with torch.no_grad(), bounded_threads(1 if len(texts) <= _FEW_TEXTS else None):
            states, logits = self.read(texts), torch.empty(len(texts), len(space.names) + 1)

            def work(rows: Sequence[int]) -> None:
                some = states if len(rows) == len(texts) else states.select(torch.tensor(rows, device=self.device))
                logits[rows[0] : rows[-1] + 1] = self.policy(some, space, mask).cpu()

            for _ in in_batches(work, range(len(texts)), size=_DECISIONS_A_BATCH, texts=texts):
                pass
            return logits

    def read(self, texts: Sequence[str], *, progress: bool = False) -> States:
        """Texts as states.

        Raises:
            TypeError: If a text is no string.
            ValueError: If a text is empty.
        """
        check_queries(texts)
        vectors = encode(self.encoder, texts, progress=progress)
        return States(vectors.to(self.device), self.vocabulary.bag(texts).to(self.device))

    def add_tools(self, tools: Iterable[Any]) -> None:
        """Add tools; they can be reached by their cards at once, no training needed.

        Raises:
            ValueError: If a name is taken already.
        """
        fresh = [ToolCard.from_tool(tool) for tool in tools]
        encoder = views = None
        while encoder is not self.encoder or views is None:
            check_cards([*self.cards, *fresh])
            encoder = self.encoder
            views = encode_cards(encoder, fresh)  # without the lock: others go on deciding
            with self._lock:
                if self.encoder is encoder:  # else it was trained meanwhile
                    self._add_cards(fresh, views)

    def remove_tools(self, names: Collection[str]) -> None:
        """Remove tools by name; the probabilities of the others are those they would have had without them.

        Raises:
            ValueError: If a name is not a tool's, or no tool would be left.
        """
        names = frozenset([names] if isinstance(names, str) else names)
        with self._lock:
            check_names(sorted(names), self.tools)
            kept = [i for i, card in enumerate(self.cards) if card.name not in names]
            cards = [self.cards[i] for i in kept]
            check_cards(cards)
            rest = self.space.without(names) if isinstance(self.space, Crowd) and len(kept) > self.index.above else None
            self._set_cards(cards, self.space.views[kept] if rest is None else rest)

    def refresh(self, vocabulary: Vocabulary | None = None) -> None:
        """Read the cards anew, after the encoder was trained or with another vocabulary."""
        if vocabulary is not None:
            self.vocabulary = vocabulary
        frozen = not getattr(self.encoder, "trainable", False)
        self._set_cards(self.cards, self.space.views if frozen else None)

    def to(self, device: torch.device | str) -> None:
        """Move encoder, policy and tool vectors to a device."""
        self.device = torch.device(device)
        for part in (self.encoder, self.policy):
            if isinstance(part, nn.Module):
                part.to(self.device)
        self.space = self.space.to(self.device)

    def adopt(self, other: Router, memory: Memory | None) -> None:
        """Take over encoder, policy and words of a router over the same tools, as a trainer does at its end."""
        views: Tensor | None = other.space.views
        if isinstance(self.space, Crowd):  # the other had those that it was trained on alone
            trained = getattr(other.encoder, "trainable", False)
            views = encode_cards(other.encoder, self.cards) if trained else self.space.views
        with self._exchanging():
            self.encoder, self.policy, self.vocabulary = other.encoder, other.policy, other.vocabulary
            self.memory, self.seen = memory, self.seen | other.seen
            self._set_cards(self.cards, views)

    def explain(self, text: str) -> Explanation:
        """Why this tool: its rivals, the words that moved the decision, the training queries nearest to the text."""
        return explain(self, text)

    def check_tools(self, names: Sequence[str]) -> None:
        """Raise a `ValueError` if these names are not exactly those of the router's tools."""
        check_same_tools(self.tools, names)

    def __repr__(self) -> str:
        trained = "trained" if self.memory is not None else "untrained"
        return f"Router({len(self.tools)} tools, {type(self.encoder).__name__}, {trained}, threshold={self._threshold})"

    def _add_cards(self, fresh: Sequence[ToolCard], views: Tensor) -> None:
        """Add cards and their views; the lock is held."""
        if isinstance(self.space, Crowd):
            self._add_to_crowd(self.space, fresh, views)
            return
        check_cards([*self.cards, *fresh])
        vocabulary = copy.deepcopy(self.vocabulary)
        for card in fresh:
            vocabulary.add(card_text(card))
        self.vocabulary = vocabulary  # first: ids never change, so that the tools of before can be read with it
        self._set_cards([*self.cards, *fresh], torch.cat([self.space.views.cpu(), views]))

    def _set_cards(self, cards: Sequence[ToolCard], views: Tensor | Crowd | None) -> None:
        views = encode_cards(self.encoder, cards) if views is None else views
        self.space = views if isinstance(views, Crowd) else self._space_of(cards, views)
        self.cards = tuple(cards)
