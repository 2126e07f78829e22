"""Runs the student program itself with a tool forced, scores it by the user's metric, and never runs the same twice."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy
from dspy.utils.parallelizer import ParallelExecutor
from tqdm import tqdm

from dspy_router.program.filling.argument_prompt import ArgumentError
from dspy_router.program.oversight import rehearsing
from dspy_router.program.route import find_route, forced
from dspy_router.program.steps import describe_error
from dspy_router.program.tuning.fingerprints import example_digest, prompt_fingerprint, qualified_name
from dspy_router.program.tuning.journal import Journal
from dspy_router.program.tuning.rewards import Key, Rollout, Spent, failed_call, read_score
from dspy_router.program.tuning.spending import Ledger
from dspy_router.runtime.names import check_names

logger = logging.getLogger(__name__)


class Rollouts:
    """Runs programs with a tool forced and remembers what came of it, by example, tool, prompts and language model.

    The program is run as it is, by many threads at a time, with the settings and the cache of DSPy that are in force.

    Attributes:
        metric: The user's metric.
        spent: What was spent so far.
        allow_destructive: Whether tools are run whose card says that they destroy something.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        *,
        path: str | Path | None = None,
        num_threads: int | None = None,
        max_rollouts: int | None = None,
        max_lm_calls: int | None = None,
        max_errors: int | None = None,
        failure_score: float = 0.0,
        allow_destructive: bool = False,
        progress: bool = True,
    ) -> None:
        """Set up; nothing is run.

        Args:
            metric: Called as `metric(example, prediction)`; gives a number, a bool, or a `dspy.Prediction` with `score`
                and perhaps `feedback`.
            path: A JSON-lines file that keeps every scored rollout as soon as there is one, so that a run that was
                killed goes on from there. It cannot see that the code of a tool or of the metric changed: delete it
                then.
            num_threads: Threads; None takes DSPy's setting.
            max_rollouts: Most runs of the program.
            max_lm_calls: No run starts once so many calls of language models were made; those under way are finished.
            max_errors: How often the program or the metric may raise under the same prompts; None takes DSPy's setting.
            failure_score: What a run counts that raised for want of a tool's arguments, as in `dspy.Evaluate`.
            allow_destructive: Whether to run tools whose card says that they destroy something.
            progress: Whether work of more than two seconds shows a progress bar.

        Raises:
            TypeError: If the metric cannot be called.
            ValueError: If a budget is no whole number of at least 1, or the file is damaged or of another metric.
        """
        if not callable(metric):
            raise TypeError(f"The metric must be a function of an example and a prediction; got {metric!r:.80}.")
        for name, value in (("max_rollouts", max_rollouts), ("max_lm_calls", max_lm_calls)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(
                    f"{name} must be a whole number of at least 1, or None for no limit; got {value!r}. "
                    "Without a run of the program there is nothing to learn from."
                )
        self.metric = metric
        self.num_threads = num_threads
        self.max_errors = max_errors
        self.failure_score = failure_score
        self.allow_destructive = allow_destructive
        self.progress = progress
        self.spent = Spent(max_rollouts=max_rollouts, max_lm_calls=max_lm_calls)
        self._journal = None if path is None else Journal(Path(path), Rollout, metric=qualified_name(metric))
        self._known: dict[Key, Rollout] = {}
        self._errors: Counter[str] = Counter()
        self._lock = threading.Lock()
        if self._journal is not None:
            self._known = {one.key: one for one in self._journal.read()}

    def run(
        self, program: dspy.Module, pairs: Sequence[tuple[Any, str | None]], *, limited: bool = True
    ) -> list[Rollout | None]:
        """Roll out each pair of an example and a tool; what is known already costs nothing.

        Args:
            program: A program with one router.
            pairs: Examples, each with the tool to force; None forces the choice that no tool fits.
            limited: Whether the budgets count these; not so for what must be known, such as a validation score.

        Returns:
            A rollout for each pair, in their order. None where the budget was used up before it, or where the tool is
            destructive and may not be run.

        Raises:
            RuntimeError: If the program or the metric raised more than `max_errors` times; it quotes the first error.
            TypeError: If an example is no `dspy.Example` with inputs.
            ValueError: If the program has no router or several, or a tool is none of the router's.
        """
        router = find_route(program).router
        check_names({tool for _, tool in pairs if tool is not None}, router.tools)
        barred = set() if self.allow_destructive else {card.name for card in router.cards if card.destructive}
        prompt = prompt_fingerprint(program)
        keys = [(example_digest(example), tool, prompt) for example, tool in pairs]
        fresh = {
            key: example
            for key, (example, tool) in zip(keys, pairs, strict=True)
            if key not in self._known and tool not in barred
        }
        self.spent.cached += sum(key in self._known for key in set(keys))
        if limited and self.spent.rollouts_left is not None:
            fresh = dict(list(fresh.items())[: self.spent.rollouts_left])
        if fresh:
            self._run_all(program, fresh, limited=limited)
        return [self._known.get(key) for key in keys]

    def known(self, program: dspy.Module, example: Any) -> dict[str | None, Rollout]:
        """The scored rollouts of an example under the program's present prompts and language models, by tool."""
        return self.known_many(program, [example])[0]

    def known_many(self, program: dspy.Module, examples: Sequence[Any]) -> list[dict[str | None, Rollout]]:
        """As `known`, for many examples at once."""
        prompt = prompt_fingerprint(program)
        by_example: dict[str, dict[str | None, Rollout]] = {}
        for rollout in self._known.values():
            if rollout.prompt == prompt and rollout.score is not None:
                by_example.setdefault(rollout.example, {})[rollout.tool] = rollout
        return [by_example.get(example_digest(example), {}) for example in examples]

    def first_error(self, program: dspy.Module) -> str | None:
        """The first error of the program or the metric under the present prompts; None if there was none."""
        return self._first_error(prompt_fingerprint(program))

    def _first_error(self, prompt: str) -> str | None:
        return next((one.error for one in self._known.values() if one.score is None and one.prompt == prompt), None)

    def _run_all(self, program: dspy.Module, fresh: Mapping[Key, Any], *, limited: bool) -> None:
        most_errors = dspy.settings.max_errors if self.max_errors is None else self.max_errors
        stop, started, crashes = threading.Event(), time.perf_counter(), []
        bar = tqdm(total=len(fresh), desc="rollouts", unit="run", delay=2, disable=not self.progress, leave=False)

        def work(item: tuple[Key, Any]) -> None:
            key, example = item
            if stop.is_set() or (limited and self.spent.exhausted):
                return
            rollout = self._roll_out(program, example, key)
            try:
                with self._lock:
                    self._keep(rollout, free=not limited)
                    bar.update()
            except Exception as error:  # a full disk; the executor would only log it
                crashes.append(error)
            if crashes or self._errors[rollout.prompt] > most_errors:
                stop.set()

        # Its own way with a straggler is to run it once more, which a rollout with its cost must not be.
        executor = ParallelExecutor(num_threads=self.num_threads, disable_progress_bar=True, timeout=0)
        try:
            executor.execute(work, list(fresh.items()))
        finally:
            stop.set()  # an interrupt leaves threads behind; they finish what is under way and take up nothing new
            bar.close()
            self.spent.seconds += time.perf_counter() - started
        if crashes:
            raise crashes[0]
        prompt = next(iter(fresh))[2]
        if self._errors[prompt] > most_errors:
            raise RuntimeError(
                f"{self._errors[prompt]} rollouts under the same prompts ended in an error of the program or the "
                f"metric, more than max_errors={most_errors}. The first was: {self._first_error(prompt)}"
            )

    def _keep(self, rollout: Rollout, *, free: bool) -> None:
        self._known[rollout.key] = rollout
        self.spent.add(rollout, free=free)
        if rollout.score is None:
            self._errors[rollout.prompt] += 1
            logger.warning("rollout of %r: error of the %s: %s", rollout.tool, rollout.failure, rollout.error)
        elif self._journal is not None:
            self._journal.append(rollout)

    def _roll_out(self, program: dspy.Module, example: Any, key: Key) -> Rollout:
        ledger, started = Ledger(), time.perf_counter()
        with forced(key[1]), rehearsing(), ledger.watching(), dspy.context(trace=[]):
            outcome = self._score(program, example, ledger)
        seconds = time.perf_counter() - started
        return Rollout(*key, **outcome, lm_calls=ledger.lm_calls, cost=ledger.cost, seconds=seconds)

    def _score(self, program: dspy.Module, example: Any, ledger: Ledger) -> dict[str, Any]:
        try:
            prediction = program(**example.inputs())
        except ArgumentError as error:  # no fault of the program: no language model is there to fill the call
            return {"score": self.failure_score, "failure": "arguments", "error": describe_error(error)}
        except Exception as error:
            return {"score": None, "failure": "program", "error": describe_error(error)}
        try:
            score, feedback = read_score(self.metric(example, prediction))
        except Exception as error:
            return {"score": None, "failure": "metric", "error": describe_error(error)}
        return {"score": score, "feedback": feedback, **failed_call(ledger.steps)}
