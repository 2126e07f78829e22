"""Small encoders that start from nothing but the training queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.baselines import TFIDF_SVM, TfidfSvm
from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, Setting
from benchmarks.training import count_right, train
from dspy_router.learning.trainer import TrainConfig
from dspy_router.routing.catalogue import build_encoder

CONFIGS: Mapping[str, TrainConfig] = {"gru": TrainConfig(epochs=12), "transformer": TrainConfig(epochs=12)}
TARGET = 0.88


def run(setting: Setting) -> Iterator[Figure]:
    """GRU and Transformer from scratch, no pretrained weights at all."""
    for corpus in setting.corpora("clinc150"):
        n = len(corpus.val)
        svm = TfidfSvm().fit(corpus.train)
        svm_accuracy = svm.hits(corpus.val) / n
        for name, config in CONFIGS.items():
            fitted = train(corpus, build_encoder(name, seed=setting.seed), setting.adapt(config, quick_epochs=2))
            yield Figure.share(
                f"accuracy, {name} from scratch",
                count_right(fitted.router, corpus.val),
                n,
                split="val",
                data=corpus.name,
                target=TARGET,
                baselines={TFIDF_SVM: svm_accuracy},
            )
            yield Figure(
                f"seconds of fit, {name}",
                fitted.seconds,
                split="train",
                data=corpus.name,
                unit="seconds",
                baselines={TFIDF_SVM: svm.seconds},
            )


BENCHMARK = Benchmark("scratch", run, target=f"clinc150 {TARGET:.0%} each", needs={"clinc150": LABELLED["clinc150"]})
