"""The micro-batcher: decisions as of single calls, errors for their own caller alone, an end that loses nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dspy_router.records import Decision
from dspy_router.runtime.batcher import MicroBatcher


class Echo:
    """Decides for the text itself, and refuses a batch with a text that starts with "bad"; it remembers its batches."""

    def __init__(self):
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def decide_batch(self, texts, *, allowed=None):
        self.batches.append(list(texts))
        self.entered.release()
        self.gate.wait()
        for text in texts:
            if text.startswith("bad"):
                raise ValueError(f"{text} is bad")
        return [Decision(text, dict.fromkeys(sorted(allowed or ()), 0.0), 0.0) for text in texts]


def held(router):
    """Wait until the router is busy with a batch that stays open."""
    router.gate.clear()
    return router


def until_waiting(batcher, count):
    while batcher.waiting < count:
        time.sleep(0.001)


def outcome(batcher, text, allowed=None):
    try:
        return batcher.decide(text, allowed=allowed).tool
    except ValueError as error:
        return str(error)


def test_threads_get_each_their_own_decision():
    texts = [f"text {number}" for number in range(640)]
    router = Echo()
    with MicroBatcher(router, max_wait=0.001, max_size=16) as batcher, ThreadPoolExecutor(64) as pool:
        assert list(pool.map(lambda text: batcher.decide(text).tool, texts)) == texts
        assert batcher.decisions == len(texts)
    assert max(map(len, router.batches)) <= 16


def test_what_waits_goes_together():
    router = held(Echo())
    with MicroBatcher(router, max_wait=0, max_size=4) as batcher, ThreadPoolExecutor(8) as pool:
        first = pool.submit(batcher.decide, "first")
        router.entered.acquire()
        rest = [pool.submit(batcher.decide, f"later {number}") for number in range(6)]
        until_waiting(batcher, 6)
        router.gate.set()
        assert first.result().tool == "first"
        assert [one.result().tool for one in rest] == [f"later {number}" for number in range(6)]
    assert [len(batch) for batch in router.batches] == [1, 4, 2]
    assert (batcher.batches, batcher.decisions) == (3, 7)


def test_an_error_reaches_the_caller_of_its_text_and_nobody_else():
    router = held(Echo())
    texts = ["a", "bad one", "b", "c", "bad two", "d"]
    with MicroBatcher(router, max_wait=0) as batcher, ThreadPoolExecutor(8) as pool:
        first = pool.submit(batcher.decide, "first")
        router.entered.acquire()
        rest = [pool.submit(outcome, batcher, text) for text in texts]
        until_waiting(batcher, len(texts))
        router.gate.set()
        first.result()
        assert [one.result() for one in rest] == ["a", "bad one is bad", "b", "c", "bad two is bad", "d"]
        assert outcome(batcher, "still there") == "still there"


def test_other_allowed_tools_go_in_another_batch():
    router = held(Echo())
    with MicroBatcher(router, max_wait=0) as batcher, ThreadPoolExecutor(8) as pool:
        pool.submit(batcher.decide, "first")
        router.entered.acquire()
        asked = [("a", ["x"]), ("b", None), ("c", ("x",)), ("d", {"x", "y"})]
        rest = [pool.submit(batcher.decide, text, allowed=allowed) for text, allowed in asked]
        until_waiting(batcher, len(asked))
        router.gate.set()
        assert [sorted(one.result().probabilities) for one in rest] == [["x"], [], ["x"], ["x", "y"]]
    assert sorted(sorted(batch) for batch in router.batches[1:]) == [["a", "c"], ["b"], ["d"]]


def test_tasks_get_each_their_own_decision_and_their_own_error():
    async def main():
        with MicroBatcher(Echo(), max_size=8, max_waiting=8) as batcher:
            texts = [f"bad {n}" if n % 10 == 0 else f"text {n}" for n in range(100)]
            found = await asyncio.gather(*(batcher.adecide(text) for text in texts), return_exceptions=True)
        assert [getattr(one, "tool", str(one)) for one in found] == [
            f"{text} is bad" if text.startswith("bad") else text for text in texts
        ]

    asyncio.run(main())


def test_a_task_that_is_cancelled_in_the_queue_is_not_decided():
    router = held(Echo())

    async def main():
        with MicroBatcher(router, max_wait=0) as batcher:
            first = asyncio.create_task(batcher.adecide("first"))
            await asyncio.to_thread(router.entered.acquire)
            second, third = (asyncio.create_task(batcher.adecide(text)) for text in ("second", "third"))
            await asyncio.sleep(0)
            second.cancel()
            await asyncio.sleep(0)
            router.gate.set()
            assert (await first).tool == "first"
            assert (await third).tool == "third"
            with pytest.raises(asyncio.CancelledError):
                await second

    asyncio.run(main())
    assert router.batches == [["first"], ["third"]]


def test_no_more_than_so_many_wait():
    router = held(Echo())
    with MicroBatcher(router, max_wait=0, max_size=2, max_waiting=3) as batcher, ThreadPoolExecutor(32) as pool:
        rest = [pool.submit(batcher.decide, f"text {number}") for number in range(20)]
        router.entered.acquire()
        until_waiting(batcher, 3)
        assert batcher.waiting == 3
        router.gate.set()
        assert {one.result().tool for one in rest} == {f"text {number}" for number in range(20)}


def test_closing_decides_what_waits_and_refuses_what_comes():
    router = held(Echo())
    batcher = MicroBatcher(router, max_wait=60)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(batcher.decide, text) for text in ("a", "b")]
        until_waiting(batcher, 2)
        router.gate.set()
        batcher.close()
        assert [one.result().tool for one in waiting] == ["a", "b"]
    with pytest.raises(RuntimeError, match="closed and takes no more"):
        batcher.decide("c")
    batcher.close()


def test_a_router_that_miscounts_hangs_nobody():
    class Forgetful:
        def decide_batch(self, texts, *, allowed=None):
            return []

    with MicroBatcher(Forgetful()) as batcher, pytest.raises(RuntimeError, match="0 decisions of 1 texts"):
        batcher.decide("a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_wait": -1}, "max_wait must be a number of seconds"),
        ({"max_wait": float("nan")}, "max_wait"),
        ({"max_size": 0}, "max_size must be a whole number"),
        ({"max_waiting": 1.5}, "max_waiting must be a whole number"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MicroBatcher(Echo(), **settings)


def test_what_cannot_decide_is_refused():
    with pytest.raises(TypeError, match="needs a router with decide_batch; got str"):
        MicroBatcher("router")  # pyright: ignore[reportArgumentType]
