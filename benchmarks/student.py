"""A student distilled from the frozen encoder's router: what it loses, and how much sooner it decides."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np

from benchmarks.baselines import LOGISTIC, TFIDF_SVM, TfidfSvm, Trained, count_hits, train_logistic, vectors_of
from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, Corpus, Setting, label_of
from benchmarks.speed import PEER, time_in_turn
from benchmarks.training import count_right, train
from dspy_router.learning.distillation import DistillConfig, DistillReport, distill, word_pieces_of
from dspy_router.learning.trainer import TrainConfig
from dspy_router.routing.encoders import SentenceEncoder
from dspy_router.routing.router import Router
from dspy_router.runtime.exported import ExportedRouter

TEACHER = TrainConfig()
CONFIG = DistillConfig(held_out=0.0)  # the validation part compares it with its teacher
LOST = {"clinc150": 0.015, "toole": 0.025}  # of accuracy, at most
QUICKER, THROUGHPUT = 100.0, 20_000.0
TEXTS, BATCH, REPEATS, LEFT_OUT = 300, 1024, 5, 10


class Pair(NamedTuple):
    """A teacher, its student, and what distilling did."""

    teacher: Router
    student: Router
    report: DistillReport


def run(setting: Setting) -> Iterator[Figure]:
    """A static student of the frozen encoder's router: accuracy, agreement, milliseconds, throughput, bytes.

    The student sees the training queries without their labels, texts made of them, and the teacher's probabilities; the
    validation part is seen by neither. It is timed as it is served: exported, in the runtime without torch.
    """
    for corpus in setting.corpora("clinc150", "toole"):
        pair = teach(setting, corpus)
        logistic = train_logistic(setting.encoder, corpus.train)
        yield from _accuracy(setting, corpus, pair, logistic)
        yield from _cost(setting, corpus, pair)
        with tempfile.TemporaryDirectory() as folder:
            pair.student.export(f"{folder}/student", quantize=None)
            yield from _speed(setting, corpus, ExportedRouter.load(f"{folder}/student"), logistic)
    for corpus in setting.corpora("clinc150"):
        yield from _later_tools(setting, corpus)


def teach(setting: Setting, corpus: Corpus) -> Pair:
    """Train a teacher on the labelled training queries, and its student on the same queries without labels."""
    teacher = train(corpus, setting.encoder, setting.adapt(TEACHER)).router
    config = replace(CONFIG, seed=setting.seed, progress=CONFIG.progress and not setting.quick)
    texts, tokenizer = [one.text for one in corpus.train], word_pieces_of(setting.encoder.encoder)
    student, report = distill(teacher, texts, config=config, tokenizer=tokenizer)
    return Pair(teacher, student, report)


def _accuracy(setting: Setting, corpus: Corpus, pair: Pair, logistic: Trained) -> Iterator[Figure]:
    n, texts = len(corpus.val), [one.text for one in corpus.val]
    where: dict[str, Any] = {"split": "val", "data": corpus.name}
    svm = TfidfSvm().fit(corpus.train).hits(corpus.val)
    right = count_right(pair.teacher, corpus.val)
    predicted = logistic.model.predict(vectors_of(setting.encoder, corpus.val))
    hits = count_right(pair.student, corpus.val)
    yield Figure.share("accuracy, teacher", right, n, **where)
    yield Figure.share(
        "accuracy, student",
        hits,
        n,
        target=right / n - LOST[corpus.name],
        baselines={"teacher": right / n, LOGISTIC: count_hits(predicted, corpus.val) / n},
        **where,
    )
    yield Figure.share(
        "accuracy, student, above SVM", hits, n, target=svm / n, bound="above", baselines={TFIDF_SVM: svm / n}, **where
    )
    same = pair.teacher.logits(texts).argmax(1) == pair.student.logits(texts).argmax(1)
    yield Figure.share("decisions that are the teacher's", int(same.sum()), n, **where)


def _cost(setting: Setting, corpus: Corpus, pair: Pair) -> Iterator[Figure]:
    where: dict[str, Any] = {"split": "train", "data": corpus.name}
    yield Figure(
        f"seconds of distilling, {pair.report.texts} texts",
        pair.report.seconds,
        unit="seconds",
        note=f"{pair.report.teacher_seconds:.1f} s of them to ask the teacher, vectors cached",
        **where,
    )
    sentence = cast(SentenceEncoder, setting.encoder.encoder)
    size = 4 * sum(parameter.numel() for parameter in sentence.parameters())
    yield Figure("bytes of the student's files", pair.report.bytes, unit="count", baselines={"MiniLM": size}, **where)


def _speed(setting: Setting, corpus: Corpus, student: ExportedRouter, logistic: Trained) -> Iterator[Figure]:
    every = [one.text for one in corpus.val]
    texts = [every[int(i)] for i in np.linspace(0, len(every) - 1, min(len(every), TEXTS))]
    sentence = cast(SentenceEncoder, setting.encoder.encoder)

    def peer(text: str) -> Any:
        return logistic.model.predict(sentence.model.encode([text], show_progress_bar=False, normalize_embeddings=True))

    times = time_in_turn({"student": student.decide, PEER: peer}, texts)
    median = {name: float(np.percentile(values, 50)) for name, values in times.items()}
    where: dict[str, Any] = {"split": f"val, {len(corpus.cards)} tools", "data": corpus.name}
    yield Figure(
        "student, exported: p50 of decide",
        median["student"],
        unit="milliseconds",
        n=len(texts),
        baselines={PEER: median[PEER]},
        note=f"p95 {np.percentile(times['student'], 95):.3f} ms",
        **where,
    )
    target = QUICKER if corpus.name == "clinc150" else None
    ratio = median[PEER] / median["student"]
    yield Figure("p50 of the peer, divided by the student's", ratio, unit="times", target=target, **where)
    per_second = _throughput(student, (every * (BATCH // len(every) + 1))[:BATCH])
    target = THROUGHPUT if corpus.name == "clinc150" else None
    yield Figure(f"decisions, batches of {BATCH}", per_second, unit="per second", target=target, **where)


def _throughput(student: ExportedRouter, batch: Sequence[str]) -> float:
    """Decisions a second, the median of some repetitions after an uncounted one."""
    student.decide_batch(batch)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        student.decide_batch(batch)
        seconds.append(time.perf_counter() - started)
    return len(batch) / float(np.median(seconds))


def _later_tools(setting: Setting, corpus: Corpus) -> Iterator[Figure]:
    """How well tools are reached that came after training, by their cards alone, among all."""
    drawn = np.random.default_rng(setting.seed).permutation(len(corpus.cards))[: min(LEFT_OUT, len(corpus.cards) // 2)]
    later = [corpus.cards[i] for i in drawn.tolist()]
    names = {card.name for card in later}
    known = Corpus(
        corpus.name,
        [card for card in corpus.cards if card.name not in names],
        [one for one in corpus.train if label_of(one) not in names],
        [one for one in corpus.val if label_of(one) in names],
    )
    pair = teach(setting, known)
    hits = []
    for router in (pair.teacher, pair.student):
        router.add_tools(later)
        hits.append(count_right(router, known.val))
    n = len(known.val)
    yield Figure.share(
        f"accuracy, student, on {len(later)} tools added afterwards",
        hits[1],
        n,
        split="val",
        data=corpus.name,
        baselines={"teacher": hits[0] / n, "chance": 1 / len(corpus.cards)},
    )


BENCHMARK = Benchmark(
    "student",
    run,
    target=f"at most {LOST['clinc150']:.1%} below the teacher on clinc150, {LOST['toole']:.1%} on toole, above TF-IDF "
    f"+ SVM on both; {QUICKER:.0f} times quicker than the peer; {THROUGHPUT:,.0f} decisions a second",
    needs={name: LABELLED[name] for name in ("clinc150", "toole")},
)
