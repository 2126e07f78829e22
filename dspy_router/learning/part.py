"""The part of very many tools that a router is trained on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from dspy_router.records import Episode
from dspy_router.routing.many.shortlist import lens_policy
from dspy_router.routing.router import Router
from dspy_router.runtime.names import check_names


def part_for(router: Router, examples: Sequence[Any], *, seed: int = 0) -> Router:
    """A router over the tools that these examples speak of, those that training knew, and some drawn at random.

    There are as many as a router may have that looks at every one. The drawn ones stand for all others: a softmax over
    the right options and a uniform sample of the wrong ones (Jean et al. 2015, "On using very large target vocabulary
    for neural machine translation", there with another sample in each batch).

    Raises:
        ValueError: If the examples speak of a tool that is not the router's, or of too many.
    """
    spoken = sorted({name for example in examples for name in _names(example)})
    check_names(spoken, router.tools)
    policy = lens_policy(router.policy)
    known = set(spoken).union(() if policy is None else policy.known).intersection(router.tools)
    most = router.index.above
    if len(known) > most:
        raise ValueError(
            f"The examples speak of {len(spoken)} tools, and with those known from earlier training that makes "
            f"{len(known)}; a router with an index is trained on at most {most}, as many as it would look at one by "
            f"one. Raise that number (index=IndexConfig(above={len(known)})), or train on fewer tools."
        )
    others = sorted(set(router.tools) - known)
    drawn = random.Random(seed).sample(others, min(most - len(known), len(others)))
    return router.among([*known, *drawn])


def _names(example: Any) -> list[str]:
    episode = Episode.from_example(example)
    actions = [decision.tool for decision in episode.decisions]
    names = [*(name for label in episode.labels for name in label), *episode.rewards, *actions]
    return [name for name in names if name is not None]
