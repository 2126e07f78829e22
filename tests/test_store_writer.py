"""The queue and its thread: batches in order, tries that go on, losses that are counted, an end that is bounded."""

from __future__ import annotations

import threading
import time

import pytest

from dspy_router.data.store.writer import BATCH, BatchWriter


class Sink:
    """Takes batches; refuses as many as it is told, and may be held."""

    def __init__(self, refuse: int = 0, error: type[Exception] = OSError) -> None:
        self.batches: list[list[int]] = []
        self.refuse, self.error = refuse, error
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def write(self, batch):
        self.entered.set()
        assert self.gate.wait(10)
        if self.refuse:
            self.refuse -= 1
            raise self.error("not now")
        self.batches.append(list(batch))

    @property
    def items(self):
        return [item for batch in self.batches for item in batch]


def writer(sink: Sink, **options) -> BatchWriter[int]:
    settings = {"capacity": 10_000, "max_wait": 0.0, "name": "sink", "retry_on": (OSError,), **options}
    return BatchWriter(sink.write, **settings)


def test_items_come_in_order_in_batches_of_a_bounded_size():
    sink = Sink()
    queue = writer(sink)
    for number in range(2 * BATCH + 50):
        assert queue.put(number)
    assert queue.flush(10)
    assert sink.items == list(range(2 * BATCH + 50))
    assert max(map(len, sink.batches)) <= BATCH
    assert len(sink.batches) < 100  # not one by one
    assert queue.close(1)


def test_a_batch_that_fails_is_tried_until_it_is_written_and_none_overtakes_it():
    sink = Sink(refuse=3)
    queue = writer(sink)
    queue.put(1)
    assert sink.entered.wait(10)
    queue.put(2)
    assert queue.flush(10)
    assert (sink.items, queue.failures, queue.dropped) == ([1, 2], 3, 0)
    assert isinstance(queue.error, OSError)


def test_a_batch_that_can_never_be_written_is_dropped_and_counted(caplog):
    sink = Sink(refuse=1, error=ValueError)
    queue = writer(sink)
    queue.put(1)
    assert not queue.flush(10)
    queue.put(2)
    assert queue.flush(10)
    assert (sink.items, queue.dropped, queue.failures) == ([2], 1, 1)


def test_a_full_queue_waits_once_and_then_no_more_until_something_moves():
    sink = Sink()
    sink.gate.clear()
    queue = writer(sink, capacity=1, max_wait=0.2)
    assert queue.put(1)
    assert sink.entered.wait(10)
    assert queue.put(2)
    assert not queue.put(3)
    started = time.monotonic()
    for number in range(1000):
        assert not queue.put(number)
    assert time.monotonic() - started < 100  # a thousand waits would take 200 s
    assert queue.dropped == 1001
    sink.gate.set()
    assert queue.flush(10)
    assert queue.put(4)
    assert queue.flush(10)
    assert sink.items == [1, 2, 4]


def test_who_waits_for_a_place_gets_it_as_soon_as_there_is_one():
    sink = Sink()
    sink.gate.clear()
    queue = writer(sink, capacity=1, max_wait=10)
    queue.put(1)
    assert sink.entered.wait(10)
    queue.put(2)
    threading.Timer(0.1, sink.gate.set).start()
    assert queue.put(3)
    assert queue.flush(10)
    assert (sink.items, queue.dropped) == ([1, 2, 3], 0)


def test_the_end_is_bounded_and_what_is_left_is_counted():
    sink = Sink(refuse=10**9)
    queue = writer(sink)
    queue.put(1)
    assert sink.entered.wait(10)
    for number in (2, 3):
        queue.put(number)
    assert not queue.close(0.2)
    assert queue.dropped == 3
    assert not queue.put(4)
    assert (queue.dropped, sink.items) == (4, [])


def test_what_is_done_between_batches_may_fail():
    sink, calls = Sink(), []

    def tidy():
        calls.append(1)
        raise OSError("no broom")

    queue = writer(sink, idle=tidy)
    queue.put(1)
    assert queue.flush(10)
    queue.put(2)
    assert queue.flush(10)
    assert queue.close(5)
    assert (sink.items, queue.dropped) == ([1, 2], 0)
    assert calls


@pytest.mark.parametrize("waiting", [0, 5])
def test_a_flush_of_what_is_written_returns_at_once(waiting):
    sink = Sink()
    queue = writer(sink)
    for number in range(waiting):
        queue.put(number)
    assert queue.flush(10)
    assert queue.flush(0)
