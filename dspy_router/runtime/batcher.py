"""A micro-batcher: decisions that are asked for at the same time, one by one, are made together."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Collection, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol, Self

from dspy_router.records import Decision
from dspy_router.runtime.cache import allowed_key


class Batching(Protocol):
    """What a micro-batcher needs of a router: `Router` and `ExportedRouter` have it, and so may anything else."""

    def decide_batch(self, texts: Sequence[str], *, allowed: Collection[str] | None = None) -> list[Decision]: ...


@dataclass(eq=False)
class _Request:
    """One text that somebody waits for."""

    text: str
    allowed: Collection[str] | None
    key: Hashable
    arrived: float = field(default_factory=time.monotonic)
    answer: Future[Decision] = field(default_factory=Future)


class MicroBatcher:
    """Collects the decisions that many threads or tasks ask for into batches for one router.

    The first text of a batch waits at most `max_wait` for others; while a batch is decided the next one gathers. It
    pays where an encoder is much quicker at a batch than at as many single texts, and many ask at the same time: see
    `python -m benchmarks serving`. With one caller at a time it only adds its wait.

    A text that cannot be decided fails for its own caller alone: the rest of its batch is decided without it. What is
    asked under different `allowed` tools goes to the router in different batches.

    The decisions are made in one thread of its own, so `dspy.context` and other context variables of the caller are
    not seen there; a router needs none. It starts with the first decision.

    Attributes:
        router: Who decides.
        max_wait: Seconds that a text may wait for others.
        max_size: Most texts of a batch.
        max_waiting: Most texts that may wait; who comes then waits for room.
        batches: How many batches were decided so far.
        decisions: How many texts they had.
    """

    def __init__(
        self, router: Batching, *, max_wait: float = 0.002, max_size: int = 32, max_waiting: int = 1024
    ) -> None:
        """Batch for this router.

        Raises:
            TypeError: If the router has no `decide_batch`.
            ValueError: If a number is out of its range.
        """
        if not callable(getattr(router, "decide_batch", None)):
            raise TypeError(f"A MicroBatcher needs a router with decide_batch; got {type(router).__name__}.")
        if isinstance(max_wait, bool) or not isinstance(max_wait, int | float) or not 0 <= max_wait < float("inf"):
            raise ValueError(f"max_wait must be a number of seconds, 0 or more; got {max_wait!r}.")
        for name, value in (("max_size", max_size), ("max_waiting", max_waiting)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}.")
        self.router, self.max_wait, self.max_size, self.max_waiting = router, max_wait, max_size, max_waiting
        self.batches = self.decisions = 0
        self._waiting: deque[_Request] = deque()
        lock = threading.Lock()
        self._room, self._work = threading.Condition(lock), threading.Condition(lock)
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many texts wait at this moment."""
        return len(self._waiting)

    def decide(self, text: str, *, allowed: Collection[str] | None = None) -> Decision:
        """Choose a tool for one text, for a thread that can wait; as `Router.decide`.

        Raises:
            RuntimeError: If the batcher is closed.
            Exception: Whatever the router raises for this text.
        """
        request = _Request(text, allowed, allowed_key(allowed))
        self._put(request, wait=True)
        return request.answer.result()

    async def adecide(self, text: str, *, allowed: Collection[str] | None = None) -> Decision:
        """The same without blocking the event loop. A cancelled one is not decided, if it is not being so already."""
        request = _Request(text, allowed, allowed_key(allowed))
        try:
            if not self._put(request, wait=False):
                await asyncio.to_thread(self._put, request, wait=True)
            return await asyncio.wrap_future(request.answer)
        except asyncio.CancelledError:
            request.answer.cancel()
            raise

    def close(self) -> None:
        """Decide what still waits, and take no more."""
        with self._work:
            self._closed = True
            self._work.notify_all()
            self._room.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, request: _Request, *, wait: bool) -> bool:
        """Take a request; False if there is no room for it and nobody is to wait."""
        with self._room:
            while len(self._waiting) >= self.max_waiting and not self._closed:
                if not wait:
                    return False
                self._room.wait()
            if self._closed:
                raise RuntimeError("The MicroBatcher is closed and takes no more decisions; make another one.")
            self._waiting.append(request)
            if self._thread is None:
                # A daemon: a program that forgets to close must still be able to end.
                self._thread = threading.Thread(target=self._serve, name="dspy-router-batcher", daemon=True)
                self._thread.start()
            if len(self._waiting) in (1, self.max_size):  # it sleeps until there is one, or until a batch is full
                self._work.notify()
        return True

    def _serve(self) -> None:
        while batch := self._take():
            groups: dict[Hashable, list[_Request]] = {}
            for request in batch:
                if request.answer.set_running_or_notify_cancel():
                    groups.setdefault(request.key, []).append(request)
            for group in groups.values():
                self._answer(group)

    def _take(self) -> list[_Request]:
        """The next batch; empty when closed and nothing is left."""
        with self._work:
            while not self._waiting and not self._closed:
                self._work.wait()
            while self._waiting and len(self._waiting) < self.max_size and not self._closed:
                left = self._waiting[0].arrived + self.max_wait - time.monotonic()
                if left <= 0:
                    break
                self._work.wait(left)
            batch = [self._waiting.popleft() for _ in range(min(self.max_size, len(self._waiting)))]
            self._room.notify(len(batch))
        return batch

    def _answer(self, requests: Sequence[_Request]) -> None:
        """Decide a batch; where that fails, its halves, until each failure has found its own text."""
        try:
            decisions = self._decide([one.text for one in requests], requests[0].allowed)
        except BaseException as error:  # even one that ends a thread: somebody waits for it
            if len(requests) == 1:
                requests[0].answer.set_exception(error)
                return
            middle = len(requests) // 2
            self._answer(requests[:middle])
            self._answer(requests[middle:])
            return
        self.batches += 1
        self.decisions += len(requests)
        for request, decision in zip(requests, decisions, strict=True):
            request.answer.set_result(decision)

    def _decide(self, texts: list[str], allowed: Collection[str] | None) -> list[Decision]:
        decisions = self.router.decide_batch(texts, allowed=allowed)
        if len(decisions) != len(texts):
            raise RuntimeError(f"The router made {len(decisions)} decisions of {len(texts)} texts.")
        return decisions
