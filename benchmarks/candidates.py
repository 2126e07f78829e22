"""A router for questions that each bring their own tools: what all tools share is learned, and no tool's own part."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.zeroshot import Question, plain_names
from dspy_router.learning.losses import cross_entropy
from dspy_router.records import ToolCard
from dspy_router.routing.encoders import Encoder
from dspy_router.routing.policies import ToolSpacePolicy
from dspy_router.routing.router import Router
from dspy_router.routing.threads import bounded_threads
from dspy_router.routing.toolset import card_text
from dspy_router.routing.words import Vocabulary

EPOCHS, BATCH, LEARNING_RATE = 60, 256, 0.02
OTHERS = 10  # tools of other questions that a question is seen with


@dataclass(frozen=True)
class Choices:
    """What a router would do on each of n questions.

    Attributes:
        odds: Log-odds of the best tool against *none*, [n].
        tool_right: Whether the best tool is what had to be called, [n].
        none_right: Whether nothing was to be called, [n].
    """

    odds: NDArray[np.float64]
    tool_right: NDArray[np.bool_]
    none_right: NDArray[np.bool_]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the router's own choice is right, [n]: the best tool where it is more probable than *none*."""
        return np.where(self.odds > 0, self.tool_right, self.none_right)


@dataclass(frozen=True)
class Shared:
    """What is the same for every toolset: a policy, and the words it goes by.

    Attributes:
        policy: Its weights.
        vocabulary: Words with their weights; None reads them from the cards of each question alone.
    """

    policy: ToolSpacePolicy
    vocabulary: Vocabulary | None = None

    def router(self, cards: Sequence[ToolCard], encoder: Encoder) -> Router:
        """A router over these tools."""
        vocabulary = copy.deepcopy(self.vocabulary)
        if vocabulary is not None:
            for card in cards:
                vocabulary.add(card_text(card))
        return Router(cards, encoder, policy=self.policy, vocabulary=vocabulary)

    def choose(self, questions: Sequence[Question], encoder: Encoder) -> Choices:
        """What it would do on each question, among the question's own tools."""
        odds, right = [], []
        for question in questions:
            router = self.router(question.cards, encoder)
            *tools, none = router.logits([question.query])[0].double().tolist()
            odds.append(max(tools) - none)
            right.append(plain_names([router.tools[tools.index(max(tools))]]) == question.gold)
        return Choices(np.array(odds), np.array(right), np.array([not question.gold for question in questions]))


def texts_of(questions: Iterable[Question]) -> list[str]:
    """All that is to be encoded."""
    return [text for q in questions for text in (q.query, *(view for card in q.cards for view in card.views))]


def unseen(train: Iterable[Question], scored: Sequence[Question]) -> list[Question]:
    """The training questions that share neither a tool's name nor their text with what is scored."""
    names = {name for question in scored for name in plain_names(card.name for card in question.cards)}
    texts = {question.query for question in scored}
    return [q for q in train if q.query not in texts and not plain_names(card.name for card in q.cards) & names]


def train_shared(questions: Sequence[Question], encoder: Encoder, policy: ToolSpacePolicy, *, seed: int = 0) -> Shared:
    """Learn the weights of the views and of words, the scale, and the level of *none*: seven numbers in all.

    Each question is seen with its own tools, and with each of ten of other questions', which are not to be called; the
    ten together weigh as much as the one. So *none* is learned without a single row that says so.

    Args:
        questions: What to learn from; each has something to call.
        encoder: A frozen one.
        policy: The policy to start from; it is changed.
        seed: Of the other questions' tools and of the order.

    Raises:
        ValueError: If there is no question, or all bring the same tools.
    """
    cards = {card.name: card for question in questions for card in question.cards}
    if len({frozenset(card.name for card in question.cards) for question in questions}) < 2:
        raise ValueError("Questions with at least two sets of tools are needed, to have tools that do not fit.")
    vocabulary = Vocabulary.build(map(card_text, cards.values()))
    router = Router(list(cards.values()), encoder, policy=policy, vocabulary=vocabulary)
    allowed, right, weights = _lessons(questions, router.tools, random.Random(seed))
    shared = [policy.view_weights, policy.word_weight, policy.log_scale, policy.none_level]
    optimizer = torch.optim.Adam(shared, lr=LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    with bounded_threads(1):
        states = router.read([question.query for question in questions for _ in range(1 + OTHERS)])
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(right), generator=generator).split(BATCH):
                optimizer.zero_grad()
                logits = policy(states.select(batch), router.space, allowed[batch])
                cross_entropy(logits, right[batch], weights=weights[batch]).backward()
                optimizer.step()
    return Shared(policy, vocabulary)


def _lessons(questions: Sequence[Question], tools: Sequence[str], draw: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    """Which tools may be chosen, bool [m, k], what is right, bool [m, k + 1], and how much that counts, [m]."""
    columns = {name: column for column, name in enumerate(tools)}
    rows = (1 + OTHERS) * len(questions)
    allowed = torch.zeros(rows, len(tools), dtype=torch.bool)
    right = torch.zeros(rows, len(tools) + 1, dtype=torch.bool)
    weights = torch.full((rows,), 1 / OTHERS)
    for first, question in zip(range(0, rows, 1 + OTHERS), questions, strict=True):
        own = [card.name for card in question.cards]
        allowed[first, [columns[name] for name in own]] = True
        right[first, [columns[name] for name in own if plain_names([name]) <= question.gold]] = True
        weights[first] = 1.0
        foreign = [column for name, column in columns.items() if name not in own]
        for row in range(first + 1, first + 1 + OTHERS):
            allowed[row, draw.choice(foreign)] = True
            right[row, -1] = True
    return allowed, right, weights / weights.mean()
