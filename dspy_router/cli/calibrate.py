"""The command line's calibrate: make a saved router's confidence mean what it says, and bound its errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dspy_router.tables import share, show_table

if TYPE_CHECKING:
    from dspy_router.routing.trust.report import CalibrationReport
    from dspy_router.runtime.certificate import Certificate

_HEADS = ("decisions", "risk at most", "confidence", "kept", "wrong among them", "if nothing is kept")


class Seen(StrEnum):
    """What to do with examples that the router was trained on."""

    REFUSE = "refuse"
    DROP = "drop"


def calibrate(
    router: Annotated[str, typer.Argument(metavar="ROUTER", help="Folder a router was saved to; it is saved there.")],
    data: Annotated[
        list[str],
        typer.Option(metavar="FILE", help='Labelled queries, one {"query", "tool"} object a line; repeatable.'),
    ],
    max_risk: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Accept no more than this share of wrong decisions: 0.02.")
    ] = None,
    confidence: Annotated[float, typer.Option(metavar="SHARE", help="Probability that the bounds hold.")] = 0.95,
    per_tool: Annotated[
        list[str] | None, typer.Option(metavar="NAME=SHARE", help="A stricter bound for one tool; repeatable.")
    ] = None,
    costs: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="WRONG CALL", help="Accept what is cheapest: cost of a wrong tool, and of an LM call."),
    ] = None,
    lm_errors: Annotated[float, typer.Option(metavar="SHARE", help="With --costs: how often the LM is wrong.")] = 0.0,
    seen: Annotated[Seen, typer.Option(help="Queries that it was trained on: refuse them all, or drop those.")] = (
        Seen.REFUSE
    ),
    plots: Annotated[str | None, typer.Option(metavar="FOLDER", help="Draw reliability and risk by coverage.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Calibrate a router on labelled queries that it was not trained on, and save it."""
    from dspy_router.data.datasets import read_examples
    from dspy_router.evaluation.plots import check_format
    from dspy_router.routing.router import Router

    if plots is not None:
        check_format("png")  # before anything is changed
    loaded = Router.load(router)
    report = loaded.calibrate(
        read_examples(*data),
        max_risk=max_risk,
        confidence=confidence,
        per_tool=dict(map(_read_bound, per_tool or ())),
        costs=None if costs is None else (*costs, lm_errors),
        seen=seen.value,
    )
    loaded.save(router)
    files = _draw(report, Path(plots)) if plots is not None else []
    if as_json:
        typer.echo(json.dumps({**report.to_dict(), "files": list(map(str, files))}, ensure_ascii=False))
        return
    _show(report)
    for file in files:
        typer.echo(f"Drew {file}.")
    typer.echo(f"Saved the calibrated router to {router}.")


def _read_bound(text: str) -> tuple[str, float]:
    name, equals, risk = text.rpartition("=")
    try:
        if equals and name:
            return name, float(risk)
    except ValueError:
        pass
    raise ValueError(f"--per-tool takes NAME=SHARE, such as transfer_money=0.005; got '{text}'.")


def _draw(report: CalibrationReport, folder: Path) -> list[Path]:
    from dspy_router.evaluation.calibration_plots import reliability_diagram, risk_coverage_curve
    from dspy_router.evaluation.plots import save

    kept = None if report.wrong_kept is None else (report.coverage, report.wrong_kept)
    bounds = {_kind(one): one.max_risk for one in report.certificates}
    before_and_after = {"before": report.before.bins, "after": report.after.bins}
    figures = {
        "reliability.png": reliability_diagram(before_and_after),
        "risk_coverage.png": risk_coverage_curve(report.curve, kept=kept, bounds=bounds),
    }
    return [save(figure, folder / name) for name, figure in figures.items()]


def _show(report: CalibrationReport) -> None:
    left_out = f" ({report.dropped} that it was trained on left out)" if report.dropped else ""
    rows = [
        ("examples", f"{report.examples}{left_out}"),
        ("accuracy", share(report.accuracy)),
        ("picked", report.method),
        ("calibration error", _change(report.before.calibration_error, report.after.calibration_error)),
        ("Brier score", f"{report.before.brier:.4f} → {report.after.brier:.4f}"),
        ("log-loss", f"{report.before.log_loss:.4f} → {report.after.log_loss:.4f}"),
        *(
            (f"right tool among the first {k}", f"{share(one.share)}, at least {share(one.at_least)}")
            for k, one in report.recall.items()
        ),
        ("accepted", share(report.coverage)),
        ("wrong among the accepted", share(report.wrong_kept)),
    ]
    if report.costs is not None:
        rows += [
            ("expected cost of a decision", f"{report.costs.expected:.4g}"),
            ("… always asking the LM", f"{report.costs.always_asking:.4g}"),
            ("… never asking it", f"{report.costs.never_asking:.4g}"),
        ]
    show_table("Calibration (held out)", ("what", "value"), rows)
    if report.certificates:
        certified = f"Certified, all of it with confidence {report.confidence:g}"
        show_table(certified, _HEADS, _certificates(report.certificates))


def _certificates(certificates: Sequence[Certificate]) -> list[tuple[str, ...]]:
    return [
        (
            _kind(one),
            f"{100 * one.max_risk:g} %",
            f"{one.confidence:.4g}",
            f"{one.kept} of {one.examples}",
            str(one.wrong) if one.certified else "–",
            "" if one.certified else _missing(one),
        )
        for one in certificates
    ]


def _kind(certificate: Certificate) -> str:
    return "all others" if certificate.tool is None else certificate.tool


def _missing(certificate: Certificate) -> str:
    if certificate.more_examples is None:
        return "too many errors for any number of examples"
    return f"about {certificate.more_examples} more examples are needed"


def _change(before: float, after: float) -> str:
    return f"{share(before)} → {share(after)}"
