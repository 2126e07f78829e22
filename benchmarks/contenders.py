"""Who decides in the speed benchmark, ours and peers: from training to the folder that a fresh process loads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sklearn.pipeline import make_pipeline

from benchmarks.baselines import TfidfSvm, train_logistic, vectors_of
from benchmarks.children import EXPORTED, ROUTER, Saved
from benchmarks.peers import (
    Bm25Votes,
    DspyKnn,
    Encode,
    EncodeAndClassify,
    Known,
    Peer,
    SemanticRouter,
    WordsAndClassify,
    as_dspy_reads,
    sentence_encode,
)
from benchmarks.setting import Corpus, Setting, label_of
from benchmarks.timing import CORES, one_thread
from benchmarks.training import train
from benchmarks.vectors import CachedEncoder
from dspy_router.learning.distillation import DistillConfig, distill, word_pieces_of
from dspy_router.learning.trainer import TrainConfig
from dspy_router.routing.encoders import HashEncoder, SentenceEncoder
from dspy_router.routing.pretrained import find_model
from dspy_router.routing.router import Router
from dspy_router.runtime.exported import ExportedRouter

CONFIG = TrainConfig()
DISTILLING = DistillConfig()

TORCH, FP32, INT8 = "MiniLM, torch", "MiniLM, ONNX fp32", "MiniLM, ONNX int8"
STUDENT, HASH = "student", "hashed words"
OURS = (TORCH, FP32, INT8, STUDENT, HASH)
LOGISTIC, KNN, SEMANTIC = "sentence-transformers encode + logistic regression", "dspy.KNN", "semantic-router"
SVM, BM25 = "TF-IDF + linear SVM", "bm25s"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contender:
    """Something that decides, ready to be timed.

    Attributes:
        name: What to call it.
        ours: Whether it is this package's.
        decide: Decides one text.
        right: How many of these texts it gets right, decided all at once.
        saved: What a fresh process loads.
        one_thread: The same `decide` with torch kept to one thread, where it would take more; on a busy machine a
            second thread may cost time. Ours keep to one themselves.
    """

    name: str
    ours: bool
    decide: Callable[[str], Any]
    right: Callable[[Sequence[str], Sequence[str]], int]
    saved: Saved
    one_thread: Callable[[str], Any] | None = field(default=None)


def ours(setting: Setting, corpus: Corpus, folder: Path) -> Iterator[Contender]:
    """One router over frozen MiniLM vectors in torch, fp32 and int8; its student; and one over hashed words."""
    trained = train(corpus, setting.encoder, setting.adapt(CONFIG, quick_epochs=1)).router
    parts: dict[str, Any] = {"policy": trained.policy, "vocabulary": trained.vocabulary, "views": trained.space.views}
    whole = Router(trained.cards, setting.encoder.encoder, **parts, memory=trained.memory, seen=trained.seen)
    whole.save(folder / "torch")
    yield Contender(TORCH, True, whole.decide, _right(whole), Saved(ROUTER, folder / "torch"))
    yield _exported(FP32, whole, folder / "fp32", None)
    yield _exported(INT8, whole, folder / "int8", "int8")
    config = replace(DISTILLING, seed=setting.seed, progress=DISTILLING.progress and not setting.quick)
    texts, tokenizer = [one.text for one in corpus.train], word_pieces_of(setting.encoder.encoder)
    student, _ = distill(trained, texts, config=config, tokenizer=tokenizer)
    yield _exported(STUDENT, student, folder / "student", "int8")
    hashed = train(corpus, CachedEncoder(HashEncoder()), setting.adapt(CONFIG, quick_epochs=1)).router
    parts = {"policy": hashed.policy, "vocabulary": hashed.vocabulary, "views": hashed.space.views}
    whole = Router(hashed.cards, HashEncoder(), **parts, memory=hashed.memory, seen=hashed.seen)
    yield _exported(HASH, whole, folder / "hash", None)


def _exported(name: str, router: Router, folder: Path, quantize: Literal["int8"] | None) -> Contender:
    router.export(folder, quantize=quantize, above="warn")
    exported = ExportedRouter.load(folder, threads=CORES)
    return Contender(name, True, exported.decide, _right(exported), Saved(EXPORTED, folder))


def _right(router: Router | ExportedRouter) -> Callable[[Sequence[str], Sequence[str]], int]:
    def right(texts: Sequence[str], labels: Sequence[str]) -> int:
        decisions = router.decide_batch(texts)
        return sum(decision.tool == label for decision, label in zip(decisions, labels, strict=True))

    return right


def peers(setting: Setting, corpus: Corpus, folder: Path) -> Iterator[Contender]:
    """The five peers, trained on the same queries; the three that encode do it with the same weights.

    semantic-router is left out with a warning where it is not installed.
    """
    encoder = setting.encoder
    texts, labels = [one.text for one in corpus.train], [label_of(one) for one in corpus.train]
    sentence = encoder.encoder
    model = ""
    encode: Encode = lambda some: sentence(list(some)).numpy()  # noqa: E731
    if isinstance(sentence, SentenceEncoder):  # the library's own `encode`, which is slower than the router's use of it
        model, encode = find_model(sentence.name), sentence_encode(sentence.model)
    logistic = EncodeAndClassify(encode, train_logistic(encoder, corpus.train).model)
    yield _peer(LOGISTIC, logistic, folder, model, logistic.encoding_by(one_thread(encode)))
    svm = TfidfSvm().fit(corpus.train)
    yield _peer(SVM, WordsAndClassify(make_pipeline(svm.features, svm.svm)), folder)
    yield _peer(BM25, Bm25Votes.fit(texts, labels), folder)
    read = [as_dspy_reads(text) for text in texts]
    encoder.prepare(read, progress=not setting.quick)
    knn = DspyKnn(encode, Known(texts, labels, encoder(read).numpy()))
    yield _peer(KNN, knn, folder, model, knn.encoding_by(one_thread(encode)))
    try:
        semantic = SemanticRouter(encode, Known(texts, labels, vectors_of(encoder, corpus.train)))
    except ImportError as error:
        logger.warning("The row of semantic-router is missing: %s", error)
        return
    yield _peer(SEMANTIC, semantic, folder, model, semantic.encoding_by(one_thread(encode)))


def _peer(name: str, peer: Peer, folder: Path, model: str = "", bounded: Peer | None = None) -> Contender:
    place = folder / type(peer).__name__
    place.mkdir()
    peer.save(place)
    saved = Saved(type(peer).__name__, place, model)
    return Contender(name, False, peer.decide, peer.right, saved, None if bounded is None else bounded.decide)
