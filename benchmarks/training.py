"""Train a router and count what it gets right: what several benchmarks do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.setting import Corpus
from benchmarks.vectors import CachedEncoder
from dspy_router.evaluation.metrics import is_right
from dspy_router.learning.trainer import TrainConfig, fit
from dspy_router.records import Episode
from dspy_router.routing.encoders import Encoder
from dspy_router.routing.policies import ToolSpacePolicy
from dspy_router.routing.router import Router
from dspy_router.runtime.batcher import Batching

MINUS_NONE = "1 − P(none)"


class Run(NamedTuple):
    """A trained router and the wall-clock seconds of its `fit`."""

    router: Router
    seconds: float


def train(
    corpus: Corpus,
    encoder: Encoder,
    config: TrainConfig,
    *,
    examples: Sequence[Episode] | None = None,
    policy: Mapping[str, Any] | None = None,
) -> Run:
    """Fit a router on a corpus; the validation part is not shown to it, not even to choose the epoch.

    Args:
        corpus: Its cards and, by default, its training queries.
        encoder: One that caches has every vector before the clock starts, so that the seconds are the policy's alone.
        config: How to train.
        examples: What to train on instead of `corpus.train`.
        policy: Keyword arguments of `ToolSpacePolicy`.
    """
    examples = corpus.train if examples is None else examples
    router = Router.from_tools(corpus.cards, encoder=encoder, policy=ToolSpacePolicy(encoder.dim, **(policy or {})))
    if isinstance(encoder, CachedEncoder):
        encoder.prepare([example.text for example in examples], progress=True)
    started = time.perf_counter()
    fit(router, examples, config=config)
    return Run(router, time.perf_counter() - started)


def count_right(router: Batching, examples: Sequence[Episode]) -> int:
    """How many decisions are right; none where a tool was right is wrong."""
    decisions = router.decide_batch([example.text for example in examples])
    pairs = zip(decisions, examples, strict=True)
    return sum(is_right(decision.tool, example.labels[0]) for decision, example in pairs)
