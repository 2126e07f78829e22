"""The command line's compare: programs side by side on the user's own examples, as a configuration says."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from dspy_router.cli.finding import find_function
from dspy_router.tables import show_comparison

_INTERRUPTED = 130  # as shells count a process that Ctrl-C has ended


def compare(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file such as configs/compare.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Replace values: max_usd=2 data.first=50")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Hold programs against each other: quality, language model calls, tokens, dollars and latency."""
    from dspy_router.program.comparing.settings import load_comparison

    run = load_comparison(config, overrides or [])
    makers = [find_function(one.make, f"the program '{one.name}'") for one in run.programs]
    metric = find_function(run.metric, "metric")
    from dspy_router.program.comparing.reporting import run_comparison

    done = run_comparison(run, makers, metric)
    if as_json:
        typer.echo(json.dumps(done.to_dict(), ensure_ascii=False))
    else:
        show_comparison(done.comparison)
        typer.echo(f"Wrote {', '.join(str(path) for path in done.files)}.")
    stopped = done.comparison.stopped
    if stopped is not None:
        done_runs, all_runs = len(done.comparison.runs), done.comparison.examples * len(run.programs)
        typer.echo(
            f"Stopped after {done_runs} of {all_runs} runs: {stopped}. The same command goes on from there.", err=True
        )
    if stopped == "interrupted":
        raise typer.Exit(_INTERRUPTED)
