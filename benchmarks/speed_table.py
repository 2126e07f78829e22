"""One row for each that decides: how right, how fast, how much at once, how large, how soon there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from benchmarks.contenders import INT8, OURS, SEMANTIC, STUDENT
from benchmarks.figures import Benchmark, Figure, show
from benchmarks.setting import Setting

ACCURACY, P50, P95 = "accuracy", "decide, p50", "decide, p95"
RATE, MEMORY, START = "decisions given at once", "most megabytes resident", "cold start to the first decision"
MEASURES = (ACCURACY, P50, P95, RATE, MEMORY, START)
COLUMNS = ("what decides", "right (95 %)", "p50", "p95", "÷ int8", "÷ student", "at once", "resident", "start", "how")
_WIDE = {"what decides": 27, "how": 27}

Row = Mapping[str, Figure]


def by_candidate(figures: Iterable[Figure]) -> dict[str, dict[str, Figure]]:
    """The figures of each that decides, by what was measured; figures of more than one of them are left out."""
    rows: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        name, _, measure = figure.what.rpartition(": ")
        if measure in MEASURES:
            rows.setdefault(name, {})[measure] = figure
    return rows


def cells(name: str, row: Row, rows: Mapping[str, Row], command: str) -> list[str]:
    """One line of the table, a cell a column."""
    right = row[ACCURACY].measured.replace("\n", " ")
    mine = row[P50].value
    ratios = [f"{mine / rows[other][P50].value:.1f} ×" if other in rows else "–" for other in (INT8, STUDENT)]
    return [
        name,
        right,
        *(_milliseconds(row[what].value) for what in (P50, P95)),
        *ratios,
        show(row[RATE].value, "per second"),
        f"{row[MEMORY].value:,.0f} MB",
        show(row[START].value, "seconds"),
        command,
    ]


def speed_table(benchmark: Benchmark, figures: Sequence[Figure], setting: Setting) -> Table:
    """Ours first, each group by its median time; the figures of two below."""
    rows = by_candidate(figures)
    result = Table(box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    result.title = Text(f"{benchmark.name}: {benchmark.about}", style="bold")
    result.caption = Text(caption(figures, setting))
    for column in COLUMNS:
        justify = "left" if column in (*COLUMNS[:2], COLUMNS[-1]) else "right"
        result.add_column(column, min_width=_WIDE.get(column), no_wrap=column not in _WIDE, justify=justify)
    for name, row in ordered(rows):
        command = setting.command(benchmark.name, row[P50].data)
        result.add_row(*cells(name, row, rows, command), style="bold" if is_ours(name) else None)
    return result


def ordered(rows: Mapping[str, Row]) -> list[tuple[str, Row]]:
    """Ours first, each group by its median time; without what was not timed."""
    timed = [(name, row) for name, row in rows.items() if set(MEASURES) <= set(row)]
    return sorted(timed, key=lambda one: (not is_ours(one[0]), one[1][P50].value))


def is_ours(name: str) -> bool:
    """Whether a candidate is this package's."""
    return name in OURS


def caption(figures: Sequence[Figure], setting: Setting) -> str:
    """What a reader must know, and the figures that are of two."""
    rows = by_candidate(figures)
    known = {id(figure) for row in rows.values() for figure in row.values()}
    lines = ["--quick: small slices; these are no results."] if setting.quick else []
    for figure in figures:
        if id(figure) not in known:
            reached = "" if figure.reached is None or setting.quick else (" reached" if figure.reached else " MISSED")
            wanted = "" if figure.target is None else f" (wanted {figure.wanted}{reached})"
            lines.append(f"{figure.what}: {figure.measured}{wanted}".replace("\n", " "))
    timed = next((row[P50] for row in rows.values() if P50 in row), None)
    if timed is not None:
        load = timed.note.rpartition("; ")[2]
        lines.append(f"{timed.data}, {timed.split}, {timed.n} timings each, seed {setting.seed}; {load}.")
    if rows and SEMANTIC not in rows:
        lines.append("Without semantic-router, which is not installed: pip install semantic-router")
    return "\n".join(lines)


def _milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value >= 0.1 else f"{value:.3f} ms"
