"""Figures as a table for a reader and as JSON lines for a program."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.figures import Benchmark, Figure, show
from benchmarks.setting import Setting

_WIDTH = 160  # where nobody looks on, as in a log file
_PACKAGES = ("dspy-router", "torch", "sentence-transformers", "scikit-learn")


def append(benchmark: Benchmark, figure: Figure, setting: Setting) -> None:
    """Append a figure to `<out>/<name>.jsonl` at once, so that a killed run loses no measured one."""
    setting.out.mkdir(parents=True, exist_ok=True)
    row = {
        "benchmark": benchmark.name,
        **figure.to_dict(),
        "seed": setting.seed,
        "quick": setting.quick,
        "command": setting.command(benchmark.name, figure.data),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "versions": {name: version(name) for name in _PACKAGES},
    }
    with (setting.out / f"{benchmark.name}.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def table(benchmark: Benchmark, figures: Sequence[Figure], setting: Setting) -> Table:
    """The figures of a benchmark, one a row."""
    result = Table(box=box.SIMPLE_HEAD, show_lines=True, title_justify="left", caption_justify="left")
    result.title = Text(f"{benchmark.name}: {benchmark.about}", style="bold")
    if setting.quick:
        result.caption = Text("--quick: small slices; these are no results.")
    for column in ("what", "measured", "target", "beside it, same run", "how"):
        result.add_column(column, overflow="fold")
    for figure in figures:
        beside = "\n".join(f"{show(value, figure.unit)}  {name}" for name, value in figure.baselines.items())
        size = f", n {figure.n}" if figure.n is not None else ""
        how = f"{figure.split}{size}, seed {setting.seed}\n{setting.command(benchmark.name, figure.data)}"
        what = f"{figure.data}: {figure.what}" + (f"\n({figure.note})" if figure.note else "")
        wanted = Text(figure.wanted)
        if figure.reached is not None and not setting.quick:
            wanted.append("\nreached" if figure.reached else "\nMISSED", style="green" if figure.reached else "red")
        result.add_row(Text(what), Text(figure.measured), wanted, Text(beside or "–"), Text(how))
    return result


def console() -> Console:
    """Standard output, wide where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH, log_path=False)
