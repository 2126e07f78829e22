"""Runs programs on examples, side by side and in many threads, and writes every run down as soon as it is done."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import dspy
from dspy.utils.parallelizer import ParallelExecutor
from tqdm import tqdm

from dspy_router.evaluation.runs import Failure, Run
from dspy_router.program.comparing.budget import Budget, UnknownPriceError
from dspy_router.program.comparing.metering import Meter, Prices
from dspy_router.program.comparing.tool_use import called_tools, first_is_right, labelled_names, tool_names
from dspy_router.program.oversight import rehearsing
from dspy_router.program.route import Route
from dspy_router.program.steps import describe_error, show
from dspy_router.program.tuning.fingerprints import example_digest, program_fingerprint, qualified_name
from dspy_router.program.tuning.journal import Journal
from dspy_router.program.tuning.rewards import read_score

logger = logging.getLogger(__name__)

# Outputs that tell how an answer came about; the run tells that in its own words.
_NOT_OUTPUTS = frozenset({"steps", "decision", "shadow", "history", "trajectory", "termination_reason"})
_LONGEST_OUTPUT = 1_000


@dataclass(frozen=True)
class Item:
    """A program that is to be run on an example."""

    name: str
    program: dspy.Module = field(repr=False)
    fingerprint: str
    example: dspy.Example = field(repr=False)
    digest: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What its run is remembered by."""
        return (self.name, self.fingerprint, self.digest)


class Runner:
    """Runs each program on each example and remembers what came of it.

    The programs take turns at every example, so that what was done before a stop is the same for all of them.

    Attributes:
        runs: The runs so far, by program, fingerprint and example.
        budget: The dollars.
        stopped: Why it ended before all was done; None if it did not.
    """

    def __init__(
        self,
        programs: Mapping[str, dspy.Module],
        devset: Sequence[dspy.Example],
        metric: Callable[..., Any],
        *,
        label_field: str,
        path: Path | None,
        budget: Budget,
        prices: Prices,
    ) -> None:
        """Set up, and take over what the file knows; nothing is run.

        Raises:
            TypeError: If an example is no `dspy.Example` with inputs, or a label is none.
            UnknownPriceError: If there is a budget, and the file has runs of unknown price.
            ValueError: If the file is damaged, or of another metric.
        """
        self.metric = metric
        self.label_field = label_field
        self.prices = prices
        self.budget = budget
        self.stopped: str | None = None
        self.runs: dict[tuple[str, str, str], Run] = {}
        self._own = {name: tool_names(program) for name, program in programs.items()}
        self._names = frozenset().union(*self._own.values()) | labelled_names(devset, label_field=label_field)
        self.items = _items(programs, devset)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._closed = False
        self._journal = None if path is None else Journal(path, Run, metric=qualified_name(metric))
        if self._journal is not None:
            self._resume(self._journal.read())

    def run(self, *, num_threads: int | None = None, progress: bool = True) -> None:
        """Run what is not known yet; an interrupt ends it, and what was done is kept.

        Raises:
            OSError: If a run cannot be written down.
            UnknownPriceError: If there is a budget, and the first run of a program has no known price.
        """
        waiting = [item for item in self.items if self._failed_or_new(item)]
        bar = tqdm(total=len(waiting), desc="compare", unit="run", delay=2, disable=not progress, leave=False)
        crashes: list[Exception] = []

        def work(item: Item) -> None:
            if self._stop.is_set():
                return
            try:
                self._take(item)
            except Exception as error:  # no price, or a full disk; the executor would only log it
                crashes.append(error)
                self._stop.set()
            bar.update()

        warm_up([item.program for item in waiting])
        pilots = self._pilots(waiting)
        # Its own way with a straggler is to run it once more, which a run with its cost must not be.
        executor = ParallelExecutor(
            num_threads=num_threads, max_errors=sys.maxsize, disable_progress_bar=True, timeout=0
        )
        try:
            for item in pilots.values():
                work(item)
            if crashes:
                raise crashes[0]
            executor.execute(work, [item for item in waiting if pilots.get(item.name) is not item])
        except KeyboardInterrupt:
            self.stopped = "interrupted"
        except Exception:
            if not executor.cancel_jobs.is_set():  # else a handler of the user's own took the interrupt
                raise
            self.stopped = "interrupted"
        finally:
            self._stop.set()  # threads left behind finish what is under way and take up nothing new
            with self._lock:
                self._closed = True
            bar.close()
        self._end(crashes)

    def _take(self, item: Item) -> None:
        with self._lock:
            reserved = self.budget.admit(item.name)
        if reserved is None:
            self._stop.set()
            return
        run = self._run(item)
        with self._lock:
            if self._journal is not None:
                self._journal.append(run)
            if not self._closed:
                self.runs[run.key] = run
            self.budget.settle(run, reserved)

    def _run(self, item: Item) -> Run:
        meter, judge = Meter(self.prices), Meter(self.prices)
        prediction: Any = None
        score, failure, error = None, None, None
        with rehearsing(), dspy.context(trace=[]):
            try:
                with meter.watching():
                    prediction = item.program(**item.example.inputs())
            except Exception as raised:
                failure, error = _note("program", raised)
            else:
                try:
                    with judge.watching():
                        score, _ = read_score(self.metric(item.example, prediction))
                except Exception as raised:
                    failure, error = _note("metric", raised)
        if error is not None:
            logger.info("'%s' on example %s: error of the %s: %s", item.name, item.digest, failure, error)
        told = Run(item.name, item.fingerprint, item.digest, score, calls=judge.calls)
        seconds = meter.seconds_of()
        run = Run(
            program=item.name,
            fingerprint=item.fingerprint,
            example=item.digest,
            score=score,
            calls=meter.calls,
            seconds=meter.seconds,
            lm_seconds=seconds["lm"],
            tool_seconds=seconds["tool"],
            router_seconds=seconds["router"],
            judge_dollars=told.dollars,
            failure=failure,
            error=error,
            outputs=_outputs(prediction),
        )
        called = called_tools(prediction, meter, self._counted(item), earlier=_earlier(item.example))
        return self._judge_tools(replace(run, tools=called or (), tools_known=called is not None), item.example)

    def _counted(self, item: Item) -> frozenset[str]:
        # Labels name tools of programs that keep theirs elsewhere; without any tool nobody knows that none was called.
        return self._own[item.name] or self._names

    def _judge_tools(self, run: Run, example: dspy.Example) -> Run:
        called = run.tools if run.tools_known else None
        failed = run.failure == "program"
        right = first_is_right(called, example, label_field=self.label_field, failed=failed)
        return replace(run, tool_right=right)

    def _resume(self, known: Sequence[Run]) -> None:
        """Take over the runs of these programs on these examples; a later attempt replaces an earlier one."""
        items = {item.key: item for item in self.items}
        mine = [run for run in known if run.key in items]
        self.budget.book(mine)
        self.runs = {run.key: self._judge_tools(run, items[run.key].example) for run in mine}

    def _failed_or_new(self, item: Item) -> bool:
        """Whether an item is still to be run; one that raised in an earlier sitting is given another chance."""
        return item.key not in self.runs or self.runs[item.key].error is not None

    def _pilots(self, waiting: Sequence[Item]) -> dict[str, Item]:
        """With a budget the first run of each program goes ahead alone, as it shows what the next ones will cost."""
        if self.budget.limit is None:
            return {}
        unknown = [item for item in waiting if not self.budget.knows(item.name)]
        return {item.name: item for item in reversed(unknown)}

    def _end(self, crashes: Sequence[Exception]) -> None:
        if crashes and not isinstance(crashes[0], UnknownPriceError):
            raise crashes[0]
        if crashes:
            self.stopped = str(crashes[0])
        elif self.stopped is None and self.budget.exhausted:
            self.stopped = f"another run could have exceeded max_usd={self.budget.limit:g}"
        if self.stopped is not None:
            logger.warning("Stopped after %d of %d runs: %s.", len(self.runs), len(self.items), self.stopped)


def warm_up(programs: Sequence[dspy.Module]) -> None:
    """Load what is loaded at the first call, LiteLLM above all, so that no program is charged with those seconds."""
    modules = {id(one): one for program in dict.fromkeys(programs) for _, one in program.named_sub_modules()}.values()
    lms = [dspy.settings.lm, *(one.lm for one in modules if isinstance(one, dspy.Predict))]
    if any(isinstance(lm, dspy.LM) and isinstance(lm.engine, str) for lm in lms):
        with contextlib.suppress(ImportError):  # DSPy's own engine does without it
            import_module("litellm")
    for module in modules:
        if isinstance(module, Route):
            module.router.decide("warm up")


def _items(programs: Mapping[str, dspy.Module], devset: Sequence[dspy.Example]) -> list[Item]:
    prints = {name: program_fingerprint(program) for name, program in programs.items()}
    seen: Counter[str] = Counter()
    items = []
    for example in devset:
        digest = example_digest(example)
        seen[digest] += 1
        # An example that occurs twice counts twice, so it is run twice.
        unique = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        items += [Item(name, program, prints[name], example, unique) for name, program in programs.items()]
    return items


def _note(failure: Failure, raised: Exception) -> tuple[Failure, str]:
    return failure, describe_error(raised)


def _earlier(example: dspy.Example) -> int:
    histories = [value for value in example.inputs().values() if isinstance(value, dspy.History)]
    return len(histories[0].messages) if histories else 0


def _outputs(prediction: Any) -> dict[str, str]:
    """The prediction's outputs as text that can be written down."""
    if not isinstance(prediction, dspy.Prediction):
        return {}
    outputs = {}
    for name, value in prediction.items():
        if name not in _NOT_OUTPUTS:
            try:
                text = show(value)
            except Exception as error:  # a value that cannot be shown is no fault of the program
                text = describe_error(error)
            outputs[name] = text[:_LONGEST_OUTPUT].encode("utf-8", "replace").decode("utf-8")
    return outputs
