"""Pictures of a calibration: how far confidence is right, and what share can be kept at which risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dspy_router.evaluation.plots import new_figure
from dspy_router.reliability import Bin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = ("#bb5566", "#004488", "#ddaa33")
_GREY = "#555555"
_DASHES = ("--", "-.", ":")


def reliability_diagram(series: Mapping[str, Sequence[Bin]]) -> Figure:
    """Share that was right by confidence, one line a series; on the diagonal a confidence means what it says.

    Args:
        series: Bins by the series' name, such as `{"before": …, "after": …}`.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no bin.
    """
    if not any(series.values()):
        raise ValueError("There is nothing to draw: expected at least one bin in one of the series.")
    figure, axes = new_figure()
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
    for number, (name, bins) in enumerate(series.items()):
        colour = _LINES[number % len(_LINES)]
        confidence, right = [one.confidence for one in bins], [one.right for one in bins]
        axes.plot(confidence, right, label=name, color=colour, marker="o", markersize=4)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that was right")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    most = max(sum(one.size for one in bins) for bins in series.values())
    axes.set_title(f"n = {most}, bins of equal mass", fontsize=9)
    axes.legend(frameon=False)
    return figure


def risk_coverage_curve(
    curve: Sequence[tuple[float, float]],
    *,
    kept: tuple[float, float] | None = None,
    bounds: Mapping[str, float] | None = None,
) -> Figure:
    """Share of wrong decisions among the kept ones, by the share that is kept.

    Args:
        curve: Points of coverage and risk.
        kept: Coverage and risk of what is accepted, as a point.
        bounds: Risks to show as broken lines, by what they bound.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no point.
    """
    if not curve:
        raise ValueError("There is nothing to draw: expected at least one point of coverage and risk.")
    figure, axes = new_figure()
    axes.plot([100 * x for x, _ in curve], [100 * y for _, y in curve], color=_LINES[1], drawstyle="steps-post")
    for number, (name, risk) in enumerate((bounds or {}).items()):
        style = _DASHES[number % len(_DASHES)]
        axes.axhline(100 * risk, color=_GREY, linewidth=1, linestyle=style, label=f"{name}: at most {100 * risk:g} %")
    if kept is not None:
        coverage, risk = kept
        axes.plot([100 * coverage], [100 * risk], "o", color=_LINES[0], label=f"accepted: {100 * coverage:.1f} %")
    axes.set_xlabel("kept, % of the decisions")
    axes.set_ylabel("wrong among the kept, %")
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    return figure
