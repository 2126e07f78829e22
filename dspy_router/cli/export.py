"""The command line's export: a folder that decides without torch, and what it changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dspy_router.tables import share, show_table

if TYPE_CHECKING:
    from dspy_router.routing.exporting.export import ExportReport


def export(
    router: Annotated[str, typer.Argument(metavar="ROUTER", help="Folder a router was saved to.")],
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder for the exported router.")],
    quantize: Annotated[
        Literal["int8", "none"], typer.Option(help="8-bit weights, quicker and smaller, or none for float32.")
    ] = "int8",
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Labelled queries to compare on; by default training queries. Repeatable."),
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="The same without labels, as for distill. Repeatable."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(metavar="SHARE", help="Largest share of the decisions that may be lost.")
    ] = 0.02,
    warn: Annotated[
        bool, typer.Option("--warn", help="Export all the same, with a warning, where more is lost.")
    ] = False,
    calibrate_on: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Labelled queries to calibrate what is exported on. Repeatable."),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(metavar="STUDENT", help="Folder of a distilled student, to decide what it is sure of."),
    ] = None,
    agreement: Annotated[
        float, typer.Option(metavar="SHARE", help="Least share of the student's decisions that are the router's own.")
    ] = 0.98,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Export a saved router to a folder that decides without torch, with int8 weights some ten times as quickly."""
    from dspy_router.data.datasets import read_examples, read_texts
    from dspy_router.routing.router import Router

    report = Router.load(router).export(
        folder,
        quantize=None if quantize == "none" else quantize,
        tolerance=tolerance,
        examples=[*read_examples(*data or []), *read_texts(*texts or [])] if data or texts else None,
        above="warn" if warn else "refuse",
        calibrate_on=read_examples(*calibrate_on) if calibrate_on else None,
        student=None if student is None else Router.load(student),
        agreement=agreement,
    )
    if as_json:
        typer.echo(json.dumps(report.to_dict(), ensure_ascii=False))
        return
    show_table(f"Exported as {report.precision}", ("what", "value"), _rows(report))
    typer.echo(f'Next: dspy-router route {folder} "your text", or in Python ExportedRouter.load({folder!r})')


def _rows(report: ExportReport) -> list[tuple[str, str]]:
    rows = [
        ("seconds", f"{report.seconds:.1f}"),
        ("size on disk", f"{report.bytes / 1e6:.1f} MB"),
        ("compared on", f"{report.texts} texts, {report.source}"),
        ("same choice", share(report.agreement)),
        ("largest difference of a probability", f"{report.largest_difference:.1e}"),
    ]
    if report.accuracy is not None:
        rows.append(("right choices, before → after", " → ".join(map(share, report.accuracy))))
    if (found := report.student) is not None:
        rows.append(("decided by the student alone", share(found.decides)))
        asked = f"on {found.texts} texts; at least {share(found.least)} with {share(found.confidence)} confidence"
        rows.append(("of these, as the router would", f"{share(found.agreement)} {asked}"))
    if report.calibration is not None:
        rows.append(("decisions kept after calibrating", share(report.calibration.coverage)))
    return rows
