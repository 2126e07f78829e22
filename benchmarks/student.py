"""A student of the frozen encoder's router, alone and with its teacher behind it: what is lost, and what is gained."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from benchmarks.baselines import LOGISTIC, TFIDF_SVM, TfidfSvm, Trained, count_hits, train_logistic, vectors_of
from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, Corpus, Setting, label_of
from benchmarks.speed import PEER, PEER_ONE_THREAD, one_thread, time_in_turn
from benchmarks.timing import CORES
from benchmarks.training import count_right, train
from dspy_router.learning.distillation import DistillConfig, DistillReport, distill, word_pieces_of
from dspy_router.learning.trainer import TrainConfig
from dspy_router.routing.encoders import SentenceEncoder
from dspy_router.routing.router import Router
from dspy_router.runtime.exported import ExportedRouter

TEACHER = TrainConfig()
CONFIG = DistillConfig(held_out=0.0)  # the validation part compares it with its teacher
LOST = {"clinc150": 0.015, "toole": 0.025}  # of accuracy, at most
# Of what the student decides in front of its teacher: the operator's choice between milliseconds and points.
AGREEMENT = {"clinc150": 0.96, "toole": 0.98}
QUICK_AGREEMENT = 0.5  # a small slice has too few texts to certify more
QUICKER, THROUGHPUT = 100.0, 20_000.0
TEXTS, ROUNDS, BATCH, REPEATS, LEFT_OUT = 300, 3, 1024, 25, 10


class Pair(NamedTuple):
    """A teacher, its student, and what distilling did."""

    teacher: Router
    student: Router
    report: DistillReport


class Fronted(NamedTuple):
    """Students in front of their teacher, exported; each was given its bar by one half of the validation part.

    Attributes:
        routers: Two of them.
        scored: For each the rows of the other half.
        decides: Share of these that the student decided itself.
        hits: How many of all rows were decided rightly.
        bare: The same of the exported teacher alone.
    """

    routers: list[ExportedRouter]
    scored: list[list[int]]
    decides: float
    hits: int
    bare: int


def run(setting: Setting) -> Iterator[Figure]:
    """A static student of the frozen encoder's router: accuracy, agreement, milliseconds, throughput, bytes.

    The student sees the training queries without their labels, texts made of them, and the teacher's probabilities; the
    validation part is seen by neither. It is timed as it is served: exported, in the runtime without torch.

    With its teacher behind it, exported in int8, the student defers what it is unsure of. How sure it must be is found
    on one half of the validation part, without labels, and scored on the other, both ways round.
    """
    for corpus in setting.corpora("clinc150", "toole"):
        pair = teach(setting, corpus)
        logistic = train_logistic(setting.encoder, corpus.train)
        svm = TfidfSvm().fit(corpus.train).hits(corpus.val)
        yield from _accuracy(setting, corpus, pair, logistic, svm)
        yield from _cost(setting, corpus, pair)
        with tempfile.TemporaryDirectory() as folder:
            pair.student.export(f"{folder}/student", above="warn")
            alone, both = (
                ExportedRouter.load(f"{folder}/student", threads=CORES),
                front(setting, corpus, pair, Path(folder)),
            )
            yield from _both(corpus, pair, both, svm)
            yield from _speed(setting, corpus, alone, both, logistic)
    for corpus in setting.corpora("clinc150"):
        yield from _later_tools(setting, corpus)


def teach(setting: Setting, corpus: Corpus) -> Pair:
    """Train a teacher on the labelled training queries, and its student on the same queries without labels."""
    teacher = train(corpus, setting.encoder, setting.adapt(TEACHER)).router
    config = replace(CONFIG, seed=setting.seed, progress=CONFIG.progress and not setting.quick)
    texts, tokenizer = [one.text for one in corpus.train], word_pieces_of(setting.encoder.encoder)
    student, report = distill(teacher, texts, config=config, tokenizer=tokenizer)
    return Pair(teacher, student, report)


def front(setting: Setting, corpus: Corpus, pair: Pair, folder: Path) -> Fronted:
    """Export the teacher with its student in front, twice: bars from one half of the validation part each."""
    teacher = pair.teacher
    parts: dict[str, Any] = {"policy": teacher.policy, "vocabulary": teacher.vocabulary, "views": teacher.space.views}
    plain = setting.encoder.encoder  # one that caches has no counterpart where there is no torch
    whole = Router(teacher.cards, plain, **parts, memory=teacher.memory, seen=teacher.seen)
    order = np.random.default_rng(setting.seed).permutation(len(corpus.val)).tolist()
    halves = [order[::2], order[1::2]]
    agreement = QUICK_AGREEMENT if setting.quick else AGREEMENT[corpus.name]
    routers, hits, bare, deferred = [], 0, 0, 0
    for number, (given, scored) in enumerate((halves, halves[::-1])):
        place, fresh = folder / f"both{number}", [corpus.val[row].text for row in given]
        whole.export(place, above="warn", examples=fresh, student=pair.student, agreement=agreement)
        router, examples = ExportedRouter.load(place, threads=CORES), [corpus.val[row] for row in scored]
        hits += count_right(router, examples)
        deferred += router.deferred
        routers.append(router)
        behind = ExportedRouter.load(place)
        behind.student = None
        bare += count_right(behind, examples)
    return Fronted(routers, [halves[1], halves[0]], 1 - deferred / len(order), hits, bare)


def _both(corpus: Corpus, pair: Pair, both: Fronted, svm: int) -> Iterator[Figure]:
    """What the two decide together: at most as much lost as the student may lose alone."""
    n, right = len(corpus.val), count_right(pair.teacher, corpus.val)
    where: dict[str, Any] = {"split": "val, bar from its other half", "data": corpus.name}
    beside = {"teacher": right / n, "teacher, int8": both.bare / n}
    wanted, note = right / n - LOST[corpus.name], f"asked for {AGREEMENT[corpus.name]:.0%} agreement"
    what = "accuracy, student with its teacher behind it"
    yield Figure.share(what, both.hits, n, target=wanted, baselines=beside, note=note, **where)
    beside = {TFIDF_SVM: svm / n}
    yield Figure.share(f"{what}, above SVM", both.hits, n, target=svm / n, bound="above", baselines=beside, **where)
    yield Figure("share that the student decides itself", both.decides, n=n, **where)


def _accuracy(setting: Setting, corpus: Corpus, pair: Pair, logistic: Trained, svm: int) -> Iterator[Figure]:
    n, texts = len(corpus.val), [one.text for one in corpus.val]
    where: dict[str, Any] = {"split": "val", "data": corpus.name}
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


def _speed(
    setting: Setting, corpus: Corpus, student: ExportedRouter, both: Fronted, logistic: Trained
) -> Iterator[Figure]:
    every = [one.text for one in corpus.val]
    unseen = [corpus.val[row].text for row in both.scored[0]]  # by the bar
    texts = [unseen[int(i)] for i in np.linspace(0, len(unseen) - 1, min(len(unseen), TEXTS))]
    sentence = cast(SentenceEncoder, setting.encoder.encoder)

    def peer(text: str) -> Any:
        return logistic.model.predict(sentence.model.encode([text], show_progress_bar=False, normalize_embeddings=True))

    ours = {"student": student, "student with its teacher behind it": both.routers[0]}
    candidates = {name: one.decide for name, one in ours.items()} | {PEER: peer, PEER_ONE_THREAD: one_thread(peer)}
    rounds = [time_in_turn(candidates, texts) for _ in range(ROUNDS)]
    times = {name: [taken for one in rounds for taken in one[name]] for name in candidates}
    quicker = min(float(np.median(times[name])) for name in (PEER, PEER_ONE_THREAD))
    where: dict[str, Any] = {"split": f"val, {len(corpus.cards)} tools", "data": corpus.name}
    on_clinc = corpus.name == "clinc150"
    for name, one in ours.items():
        half, mean, most = np.median(times[name]).item(), np.mean(times[name]), np.percentile(times[name], 95)
        note, beside = f"mean {mean:.3f} ms, p95 {most:.3f} ms", {PEER: quicker}
        what = f"{name}, exported: p50 of decide"
        yield Figure(what, half, unit="milliseconds", n=len(texts), baselines=beside, note=note, **where)
        target = QUICKER if on_clinc else None
        yield Figure(
            f"{name}: p50 of the peer, divided by its own", quicker / half, unit="times", target=target, **where
        )
        per_second = _throughput(one, (every * (BATCH // len(every) + 1))[:BATCH])
        target, note = THROUGHPUT if on_clinc else None, f"{CORES} threads"
        what = f"{name}: decisions, batches of {BATCH}"
        yield Figure(what, per_second, unit="per second", target=target, note=note, **where)


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
