"""Plans and their two drivers: the same plan gives the same result, sync and async, with and without a time limit."""

from __future__ import annotations

import asyncio
import threading
import time

import dspy
import pytest

from dspy_router.program.calls import Call, arun, run


def double(x: int) -> int:
    return 2 * x


async def double_later(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


def fail(x: int) -> int:
    raise KeyError(x)


def stop() -> None:
    raise KeyboardInterrupt


def plan(tool, timeout=None):
    """Doubles twice, and survives a tool that raises."""
    total = 0
    for x in (1, 2):
        try:
            total += yield Call(dspy.Tool(tool), {"x": x}, timeout=timeout)
        except KeyError as error:
            total -= error.args[0]
    return total


@pytest.mark.parametrize("timeout", [None, 5.0])
@pytest.mark.parametrize(("tool", "total"), [(double, 6), (fail, -3)])
async def test_a_plan_ends_the_same_either_way(tool, total, timeout):
    assert run(plan(tool, timeout)) == total
    assert await arun(plan(tool, timeout)) == total


@pytest.mark.parametrize("timeout", [None, 5.0])
async def test_coroutines_are_awaited(timeout):
    assert await arun(plan(double_later, timeout)) == 6


def test_an_error_that_the_plan_does_not_expect_leaves_it():
    def careless():
        yield Call(dspy.Tool(fail), {"x": 1})

    with pytest.raises(KeyError):
        run(careless())


@pytest.mark.parametrize("timeout", [None, 5.0])
async def test_an_interrupt_is_nobodys_observation(timeout):
    def careful():
        try:
            yield Call(dspy.Tool(stop), {}, timeout=timeout)
        except Exception:
            return "survived"

    with pytest.raises(KeyboardInterrupt):
        run(careful())


async def test_a_hanging_tool_is_given_up():
    release = threading.Event()

    def hang() -> None:
        release.wait(30)

    async def hang_awaited() -> None:
        await asyncio.sleep(30)

    async def hang_stubbornly() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(30)

    started = time.perf_counter()
    with pytest.raises(TimeoutError, match=r"no result within 0\.05 s"):
        Call(dspy.Tool(hang), {}, timeout=0.05).run()
    for tool in (hang, hang_awaited, hang_stubbornly):
        with pytest.raises(TimeoutError, match=r"no result within 0\.05 s"):
            await Call(dspy.Tool(tool), {}, timeout=0.05).arun()
    assert time.perf_counter() - started < 10
    release.set()


def test_a_tools_own_timeout_error_is_told_as_it_is():
    def impatient() -> None:
        raise TimeoutError("the server is slow")

    with pytest.raises(TimeoutError, match="the server is slow"):
        Call(dspy.Tool(impatient), {}, timeout=5).run()


def test_a_tool_in_a_thread_sees_the_callers_settings():
    def read() -> object:
        return dspy.settings.adapter

    adapter = dspy.JSONAdapter()
    assert Call(dspy.Tool(read), {}, timeout=5, adapter=adapter).run() is adapter


async def test_a_limited_tool_does_not_block_the_loop():
    async def tick() -> int:
        count = 0
        while not slept.is_set():
            await asyncio.sleep(0.001)
            count += 1
        return count

    slept = asyncio.Event()
    ticking = asyncio.create_task(tick())
    await Call(dspy.Tool(lambda: time.sleep(0.1), name="sleep"), {}, timeout=5).arun()
    slept.set()
    assert await ticking > 5
