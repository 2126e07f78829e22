"""Pictures of speed: accuracy by latency, latency by number of tools, and bars of throughput, memory and cold start."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

from dspy_router.evaluation.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

_OURS, _PEER, _GREY = "#004488", "#8a8a8a", "#555555"
_ROW = 0.34  # inches of a bar
_LINE = 30  # characters of a label's line
_BLANK = {"facecolor": "white", "edgecolor": "none", "pad": 1}
_GAPS = (7, 17, 30)  # points between a mark and its label; from the second on a line leads there
# Where a label may stand, from the best place on: as (x, y, horizontal, vertical alignment).
_PLACES = (
    (1, 0, "left", "center"),
    (-1, 0, "right", "center"),
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
    (0.7, 0.9, "left", "bottom"),
    (0.7, -0.9, "left", "top"),
    (-0.7, 0.9, "right", "bottom"),
    (-0.7, -0.9, "right", "top"),
)


class Point(NamedTuple):
    """One that decides: median and 95th percentile in milliseconds, share right with its interval, and whose it is."""

    p50: float
    p95: float
    right: float
    interval: tuple[float, float]
    ours: bool


def latency_accuracy(points: Mapping[str, Point], *, title: str = "") -> Figure:
    """How right each is by how long it takes; up and to the left is better.

    Marks stand at the median, thin lines run to the 95th percentile and over the 95 % interval of the accuracy.

    Args:
        points: What was measured, by name.
        title: Stands above.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no point.
    """
    if not points:
        raise ValueError("There is nothing to draw: expected at least one candidate that was timed.")
    figure, axes = new_figure(height=4.8)
    axes.set_xscale("log")
    for label, ours in (("dspy-router", True), ("peers", False)):
        axes.plot([], [], linestyle="none", marker="o" if ours else "s", color=_colour(ours), label=label)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    for one in points.values():
        colour, low, high = _colour(one.ours), *one.interval
        axes.plot([one.p50, one.p95], [100 * one.right] * 2, color=colour, linewidth=0.9, alpha=0.6, zorder=2)
        axes.plot([one.p50] * 2, [100 * low, 100 * high], color=colour, linewidth=0.9, alpha=0.6, zorder=2)
        marker = "o" if one.ours else "s"
        axes.plot([one.p50], [100 * one.right], marker=marker, markersize=8 if one.ours else 6, color=colour, zorder=3)
    axes.margins(x=0.16, y=0.12)
    _plain_milliseconds(axes)
    axes.set_xlabel("milliseconds from text to decision, median (line: to the 95th percentile)")
    axes.set_ylabel("right tool, % (line: 95 % interval)")
    if title:
        axes.set_title(title, fontsize=9, color=_GREY, loc="left")
    axes.grid(visible=True, which="major", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    _label(figure, axes, points)
    return figure


def latency_tools(series: Mapping[str, Sequence[tuple[float, float]]], *, ours: Sequence[str] = ()) -> Figure:
    """How long a decision takes by the number of tools, both logarithmic; one line a way to search.

    Args:
        series: Points (number of tools, milliseconds) by the way.
        ours: Which of them are drawn as ours.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no point.
    """
    if not any(series.values()):
        raise ValueError("There is nothing to draw: expected at least one point (tools, milliseconds).")
    figure, axes = new_figure()
    axes.set_xscale("log")
    axes.set_yscale("log")
    for number, (name, points) in enumerate(series.items()):
        xs, ys = [x for x, _ in points], [y for _, y in points]
        style, width = ("-", 2.0) if name in ours else (("--", "-.", ":")[number % 3], 1.2)
        axes.plot(xs, ys, style, marker="o", markersize=4, linewidth=width, color=_colour(name in ours), label=name)
    ticks = sorted({x for points in series.values() for x, _ in points})
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
    values = sorted({y for points in series.values() for _, y in points})
    steps = [step for step in (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000) if values[0] / 3 <= step <= values[-1] * 3]
    axes.set_yticks(steps, [f"{step:g}" for step in steps])
    axes.set_xlabel("tools")
    axes.set_ylabel("milliseconds a decision, median, vector known beforehand")
    axes.legend(frameon=False, fontsize=8)
    return figure


def bars(values: Mapping[str, float], *, ours: Sequence[str], x_label: str, form: str, log: bool = False) -> Figure:
    """One bar each, in the order given from the top down, with its value at its end; points where x is logarithmic.

    Args:
        values: By name, above 0.
        ours: Which are drawn as ours.
        x_label: What the values are.
        form: How a value is written, as `format` takes it: `",.0f"`.
        log: Whether x is logarithmic; a bar's length would say nothing there.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no value.
    """
    if not values:
        raise ValueError("There is nothing to draw: expected at least one value.")
    figure, axes = new_figure(height=0.9 + _ROW * len(values))
    names = list(values)[::-1]
    colours = [_colour(name in ours) for name in names]
    if log:
        low, high = min(values.values()) / 3, max(values.values()) * 3
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.hlines(range(len(names)), low, high, color="#e6e6e6", linewidth=0.8)
        axes.scatter([values[name] for name in names], range(len(names)), color=colours, s=50, zorder=3)
        steps = [10.0**power for power in range(-3, 8) if low <= 10.0**power <= high]
        axes.set_xticks(steps, [f"{step:,g}" for step in steps])
        axes.minorticks_off()
    else:
        axes.barh(range(len(names)), [values[name] for name in names], color=colours, height=0.62)
        axes.margins(x=0.14)
    axes.set_yticks(range(len(names)), [fill(name, _LINE) for name in names])
    for row, name in enumerate(names):
        axes.annotate(
            format(values[name], form),
            (values[name], row),
            (7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox=_BLANK,
        )
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_color(_OURS if name in ours else "black")
        label.set_fontweight("bold" if name in ours else "normal")
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set_xlabel(x_label)
    return figure


def _colour(ours: bool) -> str:
    return _OURS if ours else _PEER


def _plain_milliseconds(axes: Axes) -> None:
    """0.1 and 10, not 10⁻¹ and 10¹."""
    low, high = axes.get_xlim()
    steps = [step for step in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000) if low <= step <= high]
    axes.set_xticks(steps, [f"{step:g}" for step in steps])
    axes.minorticks_off()
    axes.set_xlim(low, high)


def _label(figure: Figure, axes: Axes, points: Mapping[str, Point]) -> None:
    """Write each name beside its mark, where it covers the least of other names, marks and the frame."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # places are known once the layout is
    renderer = canvas.get_renderer()
    taken: list[Bbox] = []
    for one in points.values():
        x, y = axes.transData.transform((one.p50, 100 * one.right))
        taken.append(Bbox.from_extents(x - 6, y - 6, x + 6, y + 6))
        (left, low), (right, high) = axes.transData.transform(
            [(one.p50, 100 * one.interval[0]), (one.p95, 100 * one.interval[1])]
        )
        taken += [Bbox.from_extents(left, y - 1, right, y + 1), Bbox.from_extents(x - 1, low, x + 1, high)]
    frame = axes.get_window_extent(renderer)
    for name, one in points.items():
        tries: list[tuple[float, Annotation]] = []
        for gap, (x, y, across, along) in itertools.product(_GAPS, _PLACES):
            note = axes.annotate(
                fill(name, _LINE),
                (one.p50, 100 * one.right),
                (gap * x, gap * y),
                textcoords="offset points",
                ha=across,
                va=along,
                fontsize=9 if one.ours else 8,
                color=_OURS if one.ours else _GREY,
                weight="bold" if one.ours else "normal",
                linespacing=1.05,
                zorder=4,
            )
            tries.append((_covered(note.get_window_extent(renderer), taken, frame) + gap, note))
        best = min(range(len(tries)), key=lambda number: tries[number][0])
        for number, (_, note) in enumerate(tries):
            if number != best:
                note.remove()
        chosen = tries[best][1]
        taken.append(chosen.get_window_extent(renderer))
        if best >= len(_PLACES):
            line = {"arrowstyle": "-", "color": _colour(one.ours), "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4}
            axes.annotate(
                "", (one.p50, 100 * one.right), chosen.get_position(), textcoords="offset points", arrowprops=line
            )


def _covered(box: Bbox, taken: Sequence[Bbox], frame: Bbox) -> float:
    """The area of a label that lies on something else, and ten times what of it lies outside."""
    from matplotlib.transforms import Bbox

    inside = Bbox.intersection(box, frame)
    outside = box.width * box.height - (inside.width * inside.height if inside is not None else 0.0)
    covered = 0.0
    for other in taken:
        both = Bbox.intersection(box, other)
        covered += both.width * both.height if both is not None else 0.0
    return covered + 10 * outside
