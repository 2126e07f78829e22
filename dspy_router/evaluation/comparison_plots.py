"""Pictures of a comparison: quality against cost, and how prompts grow with every call of a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from dspy_router.evaluation.comparison import Comparison, Standing
from dspy_router.evaluation.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Paul Tol's bright scheme: told apart also without red and green; markers differ for print.
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#ccbb44", "#bbbbbb")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
Cost = Literal["price", "tokens", "lm_calls", "seconds"]
_COSTS: dict[Cost, str] = {
    "price": "dollars per 1000 answers, without the cache",
    "tokens": "tokens per answer, without the cache",
    "lm_calls": "calls of language models per answer",
    "seconds": "seconds per answer, median",
}


def quality_cost(comparison: Comparison, *, cost: Cost | None = None, metric: str = "metric") -> Figure:
    """Each program's metric, with its interval, against what an answer costs.

    Args:
        comparison: What was found.
        cost: What to hold the metric against; None for dollars where all prices are known and something was paid, else
            tokens where all were reported and some were used, else calls of language models.
        metric: What the metric is called on the axis.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If no program was run, or the cost of one is not known.
    """
    _check(comparison.programs)
    kind = _known_cost(comparison.programs) if cost is None else cost
    if kind not in _COSTS:
        raise ValueError(f"cost must be one of {', '.join(_COSTS)}; got {kind!r}.")
    figure, axes = new_figure()
    for number, one in enumerate(comparison.programs):
        value = _cost(one, kind)
        if value is None:
            raise ValueError(f"The {kind} of '{one.name}' is not known; take another cost, such as 'lm_calls'.")
        low, high = one.interval or (one.score, one.score)
        axes.errorbar(
            [value],
            [one.score],
            yerr=[[max(0.0, one.score - low)], [max(0.0, high - one.score)]],
            fmt=_MARKERS[number % len(_MARKERS)],
            color=_COLOURS[number % len(_COLOURS)],
            label=one.name,
            capsize=3,
        )
    axes.set_xlabel(_COSTS[kind])
    axes.set_ylabel(f"{metric}, mean and {100 * comparison.level:g} % interval")
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    sizes = sorted({one.n for one in comparison.programs})
    axes.set_title(f"n = {' to '.join(str(size) for size in dict.fromkeys((sizes[0], sizes[-1])))}", fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def context_growth(comparison: Comparison) -> Figure:
    """Tokens of the prompt of the first, second, third … call in a run, one line a program that made any.

    Args:
        comparison: What was found.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If no prompt's tokens were reported.
    """
    if not any(one.context for one in comparison.programs):
        raise ValueError("There is nothing to draw: no language model reported the tokens of a prompt.")
    figure, axes = new_figure()
    from matplotlib.ticker import MaxNLocator

    for number, one in enumerate(comparison.programs):
        if one.context:
            axes.plot(
                [step.step for step in one.context],
                [step.tokens for step in one.context],
                marker=_MARKERS[number % len(_MARKERS)],
                color=_COLOURS[number % len(_COLOURS)],
                label=one.name,
            )
    axes.set_xlabel("call of a language model within an answer")
    axes.set_ylabel("mean tokens of the prompt")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _check(programs: Sequence[Standing]) -> None:
    if not programs:
        raise ValueError("There is nothing to draw: expected a comparison in which at least one program was run.")


def _known_cost(programs: Sequence[Standing]) -> Cost:
    for kind in ("price", "tokens"):
        values = [_cost(one, kind) for one in programs]
        if all(value is not None for value in values) and any(values):
            return kind
    return "lm_calls"


def _cost(one: Standing, kind: Cost) -> float | None:
    if kind == "price":
        return None if one.price is None else 1000 * one.price
    if kind == "tokens":
        return one.tokens
    return one.lm_calls if kind == "lm_calls" else one.latency["all"]["p50"]
