"""Two-tool tasks, small routers, kills and a researcher's own policy, for tests that need torch but no dspy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dspy_router import HashEncoder, Router, ToolCard, TrainConfig
from dspy_router.learning.checkpoints import Checkpoints
from dspy_router.routing.catalogue import build_encoder
from dspy_router.routing.policies import States, Tools

CARDS = [
    ToolCard(
        "add_numbers",
        "Sum of two numbers.",
        {"type": "object", "properties": {"first": {"type": "number"}, "second": {"type": "number"}}},
    ),
    ToolCard("clock", "The current time in a city.", {"type": "object", "properties": {"city": {"type": "string"}}}),
]

# Neither tool's card shares a content word with its queries: without training they cannot be told apart.
IDENTITY = [
    {"query": "seven plus twelve", "tool": "add_numbers"},
    {"query": "what does 3 plus 4 come to", "tool": "add_numbers"},
    {"query": "plus up 1 and 2", "tool": "add_numbers"},
    {"query": "how much is 10 plus 20", "tool": "add_numbers"},
    {"query": "what hour is it in Oslo", "tool": "clock"},
    {"query": "which hour have they in Rome", "tool": "clock"},
    {"query": "hour of the day in Lima", "tool": "clock"},
    {"query": "say me the hour for Paris", "tool": "clock"},
]

CARD_POOL = [
    *CARDS,
    ToolCard("convert_units", "Convert a length to another unit."),
    # Two that no text can tell apart but by the name, and two that say nothing.
    ToolCard("search_a", "Search the pages of the handbook."),
    ToolCard("search_b", "Search the pages of the handbook."),
    ToolCard("xyzzy"),
    ToolCard("plugh"),
]
QUERIES = [
    "sum of two numbers",
    "what time is it in Rome",
    "search the handbook",
    "zzz",
    "convert a page number",
    "a b",
]


def hash_router(cards: Sequence[ToolCard] = CARDS) -> Router:
    """An untrained router that needs no weights from anywhere."""
    return Router.from_tools(cards, encoder="hash")


def choices(router: Router, rows: Sequence[dict[str, Any]]) -> list[str | None]:
    """What it chooses for the queries of these rows."""
    return [router.decide(row["query"]).tool for row in rows]


def quick(**settings) -> TrainConfig:
    return TrainConfig(**{"epochs": 4, "threads": 1, **settings})


def small(kind: str) -> Router:
    """An untrained router whose encoder is small enough to train in a test."""
    options: dict[str, Any] = {"hash": {}, "gru": {"dim": 32}, "transformer": {"dim": 32, "layers": 1}}[kind]
    return Router.from_tools(CARDS, encoder=build_encoder(kind, **options))


class Killed(BaseException):
    """What no `except Exception` may swallow."""


def kill_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """The process ends right after so many checkpoints."""
    save, saved = Checkpoints.save, []

    def save_and_die(self, state):
        save(self, state)
        saved.append(state)
        if len(saved) == epochs:
            raise Killed

    monkeypatch.setattr(Checkpoints, "save", save_and_die)


class CountingEncoder:
    """A user's own encoder, no module and none of the shipped ones; it remembers what it was asked for."""

    def __init__(self) -> None:
        self.inner = HashEncoder(64)
        self.seen: list[str] = []

    dim = 64
    fingerprint = "counting"

    def __call__(self, texts: Sequence[str]) -> Tensor:
        self.seen.extend(texts)
        return self.inner(texts)


class BilinearPolicy(nn.Module):
    """A researcher's policy: the query is turned by a learned matrix before it meets the descriptions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.turn = nn.Parameter(torch.eye(dim))
        self.none = nn.Parameter(torch.tensor(0.1))

    def forward(self, states: States, tools: Tools, allowed: Tensor | None = None) -> Tensor:
        logits = 20 * states.vectors @ self.turn @ tools.vectors.T
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        return torch.cat([logits, 20 * self.none.expand(len(logits), 1)], dim=1)
