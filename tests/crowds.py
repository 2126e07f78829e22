"""Routers with an index of their tools, small enough for a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.composed_cards import compose_cards
from dspy_router import HashEncoder, Router, ToolCard
from dspy_router.routing.many.crowd import Crowd
from dspy_router.routing.many.nearest import NearestPoints
from dspy_router.routing.many.settings import IndexConfig

CARDS = compose_cards(300)
FRESH = compose_cards(40, taken=[card.name for card in CARDS], seed=1)
QUERIES = [
    "find a flight and a hotel in Kenya",
    "what will the weather be like, is there a storm warning",
    "draft a contract clause for landlords",
    "compare dog breeds",
    "zzz",
    "translate a phrase for students",
]
# So careful that nothing is missed among some hundred tools.
EXHAUSTIVE: dict[str, Any] = {"nearest": 400, "search_effort": 400, "sharing": 400}


def crowded(cards: Sequence[ToolCard] = CARDS, **settings: Any) -> Router:
    """An untrained router that looks its tools up in an index, unless the settings say otherwise."""
    config = IndexConfig(**{"above": 50, "nearest": 40, "sharing": 40, "listed": 20, "sample": 60, **settings})
    return Router.from_tools(cards, encoder=HashEncoder(64), index=config)


def crowd_of(router: Router) -> Crowd:
    """Its tools with their index."""
    assert router.crowd is not None
    return router.crowd


def index_of(router: Router) -> NearestPoints:
    """The index itself."""
    nearest = crowd_of(router).nearest
    assert nearest is not None
    return nearest


def exact(cards: Sequence[ToolCard] = CARDS) -> Router:
    """The same looking at every tool."""
    return crowded(cards, above=10_000)
