"""The tables of an optimization: the figures that a reader looks for, and nothing taken for markup."""

from __future__ import annotations

from typing import Any

import pytest
from measured import LOOP, ROUTED

from dspy_router.evaluation.comparison import Comparison
from dspy_router.evaluation.credit import CreditSplit
from dspy_router.evaluation.runs import LMCall, Run
from dspy_router.program.router_optimizer import OptimizerReport
from dspy_router.program.tuning.joint_report import JointReport, JointTurn, Standing
from dspy_router.program.tuning.rewards import Spent
from dspy_router.tables import share, show_comparison, show_optimization

BEFORE = CreditSplit(8, score=0.4, maximum=1.0, routing_regret=0.3, synthesis_shortfall=0.2, failures=0.1)
AFTER = CreditSplit(8, score=0.9, maximum=1.0, routing_regret=0.0, synthesis_shortfall=0.1, failures=0.0)


@pytest.fixture
def shown(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")

    def show(report: Any, **extra: Any) -> list[str]:
        show_optimization({**report.to_dict(), "credit": {}, "tools": {}, **extra})
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return show


def test_of_the_router(shown):
    report = OptimizerReport("rewards", "metric", before=65.7, after=91.34, kept=True, lm_calls=12, seconds=3.21)
    report.spent = Spent(rollouts=1444, cost=None, errors=2, failed_calls=7)
    lines = shown(report, tools={"clock": {"tries": 30, "mean": 0.25}, "": {"tries": 4, "mean": 1.0}})
    assert "score 0.6570 → 0.9134, kept" in lines
    assert {"rollouts 1444", "LM calls 12", "dollars unknown", "seconds 3.2"} <= set(lines)
    assert {"failed calls of tools 7", "errors of program or metric 2"} <= set(lines)
    assert {"clock 30 0.250", "(none) 4 1.000"} <= set(lines)


def test_of_a_router_judged_by_labels_and_left_alone(shown):
    report = OptimizerReport("labels", "tool accuracy", before=0.5, after=0.25, kept=False, note="Nothing [learned].")
    lines = shown(report)
    assert "score 0.5000 → 0.2500, the router was left as it was" in lines
    assert "note Nothing [learned]." in lines


def test_of_router_and_prompts(shown):
    start, end = Standing("start", 0.4, 0.3, BEFORE), Standing("turn 1: COPRO, router", 0.9, 0.8, AFTER)
    turn = JointTurn(1, "best", start, end, [end], rollouts=40, lm_calls=55, cost=0.125, seconds=2.0)
    report = JointReport(start, end, [turn], ended="1 turns were made", overlap=2, rollouts=50, lm_calls=60, cost=0.25)
    turn.errors.append("turn 1: GEPA: ValueError: [no] answer")
    lines = shown(report, credit={"start": BEFORE.to_dict(), "turn 1": AFTER.to_dict()})
    assert {"score on validation 0.3000 → 0.8000", "score on training examples 0.4000 → 0.9000"} <= set(lines)
    assert {"kept turn 1: COPRO, router", "rollouts 50", "dollars 0.2500"} <= set(lines)
    assert {"validation examples trained on 2", "failed on the way turn 1: GEPA: ValueError: [no] answer"} <= set(lines)
    assert "1 0.3000 → 0.8000 turn 1: COPRO, router 40 55 0.1250 2.0" in lines
    assert {"start 0.400 0.300 0.100 0.200", "turn 1 0.900 0.000 0.000 0.100"} <= set(lines)
    assert "Mean reward of 8 training examples, and who lost the rest" in lines


def test_share():
    assert (share(0.1234), share(None)) == ("12.3 %", "–")


class TestComparison:
    @pytest.fixture
    def compared(self, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "160")

        def show(*runs: Run, **settings: Any) -> str:
            names = list(dict.fromkeys(run.program for run in runs))
            show_comparison(Comparison.of(names, runs, **settings))
            return "\n".join(" ".join(line.split()) for line in capsys.readouterr().out.splitlines())

        return show

    def test_every_figure_is_there(self, compared):
        shown = compared(*LOOP, *ROUTED)
        assert "loop 2 of 3 0.500 (0.095 to 0.905) 0.500 (0.095 to 0.905)" in shown
        assert "+0.000 (+0.000 to +0.000) – 1" in shown  # the second one's difference, tools and errors
        assert "loop 2.00 1 1 150 15 0.0300 30.0000" in shown
        assert "loop 2000.0 / 2900.0 400.0 / 580.0" in shown
        assert "loop 200 (2) → 200 (1)" in shown
        assert "routed − loop 2 +0.000 (+0.000 to +0.000) McNemar, exact 1.0000 1.0000" in shown
        assert "routed: 1 of 3 runs raised and count 0. The first error: ValueError: too hard" in shown

    def test_what_is_not_known_is_said(self, compared):
        shown = compared(Run("a", "f", "1", 1.0, calls=(LMCall("my/llama", 0.1),)), Run("b", "f", "1", 0.5))
        assert "a 1.00 unknown unknown unknown price: my/llama unknown" in shown
        assert "b 0.00 0 0 0.0000 0.0000" in shown

    def test_a_long_loop_is_shown_in_part(self, compared):
        calls = tuple(LMCall("m", 0.1, 100 * step, 1, 0.0) for step in range(1, 21))
        assert "600 (1) → … 2000 (1)" in compared(Run("a", "f", "1", 1.0, calls=calls))

    def test_nothing_at_all(self, compared):
        assert "Quality" in compared()
