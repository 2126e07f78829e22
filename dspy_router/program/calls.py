"""What a plan asks of the outside, and the two ways to run a plan: right away, or awaiting each call.

A plan is a generator. It decides what is to be called, yields it as a `Call`, gets the outcome sent back or raised at
that very place, and returns its result. So the logic is written once, and only the calls differ between sync and async.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import dspy

Result = TypeVar("Result")
Plan = Generator["Call", Any, Result]


@dataclass(frozen=True)
class Call:
    """One call of a DSPy module or tool.

    Attributes:
        target: The module or tool.
        inputs: Its keyword arguments.
        timeout: Seconds to wait; None waits for as long as it takes.
        adapter: The DSPy adapter to call under; None leaves the configured one.
    """

    target: dspy.Module | dspy.Tool
    inputs: Mapping[str, Any]
    timeout: float | None = None
    adapter: dspy.Adapter | None = None

    def run(self) -> Any:
        """Make the call.

        Raises:
            TimeoutError: If there is a time limit, and it passed.
        """
        with self._context():
            if self.timeout is None:
                return self.target(**self.inputs)
            return self._within(_in_thread(lambda: self.target(**self.inputs)), self.timeout)

    async def arun(self) -> Any:
        """Make the call without blocking the event loop on what can be awaited.

        Raises:
            TimeoutError: If there is a time limit, and it passed.
        """
        with self._context():
            if self.timeout is None:
                return await self.target.acall(**self.inputs)
            if isinstance(self.target, dspy.Tool) and not _is_async(self.target.func):
                waiting: asyncio.Future[Any] = asyncio.wrap_future(_in_thread(lambda: self.target(**self.inputs)))
            else:
                waiting = asyncio.ensure_future(self.target.acall(**self.inputs))
            try:
                # Not `wait_for`, which would wait on for a tool that swallows its cancellation.
                done, _ = await asyncio.wait({waiting}, timeout=self.timeout)
                if not done:
                    raise self._too_late()
                return waiting.result()
            finally:
                waiting.cancel()

    def _within(self, future: Future[Any], timeout: float) -> Any:
        try:
            return future.result(timeout)
        except TimeoutError:
            if future.done():  # the target's own error, or it was done just now
                return future.result()
            raise self._too_late() from None

    def _too_late(self) -> TimeoutError:
        called = "tool" if isinstance(self.target, dspy.Tool) else "fallback"
        return TimeoutError(f"The {called} gave no result within {self.timeout:g} s.")

    def _context(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.adapter is None else dspy.context(adapter=self.adapter)


def run(plan: Plan[Result]) -> Result:
    """Run a plan to its end, one call after the other."""
    outcome, failure = None, None
    while True:
        try:
            call = plan.send(outcome) if failure is None else plan.throw(failure)
        except StopIteration as end:
            return end.value
        outcome, failure = None, None
        try:
            outcome = call.run()
        except Exception as error:
            failure = error


async def arun(plan: Plan[Result]) -> Result:
    """Run a plan to its end, awaiting each call."""
    outcome, failure = None, None
    while True:
        try:
            call = plan.send(outcome) if failure is None else plan.throw(failure)
        except StopIteration as end:
            return end.value
        outcome, failure = None, None
        try:
            outcome = await call.arun()
        except Exception as error:
            failure = error


def _in_thread(function: Callable[[], Any]) -> Future[Any]:
    """Start a function in a thread of its own that sees the caller's DSPy settings and outlives nobody."""
    future: Future[Any] = Future()
    context = contextvars.copy_context()

    def work() -> None:
        future.set_running_or_notify_cancel()
        try:
            result = context.run(function)
        except BaseException as error:  # KeyboardInterrupt too belongs to whoever waits
            future.set_exception(error)
        else:
            future.set_result(result)

    # A daemon, and no pool: a tool that never returns must neither block the next one nor the interpreter's exit.
    threading.Thread(target=work, name="dspy-router-tool", daemon=True).start()
    return future


def _is_async(function: Callable[..., Any]) -> bool:
    routine = function if inspect.isroutine(function) or not callable(function) else function.__call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(routine)
