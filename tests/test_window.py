"""The encoders' window: texts that were longer are counted, once each, and said aloud ever more rarely."""

from __future__ import annotations

import logging
import threading

import pytest
from routers import CARDS

from dspy_router import Router
from dspy_router.routing.catalogue import build_encoder
from dspy_router.runtime.window import Window


def test_it_warns_at_the_first_the_tenth_and_the_hundredth(caplog):
    window = Window(64)
    with caplog.at_level(logging.WARNING):
        for _ in range(120):
            window.note(1)
        window.note(0)
    assert window.truncated == 120
    assert [record.getMessage().split(" of ")[0] for record in caplog.records] == ["1", "10", "100"]
    assert "window of 64 tokens" in caplog.text


def test_threads_count_together():
    window = Window(64)
    threads = [threading.Thread(target=lambda: [window.note(1) for _ in range(500)]) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert window.truncated == 16 * 500


@pytest.mark.parametrize("kind", ["gru", "transformer", "static"])
def test_a_router_tells_how_many_texts_were_longer(kind):
    router = Router.from_tools(CARDS, encoder=build_encoder(kind, dim=32, max_length=24))
    before = router.truncated  # cards may be long, too
    router.decide("a b c")
    assert router.truncated == before
    router.decide_batch(["x " * 24, "x " * 25, "x " * 10_000])
    assert router.truncated == before + 2


def test_what_reads_texts_whole_counts_none():
    router = Router.from_tools(CARDS, encoder="hash")
    router.decide("x " * 10_000)
    assert router.truncated == 0
