"""What a run of several benchmarks ends with: its targets in one table, a page of Markdown, and pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from benchmarks.contenders import OURS
from benchmarks.figures import Figure, show
from benchmarks.setting import Setting
from benchmarks.speed_plots import Point, bars, latency_accuracy, latency_tools
from benchmarks.speed_table import (
    ACCURACY,
    COLUMNS,
    MEMORY,
    P50,
    P95,
    RATE,
    START,
    by_candidate,
    caption,
    cells,
    is_ours,
    ordered,
)

SPEED, MANY_TOOLS = "speed", "many_tools"
PAGE = "bench.md"
_AMONG = re.compile(r"decide among ([\d,]+) tools")
_TARGETS = ("what", "measured", "target", "", "beside it, same run", "how")
Measured = Mapping[str, Sequence[Figure]]


def targets_table(measured: Measured, setting: Setting) -> Table:
    """The figures that had a target, all benchmarks in one table."""
    result = Table(box=box.SIMPLE_HEAD, title_justify="left")
    result.title = Text("What was to be reached", style="bold")
    for column in _TARGETS:
        result.add_column(column, overflow="fold")
    for row in _target_rows(measured, setting):
        reached = row[3]
        result.add_row(*row[:3], Text(reached, style="green" if reached == "reached" else "red"), *row[4:])
    return result


def write_page(measured: Measured, setting: Setting) -> Path:
    """The table of all that decide, and the targets, as Markdown in the folder for results."""
    lines = []
    if figures := measured.get(SPEED):
        rows = by_candidate(figures)
        table = [cells(name, row, rows, setting.command(SPEED, row[P50].data)) for name, row in ordered(rows)]
        lines += [*_markdown(COLUMNS, table), "", *(f"{line}  " for line in caption(figures, setting).splitlines()), ""]
    lines += _markdown(_TARGETS, list(_target_rows(measured, setting)))
    path = setting.out / PAGE
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def draw(measured: Measured, folder: Path) -> list[Path]:
    """Draw what was measured into PNGs.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    pictures = {}
    if rows := dict(ordered(by_candidate(measured.get(SPEED, ())))):
        points = {
            name: Point(row[P50].value, row[P95].value, row[ACCURACY].value, _interval(row[ACCURACY]), is_ours(name))
            for name, row in rows.items()
        }
        first = next(iter(rows.values()))[P50]
        pictures["latency_accuracy"] = latency_accuracy(
            points, title=f"{first.data}, {first.split}, same queries for all"
        )
        for name, what, x_label, form in (
            ("throughput", RATE, "decisions a second, texts given all at once", ",.0f"),
            ("memory", MEMORY, "most megabytes resident, a fresh process", ",.0f"),
            ("cold_start", START, "seconds from starting the process to the first decision", ".2f"),
        ):
            values = {name: row[what].value for name, row in rows.items()}
            pictures[name] = bars(values, ours=OURS, x_label=x_label, form=form, log=what == RATE)
    if series := by_tools(measured.get(MANY_TOOLS, ())):
        pictures["latency_tools"] = latency_tools(series, ours=[next(iter(series))])
    paths = []
    for name, picture in pictures.items():
        paths.append(folder / f"{name}.png")
        picture.savefig(paths[-1], dpi=160)
    return paths


def by_tools(figures: Sequence[Figure]) -> dict[str, list[tuple[float, float]]]:
    """Points (number of tools, milliseconds) of our decision first, then of what was beside it."""
    series: dict[str, list[tuple[float, float]]] = {}
    for figure in figures:
        found = _AMONG.match(figure.what)
        if found is None or figure.unit != "milliseconds":
            continue
        tools = float(found[1].replace(",", ""))
        for name, value in {"dspy-router": figure.value, **figure.baselines}.items():
            series.setdefault(name, []).append((tools, value))
    return {name: sorted(points) for name, points in series.items()}


def _target_rows(measured: Measured, setting: Setting) -> Iterator[list[str]]:
    for name, figures in measured.items():
        for figure in figures:
            if figure.target is None:
                continue
            beside = "; ".join(f"{show(value, figure.unit)} {what}" for what, value in figure.baselines.items())
            yield [
                f"{name}: {figure.data}: {figure.what}",
                figure.measured.replace("\n", " "),
                figure.wanted,
                "reached" if figure.reached else "MISSED",
                beside or "–",
                setting.command(name, figure.data),
            ]


def _interval(figure: Figure) -> tuple[float, float]:
    return figure.interval if figure.interval is not None else (figure.value, figure.value)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(cell.replace('|', '¦') for cell in row)} |" for row in rows),
    ]
