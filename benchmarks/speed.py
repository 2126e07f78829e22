"""How long one decision takes, alone, on one text at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.baselines import train_logistic
from benchmarks.fewshot import few_shot
from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, Corpus, Setting
from benchmarks.training import train
from benchmarks.vectors import CachedEncoder
from dspy_router.learning.trainer import TrainConfig
from dspy_router.records import Episode
from dspy_router.routing.encoders import HashEncoder, SentenceEncoder
from dspy_router.routing.router import Router
from dspy_router.routing.threads import bounded_threads

# One epoch: how long a decision takes depends on the size of the policy and its vocabulary, not on how good it is.
CONFIG = TrainConfig(epochs=1, progress=False)
TEXTS = 300
BLOCK = 30
WARM_UP = 5
PEER = "sentence-transformers encode + logistic regression"
PEER_ONE_THREAD = f"{PEER}, one thread"
POLICY_ALONE = "decide, vector known beforehand"


def run(setting: Setting) -> Iterator[Figure]:
    """Milliseconds of one `router.decide`, with and without the encoding of the text.

    Blocks of texts go to all candidates in turn, so that a busy moment of the machine falls on all of them alike. They
    are not single texts because torch starts its threads anew whenever their number changes, and `decide` bounds its
    own: candidates that use several would pay for their neighbours.
    """
    for corpus in setting.corpora("clinc150"):
        texts = [example.text for example in corpus.val]
        texts = [texts[int(i)] for i in np.linspace(0, len(texts) - 1, min(len(texts), TEXTS))]
        sentence = setting.encoder.encoder
        assert isinstance(sentence, SentenceEncoder)
        hashed = CachedEncoder(HashEncoder())
        peer = _peer(sentence, setting.encoder, few_shot(corpus.train, 10, seed=setting.seed))
        candidates = {
            **_candidates("minilm", corpus, setting.encoder),
            **_candidates("hash", corpus, hashed),
            PEER: peer,
            PEER_ONE_THREAD: _on_one_thread(peer),
        }
        for cached in (setting.encoder, hashed):
            cached.prepare(texts)
        times = time_in_turn(candidates, texts)
        yield from _figures(times, corpus, len(texts))


def _candidates(name: str, corpus: Corpus, cached: CachedEncoder) -> dict[str, Callable[[str], Any]]:
    """`decide` of a trained router, once with the real encoder and once with vectors that are there already."""
    router = train(corpus, cached, CONFIG).router
    parts = {"policy": router.policy, "vocabulary": router.vocabulary, "views": router.space.views}
    whole = Router(router.cards, cached.encoder, **parts)
    return {f"{name}: decide": whole.decide, f"{name}: {POLICY_ALONE}": router.decide}


def _peer(sentence: SentenceEncoder, cached: CachedEncoder, examples: Sequence[Episode]) -> Callable[[str], Any]:
    """The usual way: the library's own `encode` of one text, and a linear model on it; the very same weights."""
    model = train_logistic(cached, examples).model
    return lambda text: model.predict(sentence.model.encode([text], show_progress_bar=False, normalize_embeddings=True))


def _on_one_thread(call: Callable[[str], Any]) -> Callable[[str], Any]:
    """The same under the bound that `decide` sets itself: on a busy machine a second thread may cost time."""

    def bounded(text: str) -> Any:
        with bounded_threads(1):
            return call(text)

    return bounded


def time_in_turn(candidates: Mapping[str, Callable[[str], Any]], texts: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of each call; every block of texts goes to one candidate after the other, first some uncounted."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for start in range(0, len(texts), BLOCK):
        block = texts[start : start + BLOCK]
        for name, call in candidates.items():
            for text in block[:WARM_UP]:
                call(text)
            for text in block:
                started = time.perf_counter()
                call(text)
                times[name].append(1000 * (time.perf_counter() - started))
    return times


def _figures(times: Mapping[str, Sequence[float]], corpus: Corpus, n: int) -> Iterator[Figure]:
    where: dict[str, Any] = {"split": f"val, {len(corpus.cards)} tools", "data": corpus.name, "n": n}
    for name, values in times.items():
        if name in (PEER, PEER_ONE_THREAD):
            continue
        for q in (50, 95):
            yield Figure(
                f"{name}, p{q}",
                float(np.percentile(values, q)),
                unit="milliseconds",
                baselines={peer: float(np.percentile(times[peer], q)) for peer in (PEER, PEER_ONE_THREAD)},
                note=f"torch threads outside of decide: {torch.get_num_threads()}",
                **where,
            )
        quicker_peer = min(np.percentile(times[peer], 50) for peer in (PEER, PEER_ONE_THREAD))
        ratio = float(quicker_peer / np.percentile(values, 50))
        yield Figure(f"{name}: p50 of the quicker peer, divided by ours", ratio, unit="times", **where)


BENCHMARK = Benchmark(
    "speed", run, target="none was set; the peer is measured in the same run", needs={"clinc150": LABELLED["clinc150"]}
)
