"""What a stretch of work asked of language models, in whichever threads: how many calls, and at what cost."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from dspy_router.records import Step


class Ledger(BaseCallback):
    """Counts what is spent within `watching`, and in no other thread or task at the same time.

    Attributes:
        lm_calls: Calls of language models, those that DSPy's cache answered among them.
        steps: The steps of the last agent that answered.
    """

    def __init__(self) -> None:
        """Start at zero."""
        super().__init__()
        self.lm_calls = 0
        self.steps: tuple[Step, ...] = ()
        self.history = _Receipts()
        self._lock = threading.Lock()

    @contextmanager
    def watching(self) -> Iterator[Ledger]:
        """Note what is spent within this, in the threads of DSPy's executors as well."""
        # DSPy tells the history of every calling module what a call of a language model cost, so the ledger poses as
        # one; of a call under way it tells callbacks only.
        callers, callbacks = dspy.settings.caller_modules or [], dspy.settings.callbacks or []
        with dspy.context(caller_modules=[self, *callers], callbacks=[*callbacks, self]):
            yield self

    @property
    def cost(self) -> float | None:
        """Dollars; None if there were calls whose cost is not known."""
        if self.history.unknown or self.history.answered < self.lm_calls:
            return None
        return self.history.dollars

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        with self._lock:
            self.lm_calls += 1

    def on_module_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        steps = outputs.get("steps") if isinstance(outputs, dspy.Prediction) else None
        if isinstance(steps, tuple) and all(isinstance(step, Step) for step in steps):
            self.steps = steps


class _Receipts:
    """Poses as a module's history: keeps the sum of the costs, not the calls."""

    def __init__(self) -> None:
        self.dollars = 0.0
        self.answered = 0
        self.unknown = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return 0  # DSPy shortens a history that is too long

    def append(self, entry: Mapping[str, Any]) -> None:
        cost = entry.get("cost")
        with self._lock:
            self.answered += 1
            if cost is None:
                self.unknown = True
            elif entry.get("usage"):  # DSPy's cache tells what its answer once cost, but no usage
                self.dollars += cost
