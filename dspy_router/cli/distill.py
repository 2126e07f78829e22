"""The command line's distill: a student that decides as a router does, in microseconds."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from dspy_router.tables import share, show_table


def distill(
    router: Annotated[str, typer.Argument(metavar="ROUTER", help="Folder of the teacher.")],
    texts: Annotated[
        list[str],
        typer.Argument(metavar="TEXTS...", help='Unlabelled texts: a text a line, or .jsonl with a "query" a line.'),
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder for the student.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="How to distill: epochs=20; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Train a small, quick student on what a router makes of unlabelled texts."""
    from dspy_router.config import apply_overrides, parse
    from dspy_router.data.datasets import read_texts
    from dspy_router.learning.distillation import DistillConfig
    from dspy_router.learning.distillation import distill as teach
    from dspy_router.routing.router import Router

    settings = parse(DistillConfig, apply_overrides({}, changes or []), where="--set")
    student, report = teach(Router.load(router), read_texts(*texts), config=settings)
    student.save(out)
    if as_json:
        typer.echo(json.dumps({**report.to_dict(), "output": out}, ensure_ascii=False))
        return
    rows = [
        ("texts trained on", report.texts),
        ("texts held out", report.held_out),
        ("chooses as its teacher does", "–" if report.agreement is None else share(report.agreement)),
        ("size on disk", f"{report.bytes / 1e6:.1f} MB"),
        ("seconds", f"{report.seconds:.1f}, {report.teacher_seconds:.1f} of them the teacher's"),
    ]
    show_table("Student", ("what", "value"), rows)
    behind = f"dspy-router export {router} DIR --student {out} --texts FRESH"
    typer.echo(
        f'Saved the student to {out}. Next: dspy-router route {out} "your text", or, to keep its teacher for what'
    )
    typer.echo(f"it is unsure of: {behind}")
