"""The router: encoder, policy and tool cards; text in, decision out."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from dspy_router.records import Decision, ToolCard
from dspy_router.routing.catalogue import build_encoder
from dspy_router.routing.decisions import as_decision, check_probabilities, check_queries
from dspy_router.routing.encoders import Encoder, encode, weights_digest
from dspy_router.routing.explanation import Explanation, Memory, explain
from dspy_router.routing.policies import Policy, States, Tools, ToolSpacePolicy
from dspy_router.routing.storage import pack, read_folder, unpack, write_folder
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
from dspy_router.routing.words import Vocabulary

_DECISIONS_A_BATCH = 1024
_FEW_TEXTS = 16


class Router:
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
        self.memory = memory
        self._lock = threading.Lock()
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
        """Hex digest of all that decides: encoder, weights, words, cards and threshold."""
        digest = hashlib.sha256(self.encoder.fingerprint.encode())
        digest.update(repr((self.cards, self._threshold, self.vocabulary.to_dict())).encode())
        if isinstance(self.policy, nn.Module):
            digest.update(weights_digest(self.policy).encode())
        return digest.hexdigest()

    def decide(self, text: str, *, allowed: Collection[str] | None = None) -> Decision:
        """Choose a tool for one text.

        Args:
            text: What the user wants, in their words.
            allowed: Names of the tools that may be chosen; by default all. *None* may always be chosen.

        Raises:
            TypeError: If the text is no string.
            ValueError: If the text is empty, or a name in `allowed` is not a tool's.
        """
        return self.decide_batch([text], allowed=allowed)[0]

    def decide_batch(self, texts: Sequence[str], *, allowed: Collection[str] | None = None) -> list[Decision]:
        """Choose a tool for each text; as `decide`, for many at once."""
        if isinstance(texts, str):
            raise TypeError("decide_batch takes a sequence of texts; for a single text use decide.")
        space = self.space  # read once: another thread may add a tool meanwhile
        rows = self._distribution(texts, space, allowed).tolist()
        return [as_decision(row, space.names, allowed=allowed, threshold=self._threshold) for row in rows]

    def probabilities(self, texts: Sequence[str], *, allowed: Collection[str] | None = None) -> Tensor:
        """The policy's distribution for each text, float32 [n, k + 1], last column *none*.

        Raises:
            FloatingPointError: If the policy's weights give no number.
            TypeError: If a text is no string.
            ValueError: If a text is empty, or a name in `allowed` is not a tool's.
        """
        return self._distribution(texts, self.space, allowed)

    def _distribution(self, texts: Sequence[str], space: Tools, allowed: Collection[str] | None) -> Tensor:
        mask = allowed_mask(space.names, allowed, self.device)
        # Only a big batch gives a second thread enough to do.
        with torch.no_grad(), bounded_threads(1 if len(texts) <= _FEW_TEXTS else None):
            states = self.read(texts)
            batches = torch.arange(len(texts), device=self.device).split(_DECISIONS_A_BATCH)
            rows = [self.policy(states.select(batch), space, mask).softmax(1).cpu() for batch in batches]
        return check_probabilities(torch.cat(rows))

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
            self.memory = memory
            self._set_cards(self.cards, other.space.views)

    def explain(self, text: str) -> Explanation:
        """Why this tool: its rivals, the words that moved the decision, the training queries nearest to the text."""
        return explain(self, text)

    def save(self, folder: str | Path) -> None:
        """Write the router to a folder: `router.json` and safetensors files; whole or not at all."""
        write_folder(self.to_files(), Path(folder))

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        tools: Iterable[Any] | None = None,
        encoder: Encoder | None = None,
        policy: Policy | None = None,
        device: str = "cpu",
    ) -> Router:
        """Read a router from a folder.

        Args:
            folder: Where `save` wrote it.
            tools: The tools it is going to be used with; refused if their names are others than the router's.
            encoder: The encoder, if it is none of the shipped ones.
            policy: The policy, if it is none of the shipped ones.
            device: Where it runs.

        Raises:
            FileNotFoundError: If there is no router in the folder.
            ValueError: If a file is damaged, of a newer format, or the router was saved for other tools.
        """
        parts = {"encoder": encoder, "policy": policy, "device": device}
        router = cls.from_files(read_folder(Path(folder)), source=f"'{folder}'", **parts)
        if tools is not None:
            router.check_tools([ToolCard.from_tool(tool).name for tool in tools])
        return router

    def to_files(self) -> dict[str, bytes]:
        """The folder of `save`, in memory: file name to content."""
        with self._lock:  # another thread may be changing the tools
            views, memory = self.space.views, self.memory
            return pack(self.cards, self.encoder, self.policy, self.vocabulary, self._threshold, views, memory)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], *, source: str = "the given files", **parts: Any) -> Router:
        """The router that `to_files` described; `source` is what an error calls them, `parts` are as for `load`."""
        device = parts.pop("device", "cpu")
        return cls(**unpack(files, source, **parts), device=device)

    def check_tools(self, names: Sequence[str]) -> None:
        """Raise a `ValueError` if these names are not exactly those of the router's tools."""
        check_same_tools(self.tools, names)

    def __deepcopy__(self, memo: dict[int, Any]) -> Router:
        # A frozen encoder never changes: copies share it, or every candidate of an optimizer would carry its own.
        shared = self.encoder
        return type(self)(
            self.cards,
            copy.deepcopy(shared, memo) if getattr(shared, "trainable", False) else shared,
            policy=copy.deepcopy(self.policy, memo),
            vocabulary=copy.deepcopy(self.vocabulary, memo),
            threshold=self._threshold,
            device=str(self.device),
            views=self.space.views.clone(),
            memory=self.memory,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(Router.from_files, source="the pickled router"), (self.to_files(),))

    def __repr__(self) -> str:
        trained = "trained" if self.memory is not None else "untrained"
        return f"Router({len(self.tools)} tools, {type(self.encoder).__name__}, {trained}, threshold={self._threshold})"

    def _set_cards(self, cards: Sequence[ToolCard], views: Tensor | None) -> None:
        views = encode_cards(self.encoder, cards) if views is None else views
        self.space = build_tools(cards, views, self.vocabulary).to(self.device)
        self.cards = tuple(cards)
