"""Routers over a few real tools in a crowd of composed ones: with an index, and with a look at every tool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.composed_cards import compose_cards
from benchmarks.setting import Corpus, Setting
from benchmarks.vectors import CachedEncoder
from dspy_router.records import ToolCard
from dspy_router.routing.encoders import HashEncoder
from dspy_router.routing.many.crowd import Crowd
from dspy_router.routing.router import Router
from dspy_router.routing.threads import bounded_threads


class World(NamedTuple):
    """The real tools, the crowd they stand in with all their views' vectors [n, 3, d], and those that come later."""

    corpus: Corpus
    crowd: list[ToolCard]
    later: list[ToolCard]
    encoder: CachedEncoder
    views: torch.Tensor


def make_world(setting: Setting, corpus: Corpus, *, tools: int, added: int) -> World:
    """A corpus' tools among so many in all, and so many to add later."""
    encoder = CachedEncoder(HashEncoder(256)) if setting.quick else setting.encoder
    names = [card.name for card in corpus.cards]
    crowd = compose_cards(tools - len(names), taken=names, seed=setting.seed)
    later = compose_cards(added, taken=[*names, *(card.name for card in crowd)], seed=setting.seed + 1)
    texts = [view for card in (*corpus.cards, *crowd, *later) for view in card.views]
    encoder.prepare([*texts, *(example.text for example in corpus.val)], progress=not setting.quick)
    texts = [view for card in (*corpus.cards, *crowd) for view in card.views]
    return World(corpus, crowd, later, encoder, encoder(texts).view(tools, 3, encoder.dim))


def make_router(world: World, count: int) -> Router:
    """An untrained router over the real tools and as many others as make so many in all."""
    return Router([*world.corpus.cards, *world.crowd][:count], world.encoder, views=world.views[:count])


def some_texts(world: World, count: int) -> list[str]:
    """So many of the validation queries, spread evenly."""
    texts = [example.text for example in world.corpus.val]
    return [texts[int(i)] for i in np.linspace(0, len(texts) - 1, min(len(texts), count))]


def exact(router: Router) -> Router:
    """The same router with a look at every tool in place of its index."""
    crowd = router.crowd
    return router if crowd is None else with_crowd(router, replace(crowd, nearest=None))


def with_crowd(router: Router, crowd: Crowd) -> Router:
    """The same router over these tools."""
    settings: dict[str, Any] = {"policy": router.policy, "vocabulary": router.vocabulary, "index": router.index}
    return Router(router.cards, router.encoder, views=crowd, **settings)


def product(router: Router, crowd: Crowd, *, count: int) -> Callable[[str], Any]:
    """What any exact search must do at the least: one product of a vector with all points, and their ten largest."""
    points = crowd.points(crowd.slots)

    def search(text: str) -> Any:
        with torch.no_grad(), bounded_threads(None):
            return torch.mv(points, router.encoder([text])[0]).topk(count)

    return search


def crowd_of(router: Router) -> Crowd:
    """The tools behind their index."""
    assert router.crowd is not None
    return router.crowd


def space_of(router: Router) -> Any:
    """What another router over the same tools takes as its `views`."""
    return router.space if isinstance(router.space, Crowd) else router.space.views
