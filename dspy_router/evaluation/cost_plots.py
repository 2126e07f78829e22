"""Pictures of what choosing costs: tokens by depth and by number of tools, and quality by calls of a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dspy_router.evaluation.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]

_COLOURS = ("#004488", "#bb5566", "#ddaa33", "#228833", "#aa3377", "#66ccee", "#777777", "#332288")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_GREY = "#555555"


def token_growth(
    measured: Mapping[str, Points],
    *,
    computed: Mapping[str, Points] | None = None,
    x_label: str = "tools called for an answer",
    y_label: str = "tokens an answer, prompts and answers",
    log_x: bool = False,
) -> Figure:
    """Tokens that an answer takes, by how deep it is or by how many tools there are; one colour a program.

    The tokens are drawn on a logarithmic scale: a loop over hundreds of tools takes a thousand times what one prompt
    without them does, and both shall be read.

    Args:
        measured: Points (depth or number of tools, tokens > 0) by program, drawn as marks.
        computed: What a cost model says, drawn as lines; a program of the same name has the same colour.
        x_label: What x counts.
        y_label: What y counts.
        log_x: Whether x is logarithmic too.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no point, or one is not above 0.
    """
    lines = dict(computed or {})
    every = [point for series in (measured, lines) for points in series.values() for point in points]
    if not every:
        raise ValueError("There is nothing to draw: expected at least one point (x, tokens) of one of the programs.")
    if (least := min(tokens for _, tokens in every)) <= 0:
        raise ValueError(f"Tokens are drawn on a logarithmic scale and must be above 0; got {least:g}.")
    figure, axes = new_figure()
    names = list(dict.fromkeys([*measured, *lines]))
    for number, name in enumerate(names):
        colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
        if points := lines.get(name, ()):
            axes.plot(*_columns(points), color=colour, linewidth=1.3, label=None if measured.get(name) else name)
        if points := measured.get(name, ()):
            axes.plot(*_columns(points), color=colour, marker=marker, markersize=5, linestyle="none", label=name)
    axes.set_yscale("log")
    if log_x:
        axes.set_xscale("log")
        _plain_ticks(axes, sorted({x for x, _ in every}))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if any(lines.values()) and any(measured.values()):
        axes.set_title("marks: counted at the server; lines: cost model", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    return figure


def quality_by_calls(
    curves: Mapping[str, Points],
    *,
    chosen: Mapping[str, tuple[float, float]] | None = None,
    y_label: str = "right",
) -> Figure:
    """What is right, by the share of the questions that are handed to a language model; one curve a model.

    On the right the model answers everything, on the left the router does.

    Args:
        curves: Points (share of calls in [0, 1], share right in [0, 1]) by model, in order of the calls.
        chosen: The point that a rule fixed beforehand came to, by model, drawn as a mark.
        y_label: What is right.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no point.
    """
    if not any(curves.values()):
        raise ValueError("There is nothing to draw: expected at least one point (calls, right) of one of the models.")
    figure, axes = new_figure()
    for number, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        calls, right = _columns(points)
        axes.plot([100 * x for x in calls], [100 * y for y in right], color=colour, linewidth=1.3, label=name)
        if chosen is not None and name in chosen:
            x, y = chosen[name]
            axes.plot([100 * x], [100 * y], color=colour, marker=_MARKERS[number % len(_MARKERS)], markersize=7)
    axes.set_xlabel("questions handed to the language model, %")
    axes.set_ylabel(f"{y_label}, %")
    axes.set_xlim(-2, 102)
    axes.text(0, 0.02, "router alone", transform=axes.get_xaxis_transform(), fontsize=8, color=_GREY)
    axes.text(100, 0.02, "model alone", transform=axes.get_xaxis_transform(), fontsize=8, color=_GREY, ha="right")
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _plain_ticks(axes: Axes, places: Sequence[float]) -> None:
    """Ticks where something was measured, as plain numbers and not as powers of ten."""
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.minorticks_off()
