"""The command line's learn and rollback: a challenger from the decision log, and the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dspy_router.tables import share, show_table

if TYPE_CHECKING:
    from dspy_router.learning.loop import LearnReport
    from dspy_router.learning.versions import Versions

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


def learn(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="The decision log.")],
    router: Annotated[str, typer.Option(metavar="DIR", help="Folder of the router in use.")],
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Labelled queries to train on as well, such as those of the first training."),
    ] = None,
    max_risk: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Guarantee to certify anew; by default that of the router in use."),
    ] = None,
    confidence: Annotated[float, typer.Option(metavar="SHARE", help="Of the guarantee, and of the intervals.")] = 0.95,
    margin: Annotated[
        float, typer.Option(help="How much worse the challenger may be at the lower end of an interval.")
    ] = 0.01,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Learn and judge, and leave the router in use.")] = False,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="How to train: epochs=30 seed=1")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Learn from the decision log, and take over what has learned if nothing gets worse."""
    from dspy_router.config import apply_overrides, parse
    from dspy_router.data.datasets import read_examples
    from dspy_router.data.log_reader import LogReader
    from dspy_router.learning.loop import LoopConfig
    from dspy_router.learning.loop import learn as learn_from
    from dspy_router.learning.settings import TrainConfig
    from dspy_router.learning.versions import Versions
    from dspy_router.routing.router import Router

    champion, reader = Router.load(router), LogReader.open(log)
    settings = LoopConfig(max_risk=max_risk, confidence=confidence, margin=margin)
    train = parse(TrainConfig, apply_overrides({}, overrides or []), where="the arguments")
    known = read_examples(*data) if data else []
    challenger, report = learn_from(champion, reader.episodes(), known=known, train=train, config=settings)
    number = None
    if report.promote and not dry_run:
        number = Versions(router).promote(challenger, report=report.to_dict(), note=f"learned from {log.name}").number
    if as_json:
        typer.echo(json.dumps({**report.to_dict(), "version": number}, ensure_ascii=False))
        return
    _show(report)
    if number is not None:
        typer.echo(f"The challenger is in {router} now, as version {number}. Back: dspy-router rollback {router}")
    elif report.promote:
        typer.echo(f"The challenger would take over; {router} was left as it is.")
    else:
        typer.echo(f"{router} stays as it is.")


def rollback(
    router: Annotated[str, typer.Argument(metavar="DIR", help="Folder of the router in use.")],
    to: Annotated[int | None, typer.Option(metavar="N", help="The version; by default the one before.")] = None,
    show: Annotated[bool, typer.Option("--list", help="Only list the versions.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put an earlier version of a router to use again."""
    from dspy_router.learning.versions import Versions

    versions = Versions(router)
    if show:
        _list(versions, as_json=as_json)
        return
    version = versions.rollback(to)
    if as_json:
        typer.echo(json.dumps({"version": version.number, "fingerprint": version.fingerprint}))
        return
    typer.echo(f"{router} is version {version.number} again, of {version.created} ({version.note}).")


def _show(report: LearnReport) -> None:
    rows: list[tuple[str, Any]] = [("decisions with a label", report.labels), ("… with a reward", report.rewards)]
    if report.training is not None:
        rows.append(("examples trained on", report.training.examples))
    if report.calibration is not None:
        rows += [
            ("calibrated on", report.calibration.examples),
            ("accepted from now on", share(report.calibration.coverage)),
        ]
    rows.append(("seconds", f"{report.seconds:.1f}"))
    show_table("Learned from the log", ("what", "value"), rows)
    if report.comparisons:
        lines = [
            (
                one.on,
                one.n,
                _or_dash(one.champion),
                _or_dash(one.challenger),
                f"{one.difference:+.4f}",
                f"{one.low:+.4f} to {one.high:+.4f}",
            )
            for one in report.comparisons
        ]
        columns = ("by", "decisions", "champion", "challenger", "difference", "interval")
        show_table("Challenger against champion", columns, lines)
    for reason in () if report.promote else report.reasons:
        typer.echo(reason)


def _list(versions: Versions, *, as_json: bool) -> None:
    every, current = versions.all, versions.current
    if as_json:
        found = [{"number": one.number, "created": one.created, "note": one.note} for one in every]
        typer.echo(json.dumps({"current": current, "versions": found}, ensure_ascii=False))
        return
    rows = [(one.number, one.created, one.note, "in use" if one.number == current else "") for one in every]
    show_table(f"Versions of {versions.folder}", ("version", "created", "from", ""), rows)


def _or_dash(value: float | None) -> str:
    return "–" if value is None else share(value)
