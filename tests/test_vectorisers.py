"""Vectorisers: batches by length give each text its own vector, and a graph that cannot be read is refused."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from exporting import exported, trained
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.runtime import sessions
from dspy_router.runtime.vectorisers import HashVectoriser, OnnxVectoriser, read_vectoriser


@pytest.fixture(scope="module")
def vectoriser(tmp_path_factory) -> OnnxVectoriser:
    one = exported(trained("gru", dim=32), tmp_path_factory.mktemp("graph") / "out").vectoriser
    assert isinstance(one, OnnxVectoriser)
    return one


TEXTS = st.lists(st.text(max_size=40), min_size=1, max_size=12)


@given(TEXTS)
def test_a_text_has_one_vector_in_any_batch(vectoriser, texts):
    vectors = vectoriser(texts)
    assert vectors.shape == (len(texts), 32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors, np.concatenate([vectoriser([text]) for text in texts]), atol=1e-6)


def test_a_text_without_a_token_has_one(vectoriser):
    assert vectoriser.tokenize(["   ", "hour"])[0] == [1]


def test_no_text_is_longer_than_the_window(vectoriser):
    (row,) = vectoriser.tokenize(["hour " * 500])
    assert len(row) == 64


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="knows no vectoriser 'quantum'"):
        read_vectoriser({"kind": "quantum"}, {})


def test_hashing_is_chosen_by_its_kind():
    one = read_vectoriser({"kind": "hash", "dim": 16}, {})
    assert isinstance(one, HashVectoriser)
    assert one(["a text"]).shape == (1, 16)


def test_what_is_no_graph_is_refused():
    with pytest.raises(ValueError, match=r"ONNX Runtime .* cannot read the graph"):
        sessions.open_session(b"no graph")


@pytest.mark.parametrize(("flags", "known"), [("flags : sse avx2", False), ("Features : fp asimddp", True), ("", None)])
def test_a_processor_without_int8_says_so_once(flags, known, tmp_path, monkeypatch, caplog):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    monkeypatch.setattr(sessions, "Path", lambda _: tmp_path / "cpuinfo")
    for cached in (sessions.has_int8_instructions, sessions.warn_without_int8):
        cached.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert sessions.has_int8_instructions() is known
        sessions.warn_without_int8()
        sessions.warn_without_int8()
    assert caplog.text.count("has no int8 instructions") == (known is False)
    for cached in (sessions.has_int8_instructions, sessions.warn_without_int8):
        cached.cache_clear()
