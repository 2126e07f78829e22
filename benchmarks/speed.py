"""How fast and how right: one text to one decision, beside five peers with the same weights and queries."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.children import start
from benchmarks.contenders import INT8, LOGISTIC, SEMANTIC, STUDENT, TORCH, Contender, ours, peers
from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, Corpus, Setting, label_of
from benchmarks.speed_table import ACCURACY, MEMORY, P50, P95, RATE, START, speed_table
from benchmarks.timing import BLOCK, WARM_UP, one_thread, time_in_turn

# Other benchmarks time in the same way.
__all__ = ["BENCHMARK", "BLOCK", "PEER", "PEER_ONE_THREAD", "WARM_UP", "one_thread", "time_in_turn"]

TEXTS, ROUNDS, STARTS = 200, 3, 3
QUICK_TEXTS = 12
PEER = LOGISTIC
PEER_ONE_THREAD = f"{PEER}, one thread"
_LONG = 10.0  # seconds of a round of all texts, above which it is not repeated
_AFTER_START = 50  # decisions of a fresh process before its memory is read
# (ours, peer): how many times quicker ours is to be, and what it may take in a fresh process.
QUICKER = {(INT8, SEMANTIC): 25.0, (INT8, LOGISTIC): 10.0, (STUDENT, LOGISTIC): 100.0}
THROUGHPUT, SECONDS, MEGABYTES = 20_000.0, 1.0, 250.0


def run(setting: Setting) -> Iterator[Figure]:
    """Text to decision: accuracy, milliseconds, decisions a second, memory and cold start, ours and five peers.

    Blocks of texts go to all candidates in turn, so that a busy moment of the machine falls on all of them alike, and
    the whole is done three times. Blocks are not single texts because torch starts its threads anew whenever their
    number changes, and `decide` bounds its own: candidates that use several would pay for their neighbours. Peers that
    use torch are timed with torch's own number of threads and with one; the quicker counts.
    """
    for corpus in setting.corpora("clinc150"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            contenders = [*ours(setting, corpus, folder), *peers(setting, corpus, folder)]
            yield from measure(contenders, corpus, quick=setting.quick)


def measure(contenders: Sequence[Contender], corpus: Corpus, *, quick: bool = False) -> Iterator[Figure]:
    """All figures of some contenders on a corpus's validation part."""
    every, labels = [one.text for one in corpus.val], [label_of(one) for one in corpus.val]
    most, rounds = (QUICK_TEXTS, 1) if quick else (TEXTS, ROUNDS)
    texts = [every[int(i)] for i in np.linspace(0, len(every) - 1, min(len(every), most))]
    where: dict[str, Any] = {"split": f"val, {len(corpus.cards)} tools", "data": corpus.name}
    yield from _whole(contenders, every, labels, rounds, where)
    medians: dict[str, float] = {}
    for figure in _latencies(contenders, texts, rounds, where):
        medians |= {figure.what.removesuffix(f": {P50}"): figure.value} if figure.what.endswith(P50) else {}
        yield figure
    for (mine, peer), target in QUICKER.items():
        if mine in medians and peer in medians:
            ratio = medians[peer] / medians[mine]
            yield Figure(f"{mine}, p50 of {peer} divided by its", ratio, unit="times", target=target, **where)
    yield from _starts(contenders, texts[:_AFTER_START], 1 if quick else STARTS, where)


def _whole(
    contenders: Sequence[Contender], texts: Sequence[str], labels: Sequence[str], rounds: int, where: Mapping[str, Any]
) -> Iterator[Figure]:
    """All texts given at once, in turn: how many are right, and decisions a second, the median of some rounds.

    Who needs more than ten seconds for a round has only one.
    """
    n, right = len(texts), {}
    seconds: dict[str, list[float]] = {one.name: [] for one in contenders}
    for one in contenders:
        one.right(texts[:WARM_UP], labels[:WARM_UP])
    for _ in range(rounds):
        for one in contenders:
            if seconds[one.name] and seconds[one.name][0] > _LONG:
                continue
            began = time.perf_counter()
            right[one.name] = one.right(texts, labels)
            seconds[one.name].append(time.perf_counter() - began)
    for one in contenders:
        yield Figure.share(f"{one.name}: {ACCURACY}", right[one.name], n, **where)
        rate, target = n / statistics.median(seconds[one.name]), THROUGHPUT if one.name == STUDENT else None
        note = f"{len(seconds[one.name])} rounds"
        yield Figure(f"{one.name}: {RATE}", rate, unit="per second", n=n, target=target, note=note, **where)
    if INT8 in right and TORCH in right:
        lost = (right[TORCH] - right[INT8]) / n
        yield Figure(f"{INT8}, accuracy lost against torch", lost, n=n, target=0.003, bound="at most", **where)


def _latencies(
    contenders: Sequence[Contender], texts: Sequence[str], rounds: int, where: Mapping[str, Any]
) -> Iterator[Figure]:
    """Milliseconds of one decision."""
    calls: dict[str, Callable[[str], Any]] = {one.name: one.decide for one in contenders}
    bounded = {one.name: one.one_thread for one in contenders if one.one_thread is not None}
    calls |= {f"{name}, one thread": call for name, call in bounded.items()}
    every = [time_in_turn(calls, texts) for _ in range(rounds)]
    times = {name: [value for one in every for value in one[name]] for name in calls}
    load = f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    for one in contenders:
        ways = [one.name, *([f"{one.name}, one thread"] if one.name in bounded else [])]
        best = min(ways, key=lambda way: statistics.median(times[way]))
        by_round = ", ".join(f"{statistics.median(round_[best]):.3g}" for round_ in every)
        for what, q in ((P50, 50), (P95, 95)):
            beside = {f"torch's threads, p{q}": float(np.percentile(times[ways[0]], q))} if len(ways) > 1 else {}
            beside |= {f"one thread, p{q}": float(np.percentile(times[ways[1]], q))} if len(ways) > 1 else {}
            yield Figure(
                f"{one.name}: {what}",
                float(np.percentile(times[best], q)),
                unit="milliseconds",
                n=len(times[best]),
                baselines=beside,
                note=f"p50 of each round: {by_round}; {load}" if q == 50 else "",
                **where,
            )


def _starts(
    contenders: Sequence[Contender], texts: Sequence[str], starts: int, where: Mapping[str, Any]
) -> Iterator[Figure]:
    """Fresh processes, all contenders in turn: seconds to the first decision, and the most memory held by the 50th."""
    runs = [{one.name: start(one.saved, texts) for one in contenders} for _ in range(starts)]
    for one in contenders:
        slim: dict[str, Any] = {"bound": "at most"} if one.name in (INT8, STUDENT) else {}
        seconds = statistics.median(run[one.name].seconds for run in runs)
        megabytes = statistics.median(run[one.name].megabytes for run in runs)
        target = SECONDS if slim else None
        yield Figure(f"{one.name}: {START}", seconds, unit="seconds", n=starts, target=target, **slim, **where)
        target = MEGABYTES if slim else None
        yield Figure(f"{one.name}: {MEMORY}", megabytes, unit="count", n=starts, target=target, **slim, **where)


BENCHMARK = Benchmark(
    "speed",
    run,
    target="int8: 25 times quicker than semantic-router, 10 times than encode + logistic regression, 0.3 points lost, "
    "first decision in 1 s, 250 MB; student: 100 times quicker, 20,000 decisions a second",
    needs={"clinc150": LABELLED["clinc150"]},
    shown=speed_table,
)
