"""A task in which some queries cannot be told apart, and a router trained on it: what there is to be unsure of."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from routers import CARDS, hash_router, quick

from dspy_router import Router, fit

_WORDS = {
    "add_numbers": ("plus", "sum", "add", "total", "numbers"),
    "clock": ("hour", "time", "clock", "city", "zone"),
    None: ("song", "poem", "cake", "river", "shoe"),
}
OPTIONS = tuple(_WORDS)


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Queries of four words; three of ten mix those of two options, and the label is either's."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        tool, other = draw.sample(OPTIONS, 2)
        mixed = draw.random() < 0.3
        words = draw.choices(_WORDS[tool], k=2) + draw.choices(_WORDS[other if mixed else tool], k=2)
        draw.shuffle(words)
        made.append({"query": f"{' '.join(words)} {seed}-{number}", "tool": tool})
    return made


@cache
def _files() -> dict[str, bytes]:
    router = hash_router(CARDS)
    fit(router, rows(120, seed=1), config=quick(epochs=10))
    return router.to_files()


def trained() -> Router:
    """A router that was trained on `rows(120, seed=1)`; every call gives a fresh copy."""
    return Router.from_files(_files())
