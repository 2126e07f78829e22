"""How many decisions a second: one by one, in batches, gathered from many threads, and out of the cache."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, Setting
from dspy_router.routing.encoders import HashEncoder
from dspy_router.routing.router import Router
from dspy_router.runtime.batcher import MicroBatcher
from dspy_router.runtime.cache import DecisionCache

TEXTS, THREADS, ROUNDS = 256, 32, 3
_QUICK_TEXTS = 32

Decide = Callable[[str], Any]


def run(setting: Setting) -> Iterator[Figure]:
    """Decisions a second of the torch router, untrained, with MiniLM and with hashed words, by way of asking.

    32 threads ask for one text after the other each, the router or a micro-batcher before it. All ways are gone in
    turn, three times; the median counts.
    """
    for corpus in setting.corpora("clinc150"):
        texts = [example.text for example in corpus.val]
        most = _QUICK_TEXTS if setting.quick else TEXTS
        texts = [texts[int(i)] for i in np.linspace(0, len(texts) - 1, min(len(texts), most))]
        where: dict[str, Any] = {"split": f"val, {len(corpus.cards)} tools", "data": corpus.name, "n": len(texts)}
        for name, encoder in (("MiniLM", setting.encoder.encoder), ("hash", HashEncoder())):
            router = Router.from_tools(corpus.cards, encoder=encoder)
            yield from _figures(name, _rates(router, texts), where)


def _rates(router: Router, texts: Sequence[str]) -> dict[str, float]:
    """Texts a second, by way of asking."""
    remembering = Router(router.cards, router.encoder, views=router.space.views, cache=DecisionCache())
    remembering.decide_batch(texts)
    with MicroBatcher(router) as batcher, ThreadPoolExecutor(THREADS) as pool:

        def in_threads(decide: Decide) -> Callable[[], Any]:
            return lambda: deque(pool.map(decide, texts), maxlen=0)

        ways: Mapping[str, Callable[[], Any]] = {
            "one by one": lambda: [router.decide(text) for text in texts],
            "threads": in_threads(router.decide),
            "threads, batcher": in_threads(batcher.decide),
            "batcher, one by one": lambda: [batcher.decide(text) for text in texts],
            "batch": lambda: router.decide_batch(texts),
            "cache": lambda: [remembering.decide(text) for text in texts],
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - started)
    return {name: len(texts) / statistics.median(values) for name, values in seconds.items()}


def _figures(name: str, rates: Mapping[str, float], where: Mapping[str, Any]) -> Iterator[Figure]:
    threads = f"{THREADS} threads"
    for what, way, peers in (
        (f"{name}: {threads} through a MicroBatcher", "threads, batcher", {f"{threads}, router.decide": "threads"}),
        (f"{name}: decide_batch", "batch", {"router.decide, one by one": "one by one"}),
        (f"{name}: one caller through a MicroBatcher", "batcher, one by one", {"router.decide": "one by one"}),
        (f"{name}: out of a DecisionCache", "cache", {"router.decide, one by one": "one by one"}),
    ):
        beside = {peer: rates[other] for peer, other in peers.items()}
        yield Figure(what, rates[way], unit="per second", baselines=beside, **where)


BENCHMARK = Benchmark(
    "serving", run, target="none was set; each way beside the plain one", needs={"clinc150": LABELLED["clinc150"]}
)
