"""The command line: python -m benchmarks [NAME …] [--on DATA] [--data FOLDER] [--config FILE] [--quick]."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.figures import Benchmark, Figure
from benchmarks.registry import BENCHMARKS
from benchmarks.report import append, console, table
from benchmarks.setting import Setting, ZeroShotConfig, check_data
from benchmarks.speed_table import speed_table
from benchmarks.summary import draw, targets_table, write_page
from dspy_router.config import parse, read_yaml

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help=f"{', '.join(BENCHMARKS)}; without one, all.")
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder of the datasets.")] = Path("../shared/data"),
    out: Annotated[Path, typer.Option(help="Folder for JSON lines and cached vectors.")] = Path("out/bench"),
    on: Annotated[
        list[str] | None, typer.Option(metavar="DATASET", help="Only this dataset: clinc150, toole, bfcl; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of training and of draws.")] = 0,
    config: Annotated[Path | None, typer.Option(help="YAML of the untrained policy that zeroshot measures.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small slices, to see that all runs; no results.")] = False,
    show_all: Annotated[bool, typer.Option("--list", help="List the benchmarks and their targets.")] = False,
) -> None:
    """Measure the router beside its baselines."""
    if show_all:
        for benchmark in BENCHMARKS.values():
            typer.echo(f"{benchmark.command}\n    {benchmark.about}\n    target: {benchmark.target}")
        return
    try:
        where = str(config)
        zeroshot = ZeroShotConfig() if config is None else parse(ZeroShotConfig, read_yaml(config), where=where)
        setting = Setting(data, out, quick, seed, on or None, zeroshot)
        _run(names or list(BENCHMARKS), setting)
    except (ValueError, FileNotFoundError, ImportError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error


def _run(names: list[str], setting: Setting) -> None:
    chosen = [_find(name) for name in names]
    datasets = {name for benchmark in BENCHMARKS.values() for name in benchmark.needs} | {"demo"}
    for name in setting.on or ():
        if name not in datasets:
            raise ValueError(f"There is no dataset '{name}'; --on takes one of {', '.join(sorted(datasets))}.")
    needed = {path for b in chosen for name, paths in b.needs.items() if setting.wants(name) for path in paths}
    check_data(setting.data, sorted(needed))
    screen = console()
    measured: dict[str, list[Figure]] = {}
    for benchmark in chosen:
        figures = measured.setdefault(benchmark.name, [])
        for figure in benchmark.run(setting):
            append(benchmark, figure, setting)
            figures.append(figure)
            screen.log(f"{benchmark.name}: {figure.data}: {figure.what}: {figure.measured.replace(chr(10), ' ')}")
        if figures:
            screen.print((benchmark.shown or table)(benchmark, figures, setting))
    if "speed" in measured and any(measured.values()):
        _finish(measured, setting, screen)


def _finish(measured: Mapping[str, list[Figure]], setting: Setting, screen: Console) -> None:
    """End a run that compares speed: one table of all that decide, the targets, a page and pictures."""
    if len(measured) > 1:
        if measured["speed"]:
            screen.print(speed_table(BENCHMARKS["speed"], measured["speed"], setting))
        screen.print(targets_table(measured, setting))
    paths = [write_page(measured, setting), *draw(measured, setting.out)]
    screen.log(f"Written: {', '.join(map(str, paths))}")


def _find(name: str) -> Benchmark:
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    nearest = difflib.get_close_matches(name, BENCHMARKS, n=1)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    raise ValueError(f"There is no benchmark '{name}'; there are {', '.join(BENCHMARKS)}.{hint}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to tell everything
    app()
