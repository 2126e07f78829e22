"""The frozen sentence encoder under a trained policy, and how well it knows what no tool answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.baselines import LOGISTIC, TFIDF_SVM, TfidfSvm, Trained, count_hits, train_logistic, vectors_of
from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, NONE_ROWS, Corpus, Setting
from benchmarks.training import MINUS_NONE, count_right, train
from dspy_router.evaluation.statistics import auroc
from dspy_router.learning.trainer import TrainConfig

CONFIG = TrainConfig()
TARGETS = {"clinc150": 0.960, "toole": 0.856}
AUROC_TARGET = 0.965
SECONDS_TARGET = 20.0


def run(setting: Setting) -> Iterator[Figure]:
    """Frozen MiniLM and a trained policy, default settings.

    Accuracy and seconds are of a fit without a single *none* row, as the baselines are. What concerns *none* is of a
    second fit, with none_train among the training queries; its accuracy is printed too, so that its price can be seen.
    """
    for corpus in setting.corpora("clinc150", "toole"):
        logistic = train_logistic(setting.encoder, corpus.train)
        yield from _accuracy(setting, corpus, logistic)
        if corpus.name == "clinc150":
            yield from _none(setting, corpus, logistic)


def _accuracy(setting: Setting, corpus: Corpus, logistic: Trained) -> Iterator[Figure]:
    n = len(corpus.val)
    fitted = train(corpus, setting.encoder, setting.adapt(CONFIG))
    svm = TfidfSvm().fit(corpus.train)
    predicted = logistic.model.predict(vectors_of(setting.encoder, corpus.val))
    where: dict[str, Any] = {"split": "val", "data": corpus.name}
    yield Figure.share(
        "accuracy, trained policy",
        count_right(fitted.router, corpus.val),
        n,
        target=TARGETS[corpus.name],
        baselines={LOGISTIC: count_hits(predicted, corpus.val) / n, TFIDF_SVM: svm.hits(corpus.val) / n},
        **where,
    )
    yield Figure(
        f"seconds of fit, {len(corpus.train)} cached vectors, {len(corpus.cards)} tools",
        fitted.seconds,
        unit="seconds",
        target=SECONDS_TARGET if corpus.name == "clinc150" else None,
        bound="at most",
        baselines={LOGISTIC: logistic.seconds, f"{TFIDF_SVM}, with its features": svm.seconds},
        **{**where, "split": "train"},
    )


def _none(setting: Setting, corpus: Corpus, logistic: Trained) -> Iterator[Figure]:
    none_train, none_val = setting.none_rows()
    examples = [*corpus.train, *none_train]
    router = train(corpus, setting.encoder, setting.adapt(CONFIG), examples=examples).router
    both = [*corpus.val, *none_val]
    has_tool = np.array([bool(example.labels[0]) for example in both])
    surest = logistic.model.predict_proba(vectors_of(setting.encoder, both)).max(axis=1)
    aware = train_logistic(setting.encoder, examples).model
    none_column = list(aware.classes_).index("")
    probabilities = aware.predict_proba(vectors_of(setting.encoder, both))
    scores = 1.0 - router.probabilities([example.text for example in both])[:, -1].numpy()
    where: dict[str, Any] = {"data": corpus.name, "note": f"{len(none_train)} none rows among the training queries"}
    yield Figure(
        f"AUROC of {MINUS_NONE}",
        auroc(scores, has_tool),
        split="none_val against val",
        unit="area",
        n=len(both),
        target=AUROC_TARGET,
        baselines={
            f"largest probability of {LOGISTIC}, no none rows": auroc(surest, has_tool),
            f"{MINUS_NONE} of {LOGISTIC}, with the none rows": auroc(1.0 - probabilities[:, none_column], has_tool),
        },
        **where,
    )
    for what, rows, split in (("accuracy", corpus.val, "val"), ("none recognised", none_val, "none_val")):
        predicted = aware.predict(vectors_of(setting.encoder, rows))
        beside = {f"{LOGISTIC}, with the none rows": count_hits(predicted, rows) / len(rows)}
        yield Figure.share(what, count_right(router, rows), len(rows), split=split, baselines=beside, **where)


BENCHMARK = Benchmark(
    "frozen",
    run,
    target=f"clinc150 {TARGETS['clinc150']:.1%}, toole {TARGETS['toole']:.1%}, AUROC of none {AUROC_TARGET}, "
    f"{SECONDS_TARGET:.0f} s on clinc150's cached vectors and two cores",
    needs={"clinc150": (*LABELLED["clinc150"], *NONE_ROWS), "toole": LABELLED["toole"]},
)
