"""Many threads, one router: same answers, parts of one moment, and no lock while an encoder works."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routers import CARD_POOL, CARDS, IDENTITY, QUERIES, CountingEncoder, hash_router, quick, small

from dspy_router import Router, ToolCard, fit
from dspy_router.routing.exchange import Exchangeable
from dspy_router.runtime.batcher import MicroBatcher
from dspy_router.runtime.cache import DecisionCache

TEXTS = [row["query"] for row in IDENTITY] + QUERIES
POOL = hash_router(CARD_POOL)


def shape(decision):
    """A decision, its numbers to six places: a batch sums in another order than a single text."""
    rounded = {name: round(p, 6) for name, p in decision.probabilities.items()}
    return decision.tool, rounded, round(decision.none_probability, 6), decision.accepted


@given(st.lists(st.sampled_from(TEXTS), max_size=12), st.sets(st.sampled_from(POOL.tools)) | st.none())
def test_a_batch_in_any_order_decides_as_one_by_one(texts, allowed):
    together = [shape(one) for one in POOL.decide_batch(texts, allowed=allowed)]
    assert together == [shape(POOL.decide(text, allowed=allowed)) for text in texts]
    assert [shape(one) for one in POOL.decide_batch(texts[::-1], allowed=allowed)] == together[::-1]


@pytest.mark.parametrize("kind", ["hash", "gru", "transformer"])
def test_64_threads_get_the_same_answers(kind):
    router = small(kind)
    alone = {text: shape(router.decide(text)) for text in TEXTS}
    with ThreadPoolExecutor(64) as pool:
        found = list(pool.map(lambda text: (text, shape(router.decide(text))), TEXTS * 16))
    assert all(alone[text] == one for text, one in found)


def test_a_batcher_decides_as_the_router_in_threads_and_in_tasks():
    alone = {text: shape(POOL.decide(text)) for text in TEXTS}

    async def main():
        return await asyncio.gather(*(batcher.adecide(text) for text in TEXTS))

    with MicroBatcher(POOL) as batcher, ThreadPoolExecutor(64) as pool:
        assert [shape(one) for one in pool.map(batcher.decide, TEXTS)] == [alone[text] for text in TEXTS]
        assert [shape(one) for one in asyncio.run(main())] == [alone[text] for text in TEXTS]
        with pytest.raises(ValueError, match="must not be empty"):
            batcher.decide(" ")


class Gated(CountingEncoder):
    """Stops at texts with a certain word, until the gate is opened."""

    def __init__(self):
        super().__init__()
        self.gate, self.inside = threading.Event(), threading.Event()

    def __call__(self, texts):
        if any("slow" in text for text in texts):
            self.inside.set()
            assert self.gate.wait(20)
        return super().__call__(texts)


def test_others_decide_while_new_cards_are_encoded():
    encoder = Gated()
    router = Router.from_tools(CARDS, encoder=encoder)
    adding = threading.Thread(target=router.add_tools, args=([ToolCard("crawl", "A slow way to go.")],))
    adding.start()
    assert encoder.inside.wait(20)
    assert router.decide("sum of two numbers").tool == "add_numbers"
    router.remove_tools(["clock"])  # nor does another change wait for it
    encoder.gate.set()
    adding.join()
    assert router.tools == ("add_numbers", "crawl")


def test_two_threads_cannot_add_the_same_tool():
    encoder = Gated()
    encoder.gate.set()
    router = Router.from_tools(CARDS, encoder=encoder)
    with ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(router.add_tools, [ToolCard("crawl", "A slow way to go.")]) for _ in range(8)]
    assert sorted(type(one.exception()).__name__ for one in tries) == ["NoneType"] + 7 * ["ValueError"]
    assert router.tools.count("crawl") == 1


def test_a_router_that_is_trained_meanwhile_decides_by_the_old_parts_or_the_new():
    router = small("gru")
    router.cache = DecisionCache()
    before = shape(router.decide("seven plus twelve"))
    seen, done = [], threading.Event()

    def ask():
        while not done.is_set():
            seen.append(shape(router.decide("seven plus twelve")))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    fit(router, IDENTITY, config=quick())
    done.set()
    for thread in threads:
        thread.join()
    after = shape(router.uncalibrated().decide("seven plus twelve"))
    assert before != after
    assert all(one in (before, after) for one in seen)


class Parts(Exchangeable):
    """Two parts that belong together."""

    def __init__(self):
        self._lock = threading.Lock()
        self.first = self.second = 0

    def exchange(self):
        with self._exchanging():
            self.first += 1
            self.second += 1


def test_work_that_was_disturbed_is_done_again():
    parts, tries = Parts(), []

    def work():
        tries.append(parts.first)
        first = parts.first
        if len(tries) == 1:
            parts.exchange()
            raise KeyError("parts of two moments may not go together")
        if len(tries) == 2:
            parts.exchange()
        return first, parts.second

    assert parts._undisturbed(work) == (2, 2)
    assert tries == [0, 1, 2]


def test_an_error_of_the_work_itself_is_raised():
    with pytest.raises(KeyError, match="its own"):
        Parts()._undisturbed(lambda: {}["its own"])


def test_nobody_sees_half_an_exchange():
    parts, torn, done = Parts(), [], threading.Event()

    def look():
        while not done.is_set():
            first, second = parts._undisturbed(lambda: (parts.first, parts.second))
            if first != second:
                torn.append((first, second))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(500):
        parts.exchange()
    done.set()
    for thread in threads:
        thread.join()
    assert not torn
