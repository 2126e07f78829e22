"""The router: encoder, policy and tool cards; text in, decision out."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from dspy_router.records import Decision, ToolCard
from dspy_router.routing.calibratable import Calibratable
from dspy_router.routing.calibration import Calibration
from dspy_router.routing.catalogue import build_encoder
from dspy_router.routing.decisions import as_decision, check_probabilities, check_queries, choose
from dspy_router.routing.encoders import Encoder, encode, weights_digest
from dspy_router.routing.explanation import Explanation, Memory, explain
from dspy_router.routing.policies import Policy, States, Tools, ToolSpacePolicy
from dspy_router.routing.portable import Portable
from dspy_router.routing.threads import bounded_threads
from dspy_router.routing.toolset import (
    allowed_mask,
    build_tools,
    card_text,
    check_cards,
    check_names,
    check_same_tools,
    encode_cards,
)
from dspy_router.routing.trust.identity import Watch
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.routing.words import Vocabulary

_DECISIONS_A_BATCH = 1024
_FEW_TEXTS = 16


class Router(Calibratable, Portable):
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
        views: Tensor | None = None,
        memory: Memory | None = None,
        seen: SeenTexts | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Put a router together from its parts; `Router.from_tools` is the easier way.

        Policy and vocabulary are by default those of an untrained router, and `views`, the vectors of the cards' views
        as float32 [k, 3, d], are encoded anew.

        Raises:
            ValueError: If there are no cards, two of one name, or the threshold lies outside [0, 1].
        """
        check_cards(cards)
        self.encoder = encoder
        self.device = torch.device(device)
        self.policy = policy if policy is not None else ToolSpacePolicy(encoder.dim)
        if isinstance(self.policy, nn.Module):
            self.policy.to(self.device).eval()
        self.vocabulary = vocabulary if vocabulary is not None else Vocabulary.build(map(card_text, cards))
        self.threshold = threshold
        self.memory, self.seen = memory, SeenTexts() if seen is None else seen
        self._lock = threading.Lock()
        self._watch = Watch()
        self.calibration = calibration
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
    ) -> Self:
        """An untrained router over these tools: it goes by the words and the meaning of their cards.

        Args:
            tools: Tool cards, Python functions, `dspy.Tool`s, MCP tools, LangChain tools or function schemas.
            encoder: `"minilm"`, `"hash"`, `"gru"`, `"transformer"`, the name or path of a sentence-transformers model,
                or an `Encoder`.
            policy: By default an untrained `ToolSpacePolicy`.
            threshold: Least confidence of an accepted decision, in [0, 1].
            device: Where it runs: `"cpu"`, `"cuda"`, `"mps"`.

        Raises:
            TypeError: If a tool or the encoder is none of these.
            ValueError: If there are no tools, two of one name, or the threshold lies outside [0, 1].
        """
        cards = [ToolCard.from_tool(tool) for tool in tools]
        check_cards(cards)
        return cls(cards, build_encoder(encoder, device=device), policy=policy, threshold=threshold, device=device)

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
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
            raise ValueError(f"The threshold is a probability: expected a number in [0, 1], got {value!r}.")
        self._threshold = float(value)

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that decides: encoder, weights, words, cards, threshold and calibration."""
        digest = hashlib.sha256(self.encoder.fingerprint.encode())
        digest.update(repr((self.cards, self._threshold, self.vocabulary.to_dict())).encode())
        if isinstance(self.policy, nn.Module):
            digest.update(weights_digest(self.policy).encode())
        if self._calibration is not None:
            digest.update(json.dumps(self._calibration.to_dict(), sort_keys=True).encode())
        return digest.hexdigest()

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
        space = self.space  # read once: another thread may add a tool meanwhile
        calibration, names = self._calibration_in_force(space), space.names
        logits = self.logits(texts, allowed=allowed, space=space)
        rows = check_probabilities(logits.softmax(1)).tolist()
        choices, kept = [choose(row, names) for row in rows], [True] * len(rows)
        if calibration is not None:
            rows, kept = (part.tolist() for part in calibration.apply(logits, choices, names))
        about: dict[str, Any] = {"allowed": allowed, "threshold": self._threshold}
        decisions = zip(rows, choices, kept, strict=True)
        return [as_decision(row, names, choice=choice, kept=keep, **about) for row, choice, keep in decisions]

    def probabilities(self, texts: Sequence[str], *, allowed: Collection[str] | None = None) -> Tensor:
        """The policy's own distribution for each text, uncalibrated; float32 [n, k + 1], last column *none*.

        Raises:
            FloatingPointError: If the policy's weights give no number.
            TypeError: If a text is no string.
            ValueError: If a text is empty, or a name in `allowed` is not a tool's.
        """
        return check_probabilities(self.logits(texts, allowed=allowed).softmax(1))

    def logits(
        self, texts: Sequence[str], *, allowed: Collection[str] | None = None, space: Tools | None = None
    ) -> Tensor:
        """The policy's logits for each text among these tools, by default the router's; as `probabilities`."""
        space = self.space if space is None else space
        mask = allowed_mask(space.names, allowed, self.device)
        # Only a big batch gives a second thread enough to do.
        with torch.no_grad(), bounded_threads(1 if len(texts) <= _FEW_TEXTS else None):
            states = self.read(texts)
            batches = torch.arange(len(texts), device=self.device).split(_DECISIONS_A_BATCH)
            return torch.cat([self.policy(states.select(batch), space, mask).cpu() for batch in batches])

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
        with self._lock:
            check_cards([*self.cards, *fresh])
            views = torch.cat([self.space.views.cpu(), encode_cards(self.encoder, fresh)])
            vocabulary = copy.deepcopy(self.vocabulary)
            for card in fresh:
                vocabulary.add(card_text(card))
            self.vocabulary = vocabulary
            self._set_cards([*self.cards, *fresh], views)

    def remove_tools(self, names: Collection[str]) -> None:
        """Remove tools by name; the probabilities of the others are those they would have had without them.

        Raises:
            ValueError: If a name is not a tool's, or no tool would be left.
        """
        names = [names] if isinstance(names, str) else names
        with self._lock:
            check_names(names, self.tools)
            kept = [i for i, card in enumerate(self.cards) if card.name not in names]
            cards = [self.cards[i] for i in kept]
            check_cards(cards)
            self._set_cards(cards, self.space.views[kept])

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
        with self._lock:
            self.encoder, self.policy, self.vocabulary = other.encoder, other.policy, other.vocabulary
            self.memory, self.seen = memory, self.seen | other.seen
            self._set_cards(self.cards, other.space.views)

    def explain(self, text: str) -> Explanation:
        """Why this tool: its rivals, the words that moved the decision, the training queries nearest to the text."""
        return explain(self, text)

    def check_tools(self, names: Sequence[str]) -> None:
        """Raise a `ValueError` if these names are not exactly those of the router's tools."""
        check_same_tools(self.tools, names)

    def __repr__(self) -> str:
        trained = "trained" if self.memory is not None else "untrained"
        return f"Router({len(self.tools)} tools, {type(self.encoder).__name__}, {trained}, threshold={self._threshold})"

    def _set_cards(self, cards: Sequence[ToolCard], views: Tensor | None) -> None:
        views = encode_cards(self.encoder, cards) if views is None else views
        self.space = build_tools(cards, views, self.vocabulary).to(self.device)
        self.cards = tuple(cards)
