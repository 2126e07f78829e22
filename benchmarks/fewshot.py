"""A handful of labelled queries a tool."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from benchmarks.baselines import LOGISTIC, count_hits, train_logistic, vectors_of
from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, Setting, label_of
from benchmarks.training import count_right, train
from dspy_router.learning.trainer import TrainConfig
from dspy_router.records import Episode
from dspy_router.routing.router import Router

CONFIG = TrainConfig(progress=False)
SHOTS = (1, 5, 10)
DRAWS = 5
ZERO_SHOT = "zero-shot router"


def run(setting: Setting) -> Iterator[Figure]:
    """1, 5 and 10 examples a tool, frozen MiniLM, mean and standard deviation over five draws.

    All are trained on the same draws and scored on the whole validation part. The target is the better of the two
    baselines; the zero-shot router needs no draw.
    """
    for corpus in setting.corpora("clinc150", "toole"):
        n = len(corpus.val)
        zero_shot = count_right(Router.from_tools(corpus.cards, encoder=setting.encoder), corpus.val) / n
        val_vectors = vectors_of(setting.encoder, corpus.val)
        for shots in SHOTS:
            ours, logistic = [], []
            for draw in range(2 if setting.quick else DRAWS):
                examples = few_shot(corpus.train, shots, seed=setting.seed + draw)
                fitted = train(corpus, setting.encoder, setting.adapt(CONFIG), examples=examples)
                ours.append(count_right(fitted.router, corpus.val) / n)
                model = train_logistic(setting.encoder, examples).model
                logistic.append(count_hits(model.predict(val_vectors), corpus.val) / n)
            beside = {ZERO_SHOT: zero_shot, LOGISTIC: sum(logistic) / len(logistic)}
            each = ", ".join(f"{100 * (mine - its):+.1f}" for mine, its in zip(ours, logistic, strict=True))
            yield Figure.mean(
                f"accuracy, {shots} example{'s' if shots > 1 else ''} a tool",
                ours,
                split=f"val, {len(ours)} draws of train",
                data=corpus.name,
                n=n,
                target=max(beside.values()),
                bound="above",
                baselines=beside,
                note=f"ahead of logistic regression, draw by draw: {each} points",
            )


def few_shot(examples: Sequence[Episode], shots: int, *, seed: int) -> list[Episode]:
    """Draw the same number of examples for each tool, without replacement; of a tool that has fewer, all.

    Args:
        examples: What to draw from; none rows are left out.
        shots: How many a tool.
        seed: The same seed draws the same examples.
    """
    by_label: dict[str, list[Episode]] = {}
    for example in examples:
        if label_of(example):
            by_label.setdefault(label_of(example), []).append(example)
    rng = random.Random(seed)
    drawn = []
    for _, rows in sorted(by_label.items()):
        drawn += rng.sample(rows, min(shots, len(rows)))
    return drawn


BENCHMARK = Benchmark(
    "fewshot", run, target="above the zero-shot router and logistic regression, at every point", needs=LABELLED
)
