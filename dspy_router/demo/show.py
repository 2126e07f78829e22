"""The demo: trains a router on the bundled queries, shows how it does on the test queries, and what to type next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dspy_router.demo.answers import Answer, Answers, answer_queries
from dspy_router.demo.baselines import choose_by_vectors, choose_by_words
from dspy_router.demo.tools import TOOLS, load_queries
from dspy_router.demo.units import convert_units
from dspy_router.evaluation.metrics import measure_latency
from dspy_router.evaluation.statistics import wilson_interval
from dspy_router.learning.trainer import TrainConfig, TrainReport, fit
from dspy_router.program.language_model import LanguageModel
from dspy_router.routing.router import Router

OUTPUT = Path("out/demo-router")
_SHOWN_QUERIES = 8
_TIMED_QUERIES = 100
_CAVEAT = (
    "The authors wrote these queries, and had seen what went wrong on the test queries before their last changes: the "
    "figures show that the demo works, not how a router will do on your queries."
)
CONFIG = TrainConfig(progress=False)
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Score:
    """How often somebody's choices of a tool are right.

    Attributes:
        chosen_by: Who chose.
        right: How many choices are right, *none* included.
        n: Out of how many.
        none_right: How many of the queries that no tool fits were given none.
        none_n: How many such queries there are.
    """

    chosen_by: str
    right: int
    n: int
    none_right: int
    none_n: int

    @classmethod
    def of(cls, chosen_by: str, choices: Sequence[str | None], rows: Rows) -> Score:
        """Score choices against the rows' `tool`, which is None where no tool fits."""
        hits = [choice == row["tool"] for choice, row in zip(choices, rows, strict=True)]
        on_none = [hit for hit, row in zip(hits, rows, strict=True) if row["tool"] is None]
        return cls(chosen_by, sum(hits), len(hits), sum(on_none), len(on_none))


@dataclass(frozen=True)
class Figures:
    """What the demo measured.

    Attributes:
        training: The trainer's report.
        scores: Who chose how well on the test queries, the trained router last.
        answers: What came of the test queries without a language model.
        latency_ms: Milliseconds per decision: `p50`, `p95` and `p99`.
    """

    training: TrainReport
    scores: tuple[Score, ...]
    answers: Answers
    latency_ms: Mapping[str, float]


def run_demo(
    *,
    lm: LanguageModel = None,
    encoder: str = "minilm",
    output: Path = OUTPUT,
    config: TrainConfig | None = None,
    console: Console | None = None,
) -> Figures:
    """Train a router on the demo's queries, measure it on the test queries, save it, and show all of it.

    Args:
        lm: The language model that answers the few queries shown; by default the tools' results are the answers.
        encoder: As for `Router.from_tools`.
        output: Folder the router is saved to.
        config: How to train; by default the defaults, without progress bars.
        console: Where to show it; by default the terminal.

    Raises:
        ImportError: If the package pint is missing, which one of the tools needs.
        RuntimeError: If the language model cannot be reached, or refuses.
        ValueError: If the encoder cannot be had.
    """
    convert_units("1 mile", "km")  # a missing pint shall be said now, not be a failed call in the figures
    console = console if console is not None else Console()
    train, test = load_queries("train"), load_queries("test")
    with console.status(f"Training on {len(train)} queries, then answering {len(test)} others …"):
        router = Router.from_tools(TOOLS, encoder=encoder)
        config = config if config is not None else CONFIG
        figures = measure(router, train, test, config=config, encoder_name=encoder)
        router.save(output)
    _show_figures(console, figures, encoder, output)
    every = -(-len(test) // _SHOWN_QUERIES)
    title = f"Every {every}th test query"
    if lm is None:
        _show_answers(console, figures.answers.rows[::every], f"{title}, answered by the tool")
    else:
        with console.status("Asking the language model …"):
            written = answer_queries(router, test[::every], lm=lm)
        name = lm if isinstance(lm, str) else lm.model
        _show_answers(console, written.rows, f"{title}, answered by {name} ({_calls(written.lm_calls)})")
    _show_next(console, output)
    return figures


def measure(router: Router, train: Rows, test: Rows, *, config: TrainConfig, encoder_name: str = "the") -> Figures:
    """Train a router on some queries, in place, and measure it and its rivals on others.

    Args:
        router: An untrained router for the demo's tools.
        train: Queries as `load_queries` gives them.
        test: The same, to measure on; at least one.
        config: How to train.
        encoder_name: What to call the encoder in the scores.
    """
    texts = [row["query"] for row in test]
    untrained = [decision.tool for decision in router.decide_batch(texts)]
    training = fit(router, train, config=config)
    answers = answer_queries(router, test)
    scores = (
        Score.of("the router before training", untrained, test),
        Score.of("TF-IDF + linear SVM", choose_by_words(train, texts), test),
        Score.of(
            f"{encoder_name} vectors + logistic regression", choose_by_vectors(router.encoder, train, texts), test
        ),
        Score.of("the trained router", [answer.decision.tool for answer in answers.rows], test),
    )
    return Figures(training, scores, answers, measure_latency(router, texts, sample=_TIMED_QUERIES))


def _show_figures(console: Console, figures: Figures, encoder: str, output: Path) -> None:
    training, answers = figures.training, figures.answers
    n, none_n = figures.scores[-1].n, figures.scores[-1].none_n
    console.print(
        f"Trained on {training.examples} queries for {len(TOOLS)} tools in {training.seconds:.1f} s "
        f"(encoder: {encoder}), saved to {output}.\n",
        highlight=False,
    )
    table = _table(f"The right tool, on {n} test queries ({none_n} of them for no tool)")
    for column in ("chosen by", "right", "95 % interval", "none recognised"):
        table.add_column(column, justify="left" if column == "chosen by" else "right")
    for score in figures.scores:
        style = "bold" if score is figures.scores[-1] else ""
        table.add_row(
            score.chosen_by,
            f"{score.right / score.n:.1%}",
            _interval(wilson_interval(score.right, score.n)),
            f"{score.none_right} of {score.none_n}" if score.none_n else "–",
            style=style,
        )
    console.print(table)
    faults = ", ".join(f"{count} {fault}" for fault, count in answers.faults.most_common()) or "nothing"
    facts = _table("From the query to the answer, tools really called")
    facts.show_header = False
    facts.add_column()
    facts.add_column(overflow="fold")
    share = f"{answers.right / len(answers.rows):.1%}"
    facts.add_row("answers right", f"{share} ({_interval(answers.interval)}), {answers.right} of {len(answers.rows)}")
    facts.add_row("language model", _calls(answers.lm_calls))
    facts.add_row(
        "a decision takes", "{p50:.1f} ms (median), {p95:.1f} ms (95th percentile)".format(**figures.latency_ms)
    )
    facts.add_row("went wrong", faults)
    console.print(facts)
    console.print(Text(_CAVEAT, style="dim"), "")


def _show_answers(console: Console, answers: Sequence[Answer], title: str) -> None:
    table = _table(title)
    table.add_column("")
    table.add_column("query", ratio=5, overflow="fold")
    table.add_column("tool, confidence", no_wrap=True)
    table.add_column("arguments", ratio=4, overflow="fold")
    table.add_column("answer", ratio=4, overflow="fold")
    table.expand = True
    for answer in answers:
        tool = f"{answer.decision.tool or 'none'} {answer.decision.confidence:.0%}"
        cells = ("✓" if answer.right else "✗", _short(answer.query), tool, _arguments(answer), _outcome(answer))
        table.add_row(*(Text(cell) for cell in cells))  # as it is: what a tool says is no markup
    console.print(table)


def _show_next(console: Console, output: Path) -> None:
    lines = (
        (f'dspy-router route {output} "how many ounces is half a kilo?"', "what it would choose"),
        (f'dspy-router explain {output} "how many ounces is half a kilo?"', "and why"),
        (f"dspy-router tools {output}", "what it chooses from"),
        ("dspy-router demo --lm openai/gpt-4o-mini", "let a language model write the answers"),
    )
    width = max(len(command) for command, _ in lines)
    console.print(Text("Next", style="bold"))
    for command, purpose in lines:
        console.print(Text(f"  {command:<{width}}  "), Text(purpose, style="dim"), sep="", soft_wrap=True)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def _arguments(answer: Answer) -> str:
    if answer.step is None:
        return "–" if answer.decision.tool is None else "left open by the text"
    return _short(json.dumps(answer.step.arguments, ensure_ascii=False, default=str))


def _outcome(answer: Answer) -> str:
    if answer.text is not None:
        return _short(answer.text)
    return _short(str(answer.step.observation)) if answer.step is not None else "–"


def _short(text: str, most: int = 72) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _interval(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:.1%} to {bounds[1]:.1%}"


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count} calls"
