"""The benchmark of exporting: parts, starts and changed decisions of a tiny router, with torch nowhere in the start."""

from __future__ import annotations

import torch
from exporting import TEXTS, trained
from routers import CARDS, IDENTITY

from benchmarks.exported import _export, _kept, _parts, _starts
from benchmarks.setting import Corpus
from dspy_router import Episode


def test_figures_of_a_tiny_export(tmp_path):
    torch.set_num_threads(1)
    rows = [Episode.from_example(row) for row in IDENTITY]
    router, corpus = trained(), Corpus("tiny", list(CARDS), rows, rows)
    exports = {"fp32": _export(router, tmp_path / "out", None)}
    same, lost, *_ = _kept(router, exports, corpus)
    assert (same.value, lost.value) == (1.0, 0.0)
    parts = {figure.what: figure.value for figure in _parts(exports["fp32"].router, corpus, TEXTS, "own")}
    assert "tokeniser, p50" not in parts  # hashed words need none
    assert parts["all above the encoder, p50"] > parts["words and policy graph, p50"]
    start, memory = _starts(exports, corpus, TEXTS[0])
    assert start.baselines["whole process, interpreter included"] > start.value > 0
    assert 10 < memory.value < 1000
