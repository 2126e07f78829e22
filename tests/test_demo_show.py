"""The demo: what it measures is counted as it says, and what it prints can be typed."""

from __future__ import annotations

import io
import re
import shlex

import dspy
import pytest
from rich.console import Console
from scripted import scripted_lm
from typer.testing import CliRunner

from dspy_router import Decision, HashEncoder, Router, Step, TrainConfig, fit
from dspy_router.cli import app
from dspy_router.demo.answers import answer_queries, find_fault
from dspy_router.demo.baselines import choose_by_vectors, choose_by_words
from dspy_router.demo.show import Score, run_demo
from dspy_router.demo.tools import TOOLS, load_queries

HOURS = {"query": "when do you open", "tool": "opening_hours", "expected": "10 to 6"}
NO_TOOL = {"query": "sing to me", "tool": None}


def decision(tool):
    return Decision(tool, {"opening_hours": 0.6, "calculate": 0.2}, 0.2)


@pytest.mark.parametrize(
    ("row", "chosen", "step", "fault"),
    [
        (HOURS, "opening_hours", Step("opening_hours", result="10 to 6"), None),
        (HOURS, "calculate", Step("calculate", result="10 to 6"), None),  # the value counts
        (HOURS, "opening_hours", Step("opening_hours", result="9 to 5"), "wrong result"),
        (HOURS, "opening_hours", Step("opening_hours", error="ValueError: no"), "wrong result"),
        (HOURS, "opening_hours", None, "arguments left open"),
        (HOURS, "calculate", None, "wrong tool"),
        (HOURS, None, None, "wrong tool"),
        ({**HOURS, "expected": None}, "opening_hours", Step("opening_hours", error="ValueError: no"), "wrong result"),
        (NO_TOOL, None, None, None),
        (NO_TOOL, "calculate", None, "wrong tool"),
        (NO_TOOL, "opening_hours", Step("opening_hours", result="10 to 6"), "wrong tool"),
    ],
)
def test_a_fault_is_named(row, chosen, step, fault):
    assert find_fault(row, decision(chosen), step) == fault


def test_a_score_counts_none_apart():
    rows = [HOURS, HOURS, NO_TOOL, NO_TOOL, NO_TOOL]
    score = Score.of("someone", ["opening_hours", None, None, "calculate", None], rows)
    assert (score.right, score.n, score.none_right, score.none_n) == (3, 5, 2, 3)


ROWS = [
    {"query": "square the number 12 times 12", "tool": "calculate"},
    {"query": "square the number 7 times 3", "tool": "calculate"},
    {"query": "at what time does the shop close", "tool": "opening_hours"},
    {"query": "when does the shop open", "tool": "opening_hours"},
    {"query": "please sing a lullaby", "tool": None},
    {"query": "please write a lullaby", "tool": None},
]


@pytest.mark.parametrize("choose", [choose_by_words, lambda *rest: choose_by_vectors(HashEncoder(), *rest)])
def test_a_baseline_learns_and_knows_none(choose):
    texts = ["the number 5 times 9", "does the shop open", "sing a lullaby"]
    assert choose(ROWS, texts) == ["calculate", "opening_hours", None]


@pytest.fixture(scope="module")
def some_rows():
    """A query of every tool, one that no tool answers, and one whose arguments the rules do not find."""
    test = load_queries("test")
    firsts = [next(row for row in test if row["tool"] == name) for name in ("weekday_of", "opening_hours", None)]
    open_row = {
        "query": "weekday of the last day of 2024 please",
        "tool": "weekday_of",
        "arguments": {"date": "2024-12-31"},
        "expected": "Tuesday",
    }
    return [*firsts, open_row]


@pytest.fixture(scope="module")
def router(some_rows):
    """One that knows these very queries: what it chooses is not what is tested here."""
    router = Router.from_tools(TOOLS, encoder="hash")
    fit(router, some_rows * 4, config=TrainConfig(epochs=60, progress=False))
    assert [d.tool for d in router.decide_batch([row["query"] for row in some_rows])] == [r["tool"] for r in some_rows]
    return router


def test_without_a_language_model_the_tool_answers_and_none_is_called(router, some_rows):
    configured = scripted_lm()
    with dspy.context(lm=configured):
        answers = answer_queries(router, some_rows)
    assert configured.engine.requests == []
    assert answers.lm_calls == 0
    assert [answer.fault for answer in answers.rows] == [None, None, None, "arguments left open"]
    assert (answers.right, dict(answers.faults)) == (3, {"arguments left open": 1})
    assert answers.rows[0].text == some_rows[0]["expected"]
    assert "12:00-17:00" in (answers.rows[1].text or "")
    assert [answer.step is None for answer in answers.rows] == [False, False, True, True]
    low, high = answers.interval
    assert 0 < low < 0.75 < high < 1


def test_with_a_language_model_it_writes_and_is_counted(router, some_rows):
    lm = scripted_lm({"answer": "as written", "arguments": {"date": "2024-12-31"}})
    answers = answer_queries(router, some_rows, lm=lm)
    assert {answer.text for answer in answers.rows} == {"as written"}
    assert answers.right == 4
    assert answers.lm_calls == len(lm.engine.requests) == 5  # one answer each, and the arguments of one call


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The demo as it runs, but with hashed words and a single epoch: its figures, its text, its working directory."""
    folder = tmp_path_factory.mktemp("demo")
    console = Console(file=io.StringIO(), width=120)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        quick = TrainConfig(epochs=1, progress=False)
        figures = run_demo(lm=scripted_lm({"answer": "so it is"}), encoder="hash", config=quick, console=console)
    return figures, console.file.getvalue(), folder  # type: ignore[attr-defined]


def test_it_measures_on_the_test_queries(shown):
    figures, text, folder = shown
    test = load_queries("test")
    assert figures.training.examples == len(load_queries("train"))
    assert len(figures.answers.rows) == len(test)
    assert {score.n for score in figures.scores} == {len(test)}
    saved = Router.load(folder / "out/demo-router")
    right = sum(
        d.tool == row["tool"] for d, row in zip(saved.decide_batch([r["query"] for r in test]), test, strict=True)
    )
    assert figures.scores[-1].right == right
    assert f"{right / len(test):.1%}" in text
    assert f"{figures.answers.right} of {len(test)}" in text


def test_it_says_what_the_figures_are_worth(shown):
    _, text, _ = shown
    assert "The authors wrote these queries" in text
    assert "0 calls" in text
    assert all(score.chosen_by in text for score in shown[0].scores)


def test_a_language_model_answers_the_few_queries_shown(shown):
    _, text, _ = shown
    calls = re.search(r"answered by scripted/model \((\d+) calls\)", text)
    assert calls and int(calls[1]) >= 8
    assert text.count("so it is") >= 8


def test_what_it_says_to_type_next_works(shown, monkeypatch):
    _, text, folder = shown
    monkeypatch.chdir(folder)
    commands = re.findall(r"^  dspy-router (.*?)(?:  |$)", text, flags=re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        if not command.startswith("demo"):
            result = CliRunner().invoke(app, shlex.split(command))
            assert result.exit_code == 0, result.output
            assert "convert_units" in result.stdout


@pytest.mark.slow
def test_the_targets_are_reached(tmp_path):
    figures = run_demo(output=tmp_path / "router", console=Console(file=io.StringIO()))
    trained = figures.scores[-1]
    assert trained.right / trained.n >= 0.95
    assert trained.right > max(score.right for score in figures.scores[:-1])
    assert figures.answers.right / len(figures.answers.rows) >= 0.90
    assert figures.answers.lm_calls == 0
