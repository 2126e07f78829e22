"""What the command line shows, as tables on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from dspy_router.evaluation.comparison import Comparison, Standing
    from dspy_router.evaluation.metrics import Evaluation, OptionScores
    from dspy_router.records import Decision

_MOST_STEPS = 6  # of a program's calls whose prompts are shown


def show_table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    """A table with a title above it."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # as it is: what a tool says is no markup
    Console().print(Text(title, style="bold"), table, sep="\n")


def show_decision(decision: Decision) -> None:
    """A decision and the options next to it."""
    sure = "accepted" if decision.accepted else "not sure enough"
    rows = [(name or "(none)", share(probability)) for name, probability in decision.top(5)]
    show_table(f"{decision.tool or '(none)'}: {share(decision.confidence)}, {sure}", ("option", "probability"), rows)


def show_scores(result: Evaluation) -> None:
    """The options that were right or chosen, the worst first."""
    scores: list[tuple[str, OptionScores]] = [*result.per_tool.items(), ("(none)", result.none)]
    seen = [(name, score) for name, score in scores if score.support or score.precision is not None]
    rows = [
        (name, share(score.precision), share(score.recall), share(score.f1), score.support)
        for name, score in sorted(seen, key=lambda pair: pair[1].f1)
    ]
    show_table("Per tool, worst first", ("tool", "precision", "recall", "F1", "support"), rows)


def show_figures(result: Evaluation, title: str) -> None:
    """An evaluation's figures."""
    low, high = result.interval
    rows = [
        ("examples", str(result.n)),
        ("accuracy", f"{share(result.accuracy)} (95 % interval {share(low)} to {share(high)})"),
        ("macro-F1", share(result.macro_f1)),
        *((f"right among the first {k}", share(value)) for k, value in result.top_k.items() if k > 1),
        ("none: recall", share(result.none.recall)),
        ("none: AUROC", share(result.none_auroc)),
        ("calibration error", share(result.calibration_error)),
        ("Brier score", f"{result.brier:.4f}"),
        ("accepted", share(result.coverage)),
        ("accuracy of the accepted", share(result.accepted_accuracy)),
        ("ms per decision", ", ".join(f"{name} {value:.2f}" for name, value in result.latency_ms.items())),
    ]
    show_table(title, ("figure", "value"), rows)


def show_optimization(report: Mapping[str, Any]) -> None:
    """What an optimization did, from its report as `report.json` has it."""
    joint = "turns" in report
    rows = _joint_rows(report) if joint else _router_rows(report)
    show_table("Optimized router and prompts" if joint else "Optimized the router", ("what", "outcome"), rows)
    if joint:
        turns = [
            (turn["number"], _change(turn["before"]["val"], turn["after"]["val"]), turn["after"]["name"], *_cost(turn))
            for turn in report["turns"]
        ]
        columns = ("turn", "score", "best program", "rollouts", "LM calls", "dollars", "seconds")
        show_table("Turns", columns, turns)
    if report["credit"]:
        parts = ("score", "routing_regret", "failures", "synthesis_shortfall")
        splits = [(name, *(f"{split[part]:.3f}" for part in parts)) for name, split in report["credit"].items()]
        size = next(iter(report["credit"].values()))["n"]
        heads = ("program", "earned", "lost by routing", "by failed calls", "after the tool")
        which = "training examples" if joint else "training examples on which both choices were tried"
        show_table(f"Mean reward of {size} {which}, and who lost the rest", heads, splits)
    if report["tools"]:
        tools = [(tool or "(none)", row["tries"], f"{row['mean']:.3f}") for tool, row in report["tools"].items()]
        show_table("Tries of each tool", ("tool", "tries", "mean reward"), tools)


def show_comparison(comparison: Comparison) -> None:
    """How each program did, what it took, and whether two of them differ."""
    quality = [
        (
            one.name,
            f"{one.n} of {comparison.examples}" if one.n < comparison.examples else one.n,
            _between(one.score, one.interval),
            "" if one.difference is None else _between(one.difference, one.difference_interval, signed=True),
            "–" if one.tool_accuracy is None else _between(one.tool_accuracy, one.tool_interval),
            one.errors or "",
        )
        for one in comparison.programs
    ]
    heads = ("program", "n", "metric", "against the first", "right tool", "errors")
    show_table(f"Quality, with {100 * comparison.level:g} % intervals", heads, quality)
    heads = ("program", "LM calls", "cached", "failed", "tokens in", "tokens out", "dollars", "$ per 1000")
    spending = [_spending(one) for one in comparison.programs]
    show_table(
        "LM calls and tokens per answer; dollars in all, and for 1000 answers without the cache", heads, spending
    )
    times = [
        (one.name, *(" / ".join(f"{1000 * value:.1f}" for value in part.values()) for part in one.latency.values()))
        for one in comparison.programs
    ]
    show_table("Milliseconds per answer: p50 / p95", ("program", "all", "LM", "router", "tool"), times)
    if grown := [_growth(one) for one in comparison.programs if len(one.context) > 1]:
        show_table("Tokens of the prompt by call: mean (answers that came so far)", ("program", "calls"), grown)
    pairs = [
        (
            f"{pair.second} − {pair.first}",
            pair.n,
            _between(pair.difference, None if pair.low is None else (pair.low, pair.high), signed=True),
            pair.test,
            _p_value(pair.p),
            _p_value(pair.p_holm),
        )
        for pair in comparison.pairs
    ]
    if pairs:
        heads = ("pair", "n", "difference", "test", "p", "p, Holm")
        show_table("Each pair, on the examples that both have answered", heads, pairs)
    for one in comparison.programs:
        if one.first_error is not None:
            Console().print(Text(f"{one.name}: {one.errors} of {one.n} runs raised and count {comparison.minimum:g}. "
                                 f"The first error: {one.first_error}"))  # fmt: skip


def share(value: float | None) -> str:
    """A share in per cent."""
    return "–" if value is None else f"{100 * value:.1f} %"


def _router_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    scale = 100 if report["judged_by"] == "metric" else 1  # the metric's mean is reported in per cent
    outcome = "kept" if report["kept"] else "the router was left as it was"
    spent = report["spent"] or {}
    rows = [
        ("learned from", report["learned_from"]),
        ("judged by", report["judged_by"]),
        ("score", f"{_change(report['before'] / scale, report['after'] / scale)}, {outcome}"),
        ("rollouts", str(spent.get("rollouts", 0))),
        ("failed calls of tools", str(spent.get("failed_calls", 0))),
        ("errors of program or metric", str(spent.get("errors", 0))),
        ("LM calls", str(report["lm_calls"])),
        ("dollars", _dollars(spent.get("cost", 0.0))),
        ("seconds", f"{report['seconds']:.1f}"),
    ]
    return [*rows, ("note", report["note"])] if report["note"] else rows


def _joint_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    before, after = report["before"], report["after"]
    rollouts, calls, dollars, seconds = _cost(report)
    rows = [
        ("score on validation", _change(before["val"], after["val"])),
        ("score on training examples", _change(before["train"], after["train"])),
        ("kept", report["kept"]),
        ("ended", report["ended"]),
        ("rollouts", rollouts),
        ("LM calls", calls),
        ("dollars", dollars),
        ("seconds", seconds),
    ]
    overlap = [("validation examples trained on", str(report["overlap"]))] if report["overlap"] else []
    return [*rows, *overlap, *(("failed on the way", error) for error in report["errors"])]


def _cost(spent: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return str(spent["rollouts"]), str(spent["lm_calls"]), _dollars(spent["cost"]), f"{spent['seconds']:.1f}"


def _change(before: float, after: float) -> str:
    return f"{before:.4f} → {after:.4f}"


def _dollars(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:.4f}"


def _spending(one: Standing) -> tuple[Any, ...]:
    dollars = f"unknown price: {', '.join(one.unpriced)}" if one.dollars is None else f"{one.dollars:.4f}"
    return (
        one.name,
        f"{one.lm_calls:.2f}",
        one.cached_calls or "",
        one.failed_calls or "",
        "unknown" if one.input_tokens is None else f"{one.input_tokens:.0f}",
        "unknown" if one.output_tokens is None else f"{one.output_tokens:.0f}",
        dollars,
        "unknown" if one.price is None else f"{1000 * one.price:.4f}",
    )


def _growth(one: Standing) -> tuple[str, str]:
    steps = [f"{step.tokens:.0f} ({step.n})" for step in one.context]
    return one.name, " → ".join(steps if len(steps) <= _MOST_STEPS else [*steps[:_MOST_STEPS], f"… {steps[-1]}"])


def _p_value(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def _between(value: float, interval: Any, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    ends = "" if interval is None else f" ({interval[0]:{sign}.3f} to {interval[1]:{sign}.3f})"
    return f"{value:{sign}.3f}{ends}"
