"""Programs side by side on the same examples: quality, tools, calls, tokens, dollars, seconds, a test of each pair."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dspy_router.evaluation.paired import PairedTest, compare_pairs, difference_and_interval, mean_and_interval
from dspy_router.evaluation.runs import Run, total
from dspy_router.evaluation.statistics import wilson_interval

Interval = tuple[float, float] | None
PARTS = ("all", "lm", "router", "tool")


@dataclass(frozen=True)
class ContextStep:
    """The prompts of the k-th call of a language model in a run.

    Attributes:
        step: k, from 1.
        tokens: Mean tokens of the prompt.
        n: How many runs came to a k-th call that reported its tokens.
    """

    step: int
    tokens: float
    n: int


@dataclass(frozen=True)
class Standing:
    """How one program did.

    Attributes:
        name: Its name.
        n: How many examples it was run on.
        errors: In how many runs it, or the metric, raised; they count as the metric's minimum.
        first_error: The first such error; None if there was none.
        score: Mean of the metric.
        interval: Its 95 % interval, or of the level asked for.
        difference: Mean difference to the reference program on the examples that both have answered; None for the
            reference itself, and where they share none.
        difference_interval: Its paired bootstrap interval.
        labelled: On how many examples it is known whether the first tool was right.
        tool_accuracy: Share of them on which it was; None without any.
        tool_interval: Its interval.
        lm_calls: Calls of language models a run, those that failed or came from the cache among them.
        cached_calls: How many calls DSPy's cache answered, in all runs together.
        failed_calls: How many calls raised.
        input_tokens: Tokens of prompts a run, as the models reported them, cached answers left out; None if a model
            did not report them.
        output_tokens: The same for answers.
        tokens: Tokens of prompts and answers that a run would take without the cache; None where they are not known.
        dollars: What all runs cost, cached answers left out; None where a price is unknown.
        price: What a run would cost without the cache; None where a price is unknown.
        unpriced: Names of the models whose price is unknown.
        latency: Seconds by part (`all`, `lm`, `router`, `tool`) and quantile (`p50`, `p95`).
        context: Prompt tokens by step.
    """

    name: str
    n: int
    errors: int
    first_error: str | None
    score: float
    interval: Interval
    difference: float | None
    difference_interval: Interval
    labelled: int
    tool_accuracy: float | None
    tool_interval: Interval
    lm_calls: float
    cached_calls: int
    failed_calls: int
    input_tokens: float | None
    output_tokens: float | None
    tokens: float | None
    dollars: float | None
    price: float | None
    unpriced: tuple[str, ...]
    latency: Mapping[str, Mapping[str, float]]
    context: tuple[ContextStep, ...]


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        programs: How each program did, in the order given; the first is the reference.
        pairs: A test of each pair, adjusted for their number.
        runs: Every run.
        examples: How many examples there are; a program was run on fewer where the comparison was stopped.
        level: Confidence of the intervals.
        minimum: What a run counted that raised.
        spent: Dollars spent on the runs and on judging them, also in earlier sittings; None where a price is unknown.
        stopped: Why it ended before all examples were done; None if it did not.
    """

    programs: tuple[Standing, ...]
    pairs: tuple[PairedTest, ...]
    runs: tuple[Run, ...]
    examples: int
    level: float = 0.95
    minimum: float = 0.0
    spent: float | None = 0.0
    stopped: str | None = None

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        runs: Iterable[Run],
        *,
        examples: int | None = None,
        level: float = 0.95,
        minimum: float = 0.0,
        seed: int = 0,
        spent: float | None = None,
        stopped: str | None = None,
    ) -> Comparison:
        """Put runs together.

        Args:
            names: The programs; the first is the reference. One without a run is left out.
            runs: Their runs, at most one for a program and an example.
            examples: How many examples there are; None for as many as occur.
            level: Confidence of the intervals, in (0, 1).
            minimum: What a run counts that raised.
            seed: What resampling starts from.
            spent: Dollars spent in all; None for the sum of the runs' bills.
            stopped: Why not all examples were done, if so.

        Raises:
            ValueError: If the level is outside (0, 1).
        """
        kept = tuple(runs)
        by_name = {name: [run for run in kept if run.program == name] for name in names}
        by_name = {name: own for name, own in by_name.items() if own}
        scores = {
            name: {run.example: minimum if run.score is None else run.score for run in own}
            for name, own in by_name.items()
        }
        reference = scores.get(names[0], {}) if names else {}
        standings = tuple(
            _standing(name, own, scores[name], {} if name == names[0] else reference, level=level, seed=seed)
            for name, own in by_name.items()
        )
        return cls(
            programs=standings,
            pairs=tuple(compare_pairs(list(scores.items()), level=level, seed=seed)),
            runs=kept,
            examples=len({run.example for run in kept}) if examples is None else examples,
            level=level,
            minimum=minimum,
            spent=total(run.bill for run in kept) if spent is None else spent,
            stopped=stopped,
        )

    def __getitem__(self, name: str) -> Standing:
        """How the program of this name did.

        Raises:
            KeyError: If there is none.
        """
        for one in self.programs:
            if one.name == name:
                return one
        raise KeyError(f"No program '{name}' was run; there are {', '.join(one.name for one in self.programs)}.")

    def to_rows(self) -> list[dict[str, Any]]:
        """One flat, JSON-ready row a program, such as `pandas.DataFrame` takes."""
        return [_row(one) for one in self.programs]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict of everything but the runs."""
        own = {key: value for key, value in vars(self).items() if key not in ("programs", "pairs", "runs")}
        return {
            **own,
            "programs": [asdict(one) for one in self.programs],
            "pairs": [asdict(one) for one in self.pairs],
        }

    def to_json_lines(self) -> str:
        """The rows, one JSON object a line."""
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.to_rows())


def _standing(
    name: str,
    runs: Sequence[Run],
    scores: Mapping[str, float],
    reference: Mapping[str, float],
    *,
    level: float,
    seed: int,
) -> Standing:
    score, interval = mean_and_interval(list(scores.values()), level=level, seed=seed)
    shared = [example for example in scores if example in reference]
    difference, between = None, None
    if shared:
        left, right = [reference[one] for one in shared], [scores[one] for one in shared]
        difference, between = difference_and_interval(left, right, level=level, seed=seed)
    right_tools = [run.tool_right for run in runs if run.tool_right is not None]
    calls = [call for run in runs for call in run.calls]
    spent = [call for call in calls if call.spent]
    return Standing(
        name=name,
        n=len(runs),
        errors=sum(run.error is not None for run in runs),
        first_error=next((run.error for run in runs if run.error is not None), None),
        score=score,
        interval=interval,
        difference=difference,
        difference_interval=between,
        labelled=len(right_tools),
        tool_accuracy=sum(right_tools) / len(right_tools) if right_tools else None,
        tool_interval=wilson_interval(sum(right_tools), len(right_tools)) if right_tools else None,
        lm_calls=len(calls) / len(runs),
        cached_calls=sum(call.cached for call in calls),
        failed_calls=sum(call.error is not None for call in calls),
        input_tokens=_per_run(total(call.input_tokens for call in spent), len(runs)),
        output_tokens=_per_run(total(call.output_tokens for call in spent), len(runs)),
        tokens=_per_run(total(run.tokens for run in runs), len(runs)),
        dollars=total(run.dollars for run in runs),
        price=_per_run(total(run.price for run in runs), len(runs)),
        unpriced=tuple(dict.fromkeys(call.model for run in runs for call in run.answered if call.dollars is None)),
        latency=_latency(runs),
        context=_context(runs),
    )


def _latency(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    seconds = {
        "all": [run.seconds for run in runs],
        "lm": [run.lm_seconds for run in runs],
        "router": [run.router_seconds for run in runs],
        "tool": [run.tool_seconds for run in runs],
    }
    return {
        part: {name: float(np.quantile(values, share)) for name, share in (("p50", 0.5), ("p95", 0.95))}
        for part, values in seconds.items()
    }


def _context(runs: Sequence[Run]) -> tuple[ContextStep, ...]:
    by_step: dict[int, list[int]] = {}
    for run in runs:
        for step, call in enumerate(run.answered, start=1):
            if call.input_tokens is not None:
                by_step.setdefault(step, []).append(call.input_tokens)
    return tuple(
        ContextStep(step, math.fsum(tokens) / len(tokens), len(tokens)) for step, tokens in sorted(by_step.items())
    )


def _row(one: Standing) -> dict[str, Any]:
    plain = {key: value for key, value in vars(one).items() if key not in ("latency", "context", "unpriced")}
    row: dict[str, Any] = {}
    for key, value in plain.items():
        if key == "interval" or key.endswith("_interval"):
            stem = {"interval": "score", "tool_interval": "tool_accuracy"}.get(key, key.removesuffix("_interval"))
            row[f"{stem}_low"], row[f"{stem}_high"] = value or (None, None)
        else:
            row[key] = value
    row["unpriced"] = ", ".join(one.unpriced)
    for part, quantiles in one.latency.items():
        stem = "seconds" if part == "all" else f"{part}_seconds"
        row |= {f"{stem}_{name}": value for name, value in quantiles.items()}
    row |= {f"context_{step.step}": step.tokens for step in one.context}
    return row


def _per_run(amount: float | None, runs: int) -> float | None:
    return None if amount is None else amount / runs
