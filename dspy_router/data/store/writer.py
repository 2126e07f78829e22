"""A bounded queue and the one thread that empties it in batches, so that whoever fills it never waits for a disk."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.util import Finalize
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

BATCH = 500  # items a transaction: more hardly save time, and keep other processes waiting
_GATHER = 0.2  # seconds for a batch to fill: a commit costs much more than a row
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_IDLE = 60.0
_LAST_MOMENTS = 5.0  # seconds that the end of the process may wait for what is in the queue


class BatchWriter(Generic[Item]):
    """Takes items without ever failing, and hands them on in batches.

    A batch that cannot be written is tried again, with pauses that grow to five seconds, for as long as the process
    lives; meanwhile the queue fills, and what finds it full is dropped and counted.

    Attributes:
        dropped: How many items were lost.
        failures: How often writing a batch failed.
        error: What went wrong last; None as long as nothing did.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], object],
        *,
        capacity: int,
        max_wait: float,
        name: str,
        retry_on: tuple[type[Exception], ...],
        idle: Callable[[], None] | None = None,
    ) -> None:
        """Start nothing yet: the thread starts with the first item.

        Args:
            write: Writes a batch, wholly or not at all.
            capacity: How many items may wait.
            max_wait: Seconds that `put` may wait for a place in a full queue.
            name: What warnings call the destination.
            retry_on: The errors after which a batch is tried again; after any other it is dropped.
            idle: Called after batches and every minute without one; its errors are `write`'s, but not retried.
        """
        self._write, self._capacity, self._max_wait, self._name = write, capacity, max_wait, name
        self._retry_on, self._idle = retry_on, idle
        self._stopping = False
        self._begin()
        _ALIVE.add(self)

    def _begin(self) -> None:
        """Begin with an empty queue, in this process."""
        self._items: deque[Item] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._taken = self._settled = 0  # counts of items: accepted, and written or given up
        self._hurry = self._stuck = self._warned = False
        self.dropped = self.failures = 0
        self.error: BaseException | None = None

    def put(self, item: Item) -> bool:
        """Accept an item; False if it was dropped."""
        with self._changed:
            if len(self._items) >= self._capacity and not self._wait_for_place():
                self._drop(1, f"its queue of {self._capacity} is full")
                return False
            if self._stopping:
                self._drop(1, "it is closed")
                return False
            if self._thread is None and not self._start():
                return False
            self._items.append(item)
            self._taken += 1
            if len(self._items) == 1:
                self._changed.notify_all()
        return True

    def flush(self, timeout: float) -> bool:
        """Wait until what was accepted so far has been written; False if it was not, or something was lost."""
        deadline = time.monotonic() + timeout
        with self._changed:
            wanted, dropped = self._taken, self.dropped
            self._hurry = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: self._settled >= wanted, max(0.0, deadline - time.monotonic()))
            return done and self.dropped == dropped

    def close(self, timeout: float) -> bool:
        """Flush and end the thread; what cannot be written in time is dropped."""
        written = self.flush(timeout) if self._taken > self._settled else True
        with self._changed:
            self._stopping = True
            if left := len(self._items):
                self._items.clear()
                self._settled += left
                self._drop(left, f"they could not be written within {timeout:g} s")
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return written

    def drop(self, reason: str) -> None:
        """Count an item that never came as far as the queue."""
        with self._changed:
            self._drop(1, reason)

    def _wait_for_place(self) -> bool:
        # Who waited in vain has shown that nothing moves: the next ones need not, until something does.
        if self._stuck or self._max_wait <= 0:
            return False
        self._hurry = True
        self._changed.notify_all()
        found = self._changed.wait_for(lambda: len(self._items) < self._capacity, self._max_wait)
        self._stuck = not found
        return found

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, name="dspy-router-log", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the interpreter is shutting down, or there are too many threads
            self._drop(1, str(error))
            return False
        self._thread = thread
        # Not `atexit`, whose functions the children of multiprocessing end without.
        Finalize(None, self.close, args=(_LAST_MOMENTS,), exitpriority=10)
        return True

    def _drop(self, count: int, reason: str) -> None:
        self.dropped += count
        if not self._warned:
            self._warned = True
            logger.warning(
                "The decision log '%s' drops rows: %s. They are counted; this is said once.", self._name, reason
            )

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._items) or self._stopping, _IDLE)
                if self._items and not self._hurry:
                    self._changed.wait_for(self._is_time, _GATHER)
                batch = [self._items.popleft() for _ in range(min(BATCH, len(self._items)))]
                if not batch and self._stopping:
                    return
                self._changed.notify_all()
            if batch:
                self._settle(batch)
            if self._idle is not None:
                self._attempt(self._idle)

    def _is_time(self) -> bool:
        return len(self._items) >= BATCH or self._hurry or self._stopping

    def _settle(self, batch: Sequence[Item]) -> None:
        """Write a batch, trying as often as it takes."""
        pause = _FIRST_PAUSE
        while not (written := self._attempt(lambda: self._write(batch))) and isinstance(self.error, self._retry_on):
            with self._changed:
                if self._stopping:
                    break
                self._changed.wait_for(lambda: self._stopping, pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        with self._changed:
            if not written:
                self._drop(len(batch), f"{type(self.error).__name__} while writing")
            else:
                self._stuck = False
            self._settled += len(batch)
            if not self._items:
                self._hurry = False
            self._changed.notify_all()

    def _attempt(self, action: Callable[[], object]) -> bool:
        try:
            action()
        except Exception as error:
            self.failures += 1
            if type(error) is not type(self.error) or self.failures == 1:  # not at every one of many tries
                logger.warning("The decision log '%s' could not be written: %s", self._name, error)
            self.error = error
            return False
        return True


_ALIVE: weakref.WeakSet[BatchWriter[Any]] = weakref.WeakSet()


def _begin_in_child() -> None:
    """After a fork: what was queued is the parent's to write, and its thread does not live here."""
    for writer in list(_ALIVE):
        writer._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
