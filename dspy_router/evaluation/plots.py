"""Pictures of a training: learning curves, whose fault a lost reward was, and what each tool earned."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dspy_router.evaluation.credit import CreditSplit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The parts of a loss from the bottom up: what was earned, then what each party left of the maximum. The colours differ
# in lightness as well, for readers who see no hues and for print.
_PARTS = {
    "score": ("earned", "#4477aa"),
    "routing_regret": ("lost by routing", "#ee6677"),
    "failures": ("lost by failed calls", "#ccbb44"),
    "synthesis_shortfall": ("lost after the tool", "#bbbbbb"),
}
_LINES = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#ccbb44")
_DASHES = ("--", "-.", ":")
_WIDTH, _HEIGHT, _ROW = 7.0, 4.2, 0.28  # inches: of a figure, and of one tool's bar
_LABEL = 40  # the longest name that is written out


def learning_curve(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str = "rollouts",
    y_label: str = "score",
    levels: Mapping[str, float] | None = None,
    steps: Sequence[str] | None = None,
) -> Figure:
    """How something grew while it was learned: one line a series.

    Args:
        series: Points (x, y) by the series' name.
        x_label: What x counts.
        y_label: What y is.
        levels: Values to compare with, as broken lines across; `{"before": 0.62}`.
        steps: Names to write below x = 0, 1, 2, … in place of numbers.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no point.
    """
    if not any(series.values()):
        raise ValueError("There is nothing to draw: expected at least one point (x, y) in one of the series.")
    figure, axes = new_figure()
    for number, (name, points) in enumerate(series.items()):
        xs, ys = [x for x, _ in points], [y for _, y in points]
        axes.plot(xs, ys, label=name, marker="o", markersize=4, color=_LINES[number % len(_LINES)])
    for number, (name, value) in enumerate((levels or {}).items()):
        axes.axhline(value, label=name, linestyle=_DASHES[number % len(_DASHES)], linewidth=1.2, color="#555555")
    if steps is not None:
        axes.set_xticks(range(len(steps)), [_short(step) for step in steps], rotation=30, ha="right")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.legend(frameon=False)
    return figure


def credit_split(splits: Mapping[str, CreditSplit]) -> Figure:
    """What was earned and who lost the rest, one stacked bar for each state of the program.

    Args:
        splits: By what to call the state, in order: `{"start": …, "turn 1": …}`.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is none.
    """
    if not splits:
        raise ValueError("There is nothing to draw: expected at least one CreditSplit.")
    figure, axes = new_figure()
    names = [_short(name) for name in splits]
    bottoms = [0.0] * len(names)
    for part, (label, colour) in _PARTS.items():
        heights = [getattr(split, part) for split in splits.values()]
        axes.bar(range(len(names)), heights, bottom=bottoms, label=label, color=colour, width=0.6)
        bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
    axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 4 else 0)
    axes.set_ylabel(f"mean reward, n = {next(iter(splits.values())).n}")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def per_tool_reward(rewards: Mapping[str | None, Sequence[float]], *, most: int = 40) -> Figure:
    """The mean reward of each tool's tries, best first, with how often it was tried.

    Args:
        rewards: The rewards of the tries by tool; None stands for *none*. A tool without tries is left out.
        most: Draw at most so many tools, those that were tried most; the title says how many are left out.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If no tool was tried.
    """
    tried = sorted(((tool, values) for tool, values in rewards.items() if values), key=lambda pair: -len(pair[1]))
    if not tried:
        raise ValueError("There is nothing to draw: expected the rewards of at least one tool that was tried.")
    shown = sorted(((statistics.fmean(values), tool, len(values)) for tool, values in tried[:most]), key=_by_mean)
    figure, axes = new_figure(height=max(_HEIGHT / 2, 1.2 + _ROW * len(shown)))
    places = range(len(shown), 0, -1)  # the best at the top
    bars = axes.barh(places, [mean for mean, _, _ in shown], color=_LINES[0], height=0.7)
    axes.bar_label(bars, [f"{mean:.2f}, n = {count}" for mean, _, count in shown], padding=3, fontsize=8)
    axes.set_yticks(places, [_short(tool or "(none)") for _, tool, _ in shown])
    axes.set_xlabel("mean reward")
    axes.margins(x=0.2)
    if len(tried) > most:
        axes.set_title(f"the {most} tools tried most; {len(tried) - most} others are left out", fontsize=9)
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure to a file, whole or not at all; the ending says in which format.

    Args:
        figure: The figure.
        path: Such as `out/curve.png` or `.svg`; the folder is made if it is missing.

    Raises:
        ValueError: If matplotlib knows no format of this ending.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    check_format(kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(partial, format=kind, dpi=150)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def check_format(kind: str) -> None:
    """Refuse what a figure cannot be saved as.

    Args:
        kind: A format, such as `png`.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If matplotlib does not know the format.
    """
    with _needed():
        from matplotlib.backend_bases import FigureCanvasBase
    if kind not in FigureCanvasBase.filetypes:
        known = ", ".join(sorted(FigureCanvasBase.filetypes))
        raise ValueError(f"A figure cannot be saved in the format '{kind}'; expected one of {known}.")


@contextmanager
def _needed() -> Iterator[None]:
    """Name the extra if what is imported within this is missing."""
    try:
        yield
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install 'dspy-router[plot]'") from error


def new_figure(*, height: float = _HEIGHT) -> tuple[Figure, Axes]:
    """A figure of its own: no pyplot, so that the user's backend and open windows are left alone."""
    with _needed():
        from matplotlib.figure import Figure
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _by_mean(row: tuple[float, Any, int]) -> float:
    return -row[0]


def _short(name: str) -> str:
    return name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…"
