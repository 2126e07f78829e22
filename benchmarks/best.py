"""The best policy on toole that trains within two minutes on cached vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.baselines import (
    BOTH_SVM,
    LOGISTIC,
    TFIDF_SVM,
    TfidfSvm,
    count_hits,
    train_logistic,
    vectors_of,
)
from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, Setting
from benchmarks.training import count_right, train
from dspy_router.learning.trainer import TrainConfig

# What was found best; `ToolSpacePolicy`'s keyword arguments and how it is trained.
POLICY: Mapping[str, Any] = {}
CONFIG = TrainConfig(neighbours=50, smoothing=0.0, epochs=20)
TARGET = 0.885
SECONDS_TARGET = 120.0


def run(setting: Setting) -> Iterator[Figure]:
    """The best policy that trains in two minutes, meaning and words together.

    The rivals are the same two kinds of features, each alone and both together, in linear models.
    """
    for corpus in setting.corpora("toole"):
        fitted = train(corpus, setting.encoder, setting.adapt(CONFIG), policy=POLICY)
        words, both = TfidfSvm().fit(corpus.train), TfidfSvm(setting.encoder).fit(corpus.train)
        logistic = train_logistic(setting.encoder, corpus.train)
        predicted = logistic.model.predict(vectors_of(setting.encoder, corpus.val))
        n = len(corpus.val)
        yield Figure.share(
            "accuracy, best policy",
            count_right(fitted.router, corpus.val),
            n,
            split="val",
            data=corpus.name,
            target=TARGET,
            baselines={
                LOGISTIC: count_hits(predicted, corpus.val) / n,
                TFIDF_SVM: words.hits(corpus.val) / n,
                BOTH_SVM: both.hits(corpus.val) / n,
            },
        )
        yield Figure(
            f"seconds of fit, {len(corpus.train)} cached vectors",
            fitted.seconds,
            split="train",
            data=corpus.name,
            unit="seconds",
            target=SECONDS_TARGET,
            bound="at most",
            baselines={LOGISTIC: logistic.seconds, TFIDF_SVM: words.seconds, BOTH_SVM: both.seconds},
        )


BENCHMARK = Benchmark(
    "best", run, target=f"toole {TARGET:.1%} in at most {SECONDS_TARGET:.0f} s", needs={"toole": LABELLED["toole"]}
)
