"""The peers of the speed benchmark: each decides as its library does, alone, saved, and in a fresh process."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from test_benchmarks import corpus

from benchmarks import contenders
from benchmarks.children import Saved, start
from benchmarks.peers import (
    PEERS,
    Bm25Votes,
    DspyKnn,
    EncodeAndClassify,
    Known,
    SemanticRouter,
    WordsAndClassify,
    as_dspy_reads,
    vote,
)
from benchmarks.setting import Setting, label_of
from benchmarks.vectors import CachedEncoder
from dspy_router import HashEncoder
from dspy_router.demo.baselines import linear_svm, logistic_regression, tfidf

ROWS = corpus().train
TEXTS, LABELS = [one.text for one in ROWS], [label_of(one) for one in ROWS]
HASH = HashEncoder(64)
needs_semantic_router = pytest.mark.skipif(
    importlib.util.find_spec("semantic_router") is None,
    reason="semantic-router is not installed; pip install semantic-router",
)
ALL = [pytest.param(name, marks=[needs_semantic_router] if name == "SemanticRouter" else []) for name in PEERS]
NEIGHBOURS = [DspyKnn, pytest.param(SemanticRouter, marks=needs_semantic_router)]


def encode(texts):
    return HASH(list(texts)).numpy()


def build(name, encode=encode):
    return {
        "EncodeAndClassify": lambda: EncodeAndClassify(encode, logistic_regression().fit(HASH(TEXTS).numpy(), LABELS)),
        "WordsAndClassify": lambda: WordsAndClassify(make_pipeline(tfidf(), linear_svm()).fit(TEXTS, LABELS)),
        "Bm25Votes": lambda: Bm25Votes.fit(TEXTS, LABELS),
        "DspyKnn": lambda: DspyKnn(encode, Known(TEXTS, LABELS, HASH([as_dspy_reads(one) for one in TEXTS]).numpy())),
        "SemanticRouter": lambda: SemanticRouter(encode, Known(TEXTS, LABELS, HASH(TEXTS).numpy())),
    }[name]()


@pytest.mark.parametrize("name", ALL)
def test_a_trivial_task_is_solved_one_by_one_at_once_and_after_loading(name, tmp_path):
    peer = build(name)
    assert [peer.decide(text) for text in TEXTS] == LABELS
    assert peer.right(TEXTS, LABELS) == len(LABELS)
    assert peer.right(TEXTS[:3], ["", *LABELS[1:3]]) == 2
    peer.save(tmp_path)
    loaded = PEERS[name].load(tmp_path, encode)
    assert [loaded.decide(text) for text in TEXTS[:5]] == LABELS[:5]


@pytest.mark.parametrize("kind", NEIGHBOURS)
def test_known_queries_are_not_encoded_anew_and_each_decision_encodes_one_text(kind):
    seen = []

    def remember(texts):
        seen.extend(texts)
        return encode(texts)

    peer = build(kind.__name__, remember)
    assert seen == []
    peer.decide(TEXTS[0])
    peer.decide(TEXTS[0])  # no cache answers for it
    asked = as_dspy_reads(TEXTS[0]) if kind is DspyKnn else TEXTS[0]
    assert seen == [asked, asked]


@pytest.mark.parametrize("kind", [EncodeAndClassify, *NEIGHBOURS])
def test_another_way_to_the_vectors_leaves_the_first_alone(kind):
    peer = build(kind.__name__)
    other = peer.encoding_by(lambda texts: np.repeat(encode([TEXTS[-1]]), len(texts), axis=0))
    assert other.decide(TEXTS[0]) == LABELS[-1] != LABELS[0]
    assert peer.decide(TEXTS[0]) == LABELS[0]


def test_of_as_frequent_labels_the_nearest_one_wins():
    assert vote(["a", "b", "b", "a", "c"]) == "a"
    assert vote(["c", "b", "b"]) == "b"


def test_bm25_decides_texts_of_which_it_knows_no_word():
    peer = build("Bm25Votes")
    assert peer.decide("") in LABELS
    assert peer.decide("zzz") in LABELS


def test_a_missing_semantic_router_is_said_and_its_row_left_out(monkeypatch, tmp_path, caplog):
    monkeypatch.setitem(sys.modules, "semantic_router", None)
    with pytest.raises(ImportError, match="pip install semantic-router"):
        build("SemanticRouter")
    setting = Setting(tmp_path, tmp_path / "out", quick=True)
    vars(setting)["encoder"] = CachedEncoder(HASH)
    with caplog.at_level(logging.WARNING):
        names = [one.name for one in contenders.peers(setting, corpus(), tmp_path)]
    assert names == [contenders.LOGISTIC, contenders.SVM, contenders.BM25, contenders.KNN]
    assert "row of semantic-router is missing" in caplog.text
    assert "pip install semantic-router" in caplog.text


class TestChildren:
    def test_a_fresh_process_decides_and_tells_what_it_held(self, tmp_path):
        build("Bm25Votes").save(tmp_path)
        began = start(Saved("Bm25Votes", tmp_path), TEXTS[:3])
        assert began.seconds > 0
        assert 10 < began.megabytes < 1000

    def test_one_that_fails_is_not_counted_as_quick(self, tmp_path):
        with pytest.raises(RuntimeError, match="could not decide with ExportedRouter"):
            start(Saved("ExportedRouter", tmp_path), TEXTS[:3])

    def test_it_loads_nothing_that_another_candidate_needs(self):
        heavy = {"torch", "sklearn", "dspy", "onnxruntime", "sentence_transformers", "semantic_router", "bm25s"}
        code = f"import sys, benchmarks.children, benchmarks.peers; print(*{heavy!r} & set(sys.modules))"
        home = Path(contenders.__file__).parents[1]
        done = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == ""
