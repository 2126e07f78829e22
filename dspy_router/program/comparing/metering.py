"""Meters one run of a program: its calls of language models, tools and routers, in whichever threads they happen."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import dspy
from dspy.utils.callback import ACTIVE_CALL_ID, BaseCallback

from dspy_router.evaluation.runs import LMCall
from dspy_router.program.route import Route
from dspy_router.program.steps import describe_error
from dspy_router.records import Decision

# Dollars for a million tokens of prompts and of answers, by the name of the model as `dspy.LM` takes it.
Prices = Mapping[str, tuple[float, float]]
Party = Literal["lm", "tool", "router"]
# Where several are at work, whose time it is: a tool that asks a language model waits for it, a router for a tool.
_FIRST: tuple[Party, ...] = ("lm", "tool", "router")
_MILLION = 1_000_000


@dataclass(frozen=True)
class Span:
    """A stretch of time.

    Attributes:
        party: Who was at work.
        start: When it began, by `time.perf_counter`.
        end: When it ended.
    """

    party: Party
    start: float
    end: float


class Meter(BaseCallback):
    """Notes what happens within `watching`, and in no other thread or task at the same time.

    DSPy tells callbacks when a call begins and ends, but not what it cost; that it tells the history of every calling
    module, so the meter poses as one. Both happen in the same context, where the id of the call is known: so each
    report finds its call, however many threads ask the same model.

    Attributes:
        tools: Names of the tools that were called, in the order in which they began.
        decision: What a router decided last; None if none did.
    """

    def __init__(self, prices: Prices | None = None) -> None:
        """Start at zero; `prices` go before those of DSPy and LiteLLM."""
        super().__init__()
        self.tools: list[str] = []
        self.decision: Decision | None = None
        self.history = _Reports(self)
        self._prices = prices or {}
        self._calls: dict[str, LMCall] = {}  # by the id of the call, in the order in which they began
        self._open: dict[str, tuple[Party, float]] = {}
        self._spans: list[Span] = []
        self._began = self._ended = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def watching(self) -> Iterator[Meter]:
        """Note what happens within this, in the threads of DSPy's executors as well."""
        callers, callbacks = dspy.settings.caller_modules or [], dspy.settings.callbacks or []
        with dspy.context(caller_modules=[self, *callers], callbacks=[*callbacks, self]):
            self._began = time.perf_counter()
            try:
                yield self
            finally:
                self._ended = time.perf_counter()

    @property
    def calls(self) -> tuple[LMCall, ...]:
        """The calls of language models, in the order in which they began; one that has not come back took no time."""
        with self._lock:
            return tuple(self._calls.values())

    @property
    def seconds(self) -> float:
        """Wall-clock time of what was watched."""
        return self._ended - self._began

    def seconds_of(self) -> dict[Party, float]:
        """How the time splits; see `split_time`. What a call took that never came back is its own until the end."""
        with self._lock:
            left = [Span(party, start, self._ended) for party, start in self._open.values()]
            return split_time([*self._spans, *left], self._began, self._ended)

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        with self._lock:
            self._calls[call_id] = LMCall(str(getattr(instance, "model", type(instance).__name__)))
        self._begin(call_id, "lm")

    def on_lm_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        seconds = self._end(call_id)
        error = describe_error(exception) if isinstance(exception, Exception) else None
        with self._lock:
            self._calls[call_id] = replace(self._calls[call_id], seconds=seconds, error=error)

    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        with self._lock:
            self.tools.append(instance.name or "")
        self._begin(call_id, "tool")

    def on_tool_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        self._end(call_id)

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if isinstance(instance, Route):
            self._begin(call_id, "router")

    def on_module_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        if call_id in self._open:  # only routers are noted when they begin
            self._end(call_id)
            if isinstance(decision := getattr(outputs, "decision", None), Decision):
                self.decision = decision

    def _begin(self, call_id: str, party: Party) -> None:
        with self._lock:
            self._open[call_id] = (party, time.perf_counter())

    def _end(self, call_id: str) -> float:
        with self._lock:
            party, start = self._open.pop(call_id)
            span = Span(party, start, time.perf_counter())
            self._spans.append(span)
        return span.end - span.start

    def _report(self, entry: Mapping[str, Any]) -> None:
        """Take what a model reported of the call that is ending."""
        call_id = ACTIVE_CALL_ID.get()
        usage, made = _tokens(entry.get("usage")), _tokens(_usage_of(entry.get("response")))
        # For an answer from its cache DSPy tells no usage; the answer itself still knows what it took to make it.
        cached = not any(usage) and (any(made) or bool(getattr(entry.get("response"), "cache_hit", False)))
        inputs, outputs = made if cached else usage
        with self._lock:
            if call_id is None or (call := self._calls.get(call_id)) is None:
                return
            dollars = self._dollars(call.model, inputs, outputs, entry.get("cost"))
            self._calls[call_id] = replace(
                call, input_tokens=inputs, output_tokens=outputs, dollars=dollars, cached=cached
            )

    def _dollars(self, model: str, inputs: int | None, outputs: int | None, told: float | None) -> float | None:
        if model not in self._prices:
            return told
        if inputs is None or outputs is None:
            return None
        price_in, price_out = self._prices[model]
        return (inputs * price_in + outputs * price_out) / _MILLION


class _Reports:
    """Poses as a module's history: hands every entry to the meter, and keeps none."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def __len__(self) -> int:
        return 0  # DSPy shortens a history that is too long

    def append(self, entry: Mapping[str, Any]) -> None:
        self._meter._report(entry)


def split_time(spans: Sequence[Span], began: float, ended: float) -> dict[Party, float]:
    """Seconds of each party between two moments, none counted twice.

    At any moment the time is a language model's if one is being asked, else a tool's if one is running, else a router's
    if one is deciding. So three questions asked at once for a second take a second, and a tool's time is its own, not
    that of a language model which it asks.

    Args:
        spans: When who was at work; they may overlap.
        began: The first moment.
        ended: The last one.
    """
    seconds: dict[Party, float] = {"lm": 0.0, "tool": 0.0, "router": 0.0}
    moments = sorted({began, ended, *(min(max(at, began), ended) for one in spans for at in (one.start, one.end))})
    for start, end in pairwise(moments):
        at_work = {one.party for one in spans if one.start <= start and one.end >= end}
        for party in _FIRST:
            if party in at_work:
                seconds[party] += end - start
                break
    return seconds


def _usage_of(response: Any) -> Any:
    """What an answer itself says it took to make."""
    if isinstance(response, Mapping):
        return response.get("usage")
    if isinstance(response, tuple | list):  # several candidates of one call; DSPy does not cache those
        return None
    return getattr(response, "usage", None)


def _tokens(usage: Any) -> tuple[int | None, int | None]:
    """Tokens of prompt and answer from a usage, in the words of DSPy and OpenAI or of DSPy's engines."""
    if usage is None:
        return None, None
    read = usage.get if isinstance(usage, Mapping) else lambda name: getattr(usage, name, None)
    inputs, outputs = (
        next((value for name in names if isinstance(value := read(name), int)), None)
        for names in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
    )
    return inputs, outputs
