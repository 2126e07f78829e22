"""Milliseconds of single calls, candidates in turn."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from dspy_router.routing.threads import bounded_threads

BLOCK = 30
CORES = os.cpu_count() or 1  # ours may use them all for a batch, as torch does for its own
WARM_UP = 5
Given = TypeVar("Given")
Got = TypeVar("Got")


def one_thread(call: Callable[[Given], Got]) -> Callable[[Given], Got]:
    """The same under the bound that `decide` sets itself: on a busy machine a second thread may cost time."""

    def bounded(given: Given) -> Got:
        with bounded_threads(1):
            return call(given)

    return bounded


def time_in_turn(candidates: Mapping[str, Callable[[str], Any]], texts: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of each call; every block of texts goes to one candidate after the other, first some uncounted."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for first in range(0, len(texts), BLOCK):
        block = texts[first : first + BLOCK]
        for name, call in candidates.items():
            for text in block[:WARM_UP]:
                call(text)
            for text in block:
                started = time.perf_counter()
                call(text)
                times[name].append(1000 * (time.perf_counter() - started))
    return times
