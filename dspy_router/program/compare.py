"""Runs any DSPy programs on the same examples and tells how good, how dear and how fast each of them is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy

from dspy_router.evaluation.comparison import Comparison
from dspy_router.program.comparing.budget import Budget, check_prices
from dspy_router.program.comparing.running import Runner

Programs = Mapping[str, dspy.Module] | Iterable[tuple[str, dspy.Module]]


def compare(
    programs: Programs,
    devset: Sequence[dspy.Example],
    metric: Callable[..., Any],
    *,
    label_field: str = "tool",
    minimum: float = 0.0,
    path: str | Path | None = None,
    max_usd: float | None = None,
    prices: Mapping[str, tuple[float, float]] | None = None,
    num_threads: int | None = None,
    level: float = 0.95,
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Run programs side by side: what would this do to quality, bill and latency?

    Every program is run on every example as it is, with the language model, adapter and cache of DSPy that are in
    force; a RoutedAgent is only tried out: it draws nothing, logs nothing and nobody acts in its shadow. Tokens and
    dollars are what the language models reported. An answer from DSPy's cache costs nothing and counts as cached; for
    latencies as a user would see them, configure the language model with `cache=False`, and `num_threads=1`.

    Ctrl-C ends it early, and what was done is compared. With a `path` nothing that was done is lost, however it ends:
    the same call goes on from there.

    Args:
        programs: The programs by name, or pairs of name and program; the first is what the others are held against.
        devset: Examples that say which fields are inputs. Their `label_field`, where they have it, is the right tool: a
            name, a list of names, or None where no tool fits.
        metric: Called as `metric(example, prediction)`; gives a number, a bool, or a `dspy.Prediction` with `score`.
        label_field: The examples' field with the right tool. Without it there is no tool accuracy.
        minimum: What a run counts in which the program or the metric raised; the least that the metric can give.
        path: A JSON-lines file that keeps every run as soon as it is done. Runs that raised are tried again next time.
            It cannot see that the code of a tool, a program or the metric changed: delete it then.
        max_usd: Dollars that all runs together may cost, those in the file and the metric's own calls among them. No
            run begins that may go over, judged by the dearest of the same program so far; the first run of a program,
            which nothing is known of, goes ahead alone.
        prices: Dollars for a million tokens of prompts and of answers, by the name of the model as `dspy.LM` takes it;
            they go before the tables of DSPy and LiteLLM.
        num_threads: Threads; None takes DSPy's setting.
        level: Confidence of the intervals, in (0, 1).
        seed: What resampling starts from.
        progress: Whether work of more than two seconds shows a progress bar.

    Raises:
        TypeError: If a program is no `dspy.Module`, an example no `dspy.Example` with inputs, a label no name, or the
            metric cannot be called.
        ValueError: If there is no program or no example, two programs have one name, a setting is out of its range, the
            file is damaged or of another metric, DSPy's history is switched off, or there is a budget and the price of
            the first call of a program is not known.
    """
    named = _named(programs)
    examples = list(devset)
    if not examples:
        raise ValueError("There is nothing to compare on: the devset is empty.")
    if not callable(metric):
        raise TypeError(f"The metric must be a function of an example and a prediction; got {metric!r:.80}.")
    if not 0 < level < 1:
        raise ValueError(f"level is the confidence of an interval, in (0, 1), such as 0.95; got {level!r}.")
    if dspy.settings.disable_history or dspy.settings.max_history_size == 0:
        raise ValueError(
            "What a call cost is told by DSPy's history, which is switched off. Compare with it, "
            "dspy.configure(disable_history=False, max_history_size=10_000)."
        )
    budget = Budget(max_usd)
    runner = Runner(
        named,
        examples,
        metric,
        label_field=label_field,
        path=None if path is None else Path(path),
        budget=budget,
        prices=check_prices(prices),
    )
    runner.run(num_threads=num_threads, progress=progress)
    order = {item.digest: number for number, item in enumerate(runner.items)}
    runs = sorted(runner.runs.values(), key=lambda run: (order[run.example], list(named).index(run.program)))
    return Comparison.of(
        list(named),
        runs,
        examples=len(examples),
        level=level,
        minimum=minimum,
        seed=seed,
        spent=budget.spent,
        stopped=runner.stopped,
    )


def _named(programs: Any) -> dict[str, dspy.Module]:
    """The programs by name, in order."""
    if isinstance(programs, dspy.Module) or not isinstance(programs, Mapping | Iterable):
        raise TypeError(
            "The programs must be a mapping of names to programs, such as {'ReAct': react, 'routed': agent}; got "
            f"{type(programs).__name__}."
        )
    pairs = list(programs.items()) if isinstance(programs, Mapping) else list(programs)
    named: dict[str, dspy.Module] = {}
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"Expected pairs of a name and a program; got {pair!r:.80}.")
        name, program = pair
        if not isinstance(name, str) or not name:
            raise TypeError(f"The name of a program must be a text; got {name!r:.80}.")
        if not isinstance(program, dspy.Module):
            raise TypeError(f"The program '{name}' must be a dspy.Module; got {type(program).__name__}.")
        if name in named:
            raise ValueError(f"Two programs are called '{name}'. Their runs could not be told apart: rename one.")
        named[name] = program
    if not named:
        raise ValueError("There is nothing to compare: expected at least one program.")
    return named
