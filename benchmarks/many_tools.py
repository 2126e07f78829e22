"""Up to a hundred thousand tools: how long a decision takes, what an index misses, what a crowd costs in accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.bm25 import Bm25, fuse
from benchmarks.crowded_routers import (
    World,
    crowd_of,
    exact,
    make_router,
    make_world,
    product,
    some_texts,
    space_of,
    with_crowd,
)
from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, Setting, label_of
from benchmarks.timing import time_in_turn
from benchmarks.training import train
from dspy_router.learning.trainer import TrainConfig
from dspy_router.records import Episode
from dspy_router.routing.many.files import INDEX
from dspy_router.routing.policies import ToolSpacePolicy
from dspy_router.routing.router import Router

EXACT = "the same, every tool looked at"
PRODUCT = "a bare product with all points and its ten largest, no words, no probabilities"
BM25 = "BM25 alone"
DEPTH = 10


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        steps: Numbers of tools at which decisions are timed.
        tools: Number of tools of everything else.
        added: How many tools are added.
        timed: How many texts are timed.
        compared: How many texts the index is checked on.
    """

    steps: tuple[int, ...] = (200, 2_000, 20_000, 100_000)
    tools: int = 100_000
    added: int = 1_000
    timed: int = 300
    compared: int = 500


QUICK = Size(steps=(200, 3_000), tools=3_000, added=50, timed=10, compared=20)
CONFIG = TrainConfig()
MILLISECONDS, TIMES, RECALL, SECONDS = 3.0, 5.0, 0.99, 1.0


def run(setting: Setting) -> Iterator[Figure]:
    """Real tools in a crowd of composed ones: speed after encoding, recall, size, growth and accuracy.

    The crowd's cards are put together by a seeded script (`composed_cards.py`) over fields that toole's tools are about
    too: some of them could well answer its queries, and count as wrong all the same.
    """
    size = QUICK if setting.quick else Size()
    for corpus in setting.corpora("toole"):
        world = make_world(setting, corpus, tools=size.tools, added=size.added)
        routers = {count: make_router(world, count) for count in size.steps if count != size.tools}
        started = time.perf_counter()
        router = make_router(world, size.tools)
        seconds = time.perf_counter() - started
        yield from _speed({**routers, size.tools: router}, world, size)
        del routers
        yield from _recall(router, world, size)
        yield from _size(router, world, seconds)
        yield from _growth(router, world)
        yield from _zero_shot(router, world)
        yield from _trained(setting, world, size)


def _speed(routers: dict[int, Router], world: World, size: Size) -> Iterator[Figure]:
    texts = some_texts(world, size.timed)
    for count, router in routers.items():
        candidates: dict[str, Callable[[str], Any]] = {"index": router.decide}
        if router.crowd is not None:
            candidates |= {EXACT: exact(router).decide, PRODUCT: product(router, router.crowd, count=DEPTH)}
        times = {name: float(np.median(values)) for name, values in time_in_turn(candidates, texts).items()}
        mine, last = times.pop("index"), count == size.tools
        what = "the index" if router.crowd is not None else "every tool looked at"
        yield _figure(
            f"decide among {count:,} tools ({what}), vector known beforehand, p50",
            mine,
            unit="milliseconds",
            target=MILLISECONDS if last else None,
            bound="at most",
            baselines=times,
            n=len(texts),
        )
        if times:
            ratio = times[EXACT] / mine
            yield _figure(
                f"{EXACT}, divided by the index, {count:,} tools", ratio, unit="times", target=TIMES if last else None
            )


def _recall(router: Router, world: World, size: Size) -> Iterator[Figure]:
    texts, crowd = some_texts(world, size.compared), router.crowd
    assert crowd is not None
    report = router.check_index(texts, depth=DEPTH)
    vectors_alone = with_crowd(router, replace(crowd, config=replace(crowd.config, sharing=0)))
    yield _figure(
        f"recall@{DEPTH} of the index against a look at every tool",
        report.recall,
        target=RECALL,
        n=report.texts,
        baselines={"without the tools that share words": vectors_alone.check_index(texts, depth=DEPTH).recall},
        note=f"same choice {report.agreement:.1%}; largest difference of a listed probability "
        f"{report.probability:.3f}, of the tail's {report.tail:.3f}",
    )


def _size(router: Router, world: World, seconds: float) -> Iterator[Figure]:
    tools = len(router.tools)
    with TemporaryDirectory() as folder:
        place = Path(folder) / "router"
        started = time.perf_counter()
        router.save(place)
        saved = time.perf_counter() - started
        sizes = {str(path.relative_to(place)): path.stat().st_size / tools for path in place.rglob("*.*")}
        started = time.perf_counter()
        loaded = Router.load(place, encoder=router.encoder)
        loading = time.perf_counter() - started
        loaded.decide(world.corpus.val[0].text)
    crowd = router.crowd
    assert crowd is not None
    parts = "; ".join(f"{name} {size:,.0f}" for name, size in sorted(sizes.items()))
    yield _figure(
        "bytes of the index a tool",
        sizes[INDEX],
        unit="count",
        note=f"a saved router, bytes a tool: {parts} (views, points and words are mapped, not read)",
    )
    yield _figure(
        f"seconds to index {tools:,} tools, vectors known beforehand",
        seconds,
        unit="seconds",
        note=f"one thread; saving {saved:.1f} s, loading with every digest checked {loading:.1f} s",
    )


def _growth(router: Router, world: World) -> Iterator[Figure]:
    count = len(world.later)
    changed = with_crowd(router, crowd_of(router))
    started = time.perf_counter()
    changed.add_tools(world.later)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    changed.decide(world.corpus.val[0].text)
    first = time.perf_counter() - started
    # Where as many wait already, these make the index of the full size grow.
    full = with_crowd(router, crowd_of(router))
    full.add_tools([replace(card, name=f"{card.name}Again") for card in world.crowd[:count]])
    started = time.perf_counter()
    full.add_tools(world.later)
    folding = time.perf_counter() - started
    texts = list(dict.fromkeys(view for card in world.later for view in card.views))
    started = time.perf_counter()
    world.encoder.encoder(texts[:64])
    encoding = (time.perf_counter() - started) / min(len(texts), 64) * len(texts)
    yield _figure(
        f"seconds to add {count:,} tools, vectors known beforehand",
        seconds,
        unit="seconds",
        target=SECONDS,
        bound="at most",
        note=f"the first decision after it {1000 * first:.0f} ms; where the index takes in what waited {folding:.1f} "
        f"s; encoding that many cards would take about {encoding:.0f} s more",
    )
    started = time.perf_counter()
    changed.remove_tools([card.name for card in world.later])
    yield _figure(f"seconds to remove {count:,} tools", time.perf_counter() - started, unit="seconds")


def _zero_shot(router: Router, world: World) -> Iterator[Figure]:
    val = world.corpus.val
    alone = make_router(world, len(world.corpus.cards))
    policies = {weight: ToolSpacePolicy(world.encoder.dim, word_weight=weight) for weight in (0.0, 1.0)}
    for count, one in ((len(alone.tools), alone), (len(router.tools), router)):
        bm25, names = Bm25(one.cards), one.tools
        ours, ranked = _ranked(one, val), bm25.ranked([example.text for example in val])
        parts: dict[str, Any] = {"vocabulary": one.vocabulary, "views": space_of(one), "index": one.index}
        by_vectors, by_words = (
            _ranked(Router(one.cards, one.encoder, policy=policy, **parts), val) for policy in policies.values()
        )
        by_bm25 = [[names[row] for row in rows] for rows in ranked]
        fused = [fuse(one_row, other) for one_row, other in zip(ours, by_bm25, strict=True)]
        fused_vectors = [fuse(one_row, other) for one_row, other in zip(by_vectors, by_bm25, strict=True)]
        for k in (1, 5):
            yield _figure(
                f"untrained, the right tool within the first {k} of {count:,}, tools alone",
                _hits(ours, val, k),
                n=len(val),
                baselines={
                    "by the vectors alone": _hits(by_vectors, val, k),
                    "four times the weight of the words": _hits(by_words, val, k),
                    BM25: _hits(by_bm25, val, k),
                    "the vectors' and BM25's ranks fused": _hits(fused_vectors, val, k),
                    "ours and BM25's ranks fused": _hits(fused, val, k),
                },
            )


def _trained(setting: Setting, world: World, size: Size) -> Iterator[Figure]:
    router = train(world.corpus, world.encoder, setting.adapt(CONFIG, quick_epochs=1)).router
    val = world.corpus.val
    before = _right(router, val)
    router.add_tools(world.crowd)
    yield _figure(
        f"accuracy, trained on {len(world.corpus.cards)} tools, the others added afterwards: {size.tools:,}",
        _right(router, val),
        n=len(val),
        baselines={f"before they were added: {len(world.corpus.cards)} tools": before},
    )
    report = router.check_index(some_texts(world, size.compared), depth=DEPTH)
    agree = f"same choice {report.agreement:.1%}"
    yield _figure(
        f"recall@{DEPTH} of the trained router's index",
        report.recall,
        n=report.texts,
        note=agree,
    )


def _right(router: Router, val: Sequence[Episode]) -> float:
    decisions = router.decide_batch([example.text for example in val])
    return sum(one.tool == label_of(example) for one, example in zip(decisions, val, strict=True)) / len(val)


def _ranked(router: Router, val: Sequence[Episode]) -> list[list[str]]:
    """The tools of each decision, most likely first."""
    decisions = router.decide_batch([example.text for example in val])
    return [[name for name, _ in decision.top(101) if name is not None] for decision in decisions]


def _hits(ranked: Sequence[Sequence[str]], val: Sequence[Episode], k: int) -> float:
    return sum(label_of(example) in names[:k] for names, example in zip(ranked, val, strict=True)) / len(val)


def _figure(what: str, value: float, **others: Any) -> Figure:
    return Figure(what, value, **{"split": "val", "data": "toole", **others})


BENCHMARK = Benchmark(
    "many_tools",
    run,
    target=f"100,000 tools: {MILLISECONDS:.0f} ms after encoding, {TIMES:.0f} times quicker than a look at every tool, "
    f"recall@{DEPTH} {RECALL:.0%}, 1,000 tools added in {SECONDS:.0f} s",
    needs={"toole": LABELLED["toole"]},
)
