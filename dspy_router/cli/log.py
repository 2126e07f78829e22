"""The command line on a decision log: dspy-router log stats | tail | export | label | reward | drift."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dspy_router.tables import share, show_table

if TYPE_CHECKING:
    from dspy_router.data.log import DecisionLog
    from dspy_router.data.log_reader import LogReader
    from dspy_router.data.store.reader import Logged

_LONGEST_QUERY = 60
_DRIFTED = 3
_SUBJECTS = {
    "risk": "errors among kept decisions",
    "escalated": "share handed over",
    "confidence": "rank of the confidence",
}

log_app = typer.Typer(no_args_is_help=True, help="Look into a decision log, and join rewards and labels to it.")

LogPath = Annotated[
    Path, typer.Option("--log", metavar="FILE", envvar="DSPY_ROUTER_LOG", help="The decision log.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DecisionId = Annotated[str, typer.Argument(metavar="ID", help="Of the decision, as tail shows it.")]
Replace = Annotated[bool, typer.Option("--replace", help="Put it in the place of another one.")]
Since = Annotated[
    datetime | None,
    typer.Option(help="Only from this moment on, in local time.", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
]


class Source(StrEnum):
    """Who chose."""

    ROUTER = "router"
    LM = "lm"


@log_app.command()
def stats(log: LogPath, as_json: AsJson = False) -> None:
    """Count what the log holds."""
    found = _read(log).stats()
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    agreed = f"{share(found.agreeing / found.shadows)} of {found.shadows}" if found.shadows else "–"
    rows: list[tuple[str, Any]] = [
        ("episodes", found.episodes),
        ("decisions", found.decisions),
        *((f"… by the {source}", count) for source, count in found.by_source.items()),
        ("accepted as they were", share(found.accepted)),
        ("with an error", found.errors),
        ("tool calls", found.steps),
        ("… that failed", found.failed_steps),
        ("labelled", found.labelled),
        ("rewarded", found.rewarded),
        ("mean reward", "–" if found.mean_reward is None else f"{found.mean_reward:.4f}"),
        ("router agreed beside the LM", agreed),
        ("first", _when(found.first)),
        ("last", _when(found.last)),
        ("size", f"{found.bytes / 1e6:.1f} MB"),
    ]
    show_table(str(log), ("what", "value"), rows)
    tools = [(name or "(none)", count, share(count / found.decisions)) for name, count in found.by_tool.items()]
    if tools:
        show_table("Chosen", ("tool", "times", "share"), tools)


@log_app.command()
def tail(
    log: LogPath,
    n: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show the last decisions, the last one last; as JSON one object a line."""
    from dspy_router.data.store.export import as_row

    last = _read(log).tail(n)
    if as_json:
        for logged in last:
            typer.echo(json.dumps(as_row(logged)))
        return
    columns = ("id", "time", "text", "tool", "sure", "by", "label", "reward")
    show_table(f"The last {len(last)} of {log}", columns, [_line(logged) for logged in last])


@log_app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write: JSON, one object a line.")],
    log: LogPath,
    labelled: Annotated[
        bool | None, typer.Option("--labelled/--unlabelled", help="Only what has a label: what evaluate reads.")
    ] = None,
    rewarded: Annotated[bool | None, typer.Option("--rewarded/--unrewarded", help="Only what has a reward.")] = None,
    source: Annotated[Source | None, typer.Option(help="Only what was decided by the router, or the LM.")] = None,
    since: Since = None,
) -> None:
    """Write the log as JSON lines that training and evaluation read."""
    chosen = None if source is None else source.value
    count = _read(log).export(file, labelled=labelled, rewarded=rewarded, source=chosen, since=since)
    typer.echo(f"Wrote {count} {'episode' if count == 1 else 'episodes'} to {file}.")


@log_app.command()
def label(
    id_: DecisionId,
    log: LogPath,
    tools: Annotated[list[str] | None, typer.Argument(metavar="[TOOL]...", help="The tools that were right.")] = None,
    none: Annotated[bool, typer.Option("--none", help="No tool fits.")] = False,
    replace: Replace = False,
    any_tool: Annotated[bool, typer.Option("--any-tool", help="Also a tool that was no option then.")] = False,
) -> None:
    """Say which tools would have been right for a decision."""
    if bool(tools) == none:
        raise ValueError("A label names at least one tool, or says --none where no tool fits; expected one of the two.")
    with _write(log) as opened:
        opened.label(id_, tools or None, replace=replace, any_tool=any_tool)
    typer.echo(f"Labelled {id_}: {', '.join(tools or ['(none)'])}.")


@log_app.command(context_settings={"ignore_unknown_options": True})  # a reward of -1 is no option
def reward(
    id_: DecisionId,
    value: Annotated[float, typer.Argument(metavar="VALUE", help="The metric's value for the whole episode.")],
    log: LogPath,
    replace: Replace = False,
) -> None:
    """Join a reward to the episode of a decision."""
    with _write(log) as opened:
        opened.reward(id_, value, replace=replace)
    typer.echo(f"Rewarded {id_}: {value:g}.")


@log_app.command()
def drift(
    log: LogPath,
    router: Annotated[
        str | None,
        typer.Option(metavar="ROUTER", help="Folder of the router: only its decisions, against its own guarantee."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Queries it was calibrated on: what its decisions were like; repeatable."),
    ] = None,
    max_risk: Annotated[
        float | None, typer.Option(help="The error rate among kept decisions; by default what the router guarantees.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Probability of never a false alarm.")] = 0.95,
    check_error: Annotated[float, typer.Option(help="How often a check by a language model is wrong at most.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Say whether what a router was calibrated for still looks true; exits with 3 if not."""
    from dspy_router.evaluation.drift import Monitor
    from dspy_router.evaluation.reference import Reference

    reader, reference = _read(log), None
    which: dict[str, Any] = {}
    if router is not None:
        from dspy_router.routing.router import Router

        loaded = Router.load(router)
        which = {"router": loaded.fingerprint}
        if max_risk is None and loaded.calibration is not None:
            # That of a single tool says nothing of the others; and where there is one for all, theirs are stricter.
            max_risk = next((one.max_risk for one in loaded.calibration.certificates if one.tool is None), None)
        if data:
            from dspy_router.data.datasets import read_examples

            reference = Reference.of(loaded.decide_batch([example.text for example in read_examples(*data)]))
    elif data:
        raise ValueError("--data says what a router's decisions were like, and needs that --router.")
    pairs = ((logged.episode, logged.shadow) for logged in reader.logged(**which))
    monitor = Monitor.over(
        pairs, max_risk=max_risk, confidence=confidence, reference=reference, check_error=check_error
    )
    findings = monitor.report()
    if as_json:
        typer.echo(json.dumps({"alarm": monitor.alarm, "findings": [asdict(finding) for finding in findings]}))
    else:
        show_table(
            f"Drift in {log}",
            ("what", "seen", "value", "expected", "evidence", "needed", "alarm"),
            [
                (
                    _SUBJECTS[finding.subject],
                    finding.seen,
                    "–" if finding.value is None else f"{finding.value:.4f}",
                    "–" if finding.reference is None else f"{finding.reference:.4f}",
                    f"{finding.evidence:.3g}",
                    f"{finding.needed:.3g}",
                    "–" if finding.alarm_after is None else f"after {finding.alarm_after}",
                )
                for finding in findings
            ],
        )
        if not monitor.alarm:
            typer.echo("Nothing speaks against it.")
        else:
            typer.echo(f"No longer as it was: {', '.join(_SUBJECTS[s] for s in monitor.alarm)}. Calibrate anew.")
    if monitor.alarm:
        raise typer.Exit(_DRIFTED)


def _read(path: Path) -> LogReader:
    from dspy_router.data.log_reader import LogReader

    return LogReader.open(path)


def _write(path: Path) -> DecisionLog:
    from dspy_router.data.log import DecisionLog

    _read(path)  # a slip in the name begins no new log
    return DecisionLog(path, mode="sync")


def _line(logged: Logged) -> tuple[Any, ...]:
    episode, first = logged.episode, logged.episode.decisions[0]
    text = " ".join(episode.text.split())
    names = "" if not episode.labels else " or ".join(episode.labels[0]) or "(none)"
    return (
        logged.id,
        _when(logged.time),
        text if len(text) <= _LONGEST_QUERY else f"{text[: _LONGEST_QUERY - 1]}…",
        first.tool or "(none)",
        f"{share(first.confidence)}{'' if first.accepted else ' ?'}",
        first.source,
        names,
        "" if episode.reward is None else f"{episode.reward:g}",
    )


def _when(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    try:
        return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # a clock that is far off
        return f"{seconds:g} s"
