"""Batches that become smaller where memory runs out."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from routers import CARDS, QUERIES, CountingEncoder

from dspy_router import Router
from dspy_router.runtime.halving import in_batches, ran_out_of_memory

ERRORS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried …"),
    RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer"),
]


class Small:
    """Work that has room for so many rows at a time."""

    def __init__(self, room, error=None):
        self.room, self.error, self.sizes, self.done = room, error or MemoryError(), [], []

    def __call__(self, rows):
        self.sizes.append(len(rows))
        if len(rows) > self.room:
            raise self.error
        self.done += rows


@given(st.integers(0, 50), st.integers(1, 20), st.integers(1, 20))
def test_every_row_is_done_once_in_its_order(count, size, room):
    work, rows = Small(room), list(range(count))[::-1]
    assert sum(in_batches(work, rows, size=size, texts=["text"] * count)) == count
    assert work.done == rows
    assert all(done <= size for done in work.sizes)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit_is_halved_and_so_are_those_after_it(error, caplog):
    work = Small(3, error)
    with caplog.at_level(logging.WARNING):
        assert list(in_batches(work, range(16), size=8, texts=["text"] * 16)) == [2] * 8
    assert work.sizes == [8, 4, *[2] * 8]
    assert "batch of 8 texts" in caplog.text
    assert "going on with 4 at a time" in caplog.text


def test_a_text_for_which_there_is_no_room_is_named():
    with pytest.raises(MemoryError, match=r"a single text of 900 characters: 'long long"):
        list(in_batches(Small(0), [1], size=8, texts=["short", "long " * 180]))


def test_other_errors_are_not_taken_for_it():
    with pytest.raises(RuntimeError, match="shape"):
        list(in_batches(Small(0, RuntimeError("wrong shape")), range(4), size=2, texts=["text"] * 4))
    assert not ran_out_of_memory(ValueError("a memory of elephants"))


def test_a_router_decides_the_same_with_little_memory():
    class Cramped(CountingEncoder):
        def __call__(self, texts):
            if len(texts) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().__call__(texts)

    assert Router.from_tools(CARDS, encoder=Cramped()).decide_batch(QUERIES) == Router.from_tools(
        CARDS, encoder=CountingEncoder()
    ).decide_batch(QUERIES)
