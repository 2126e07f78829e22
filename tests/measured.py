"""Runs of two programs, written out, for tests that need no dspy."""

from __future__ import annotations

from dspy_router.evaluation.runs import LMCall, Run

LOOP = [
    Run(
        "loop",
        "f",
        "1",
        1.0,
        tools=("clock",),
        tools_known=True,
        tool_right=True,
        calls=(LMCall("m", 0.2, 100, 10, 0.01), LMCall("m", 0.4, 200, 20, 0.02)),
        seconds=1.0,
        lm_seconds=0.6,
        tool_seconds=0.1,
    ),
    Run(
        "loop",
        "f",
        "2",
        0.0,
        tools_known=True,
        tool_right=False,
        calls=(LMCall("m", 0.2, 300, 30, 0.03, cached=True), LMCall("m", error="LMServerError: no")),
        seconds=3.0,
        lm_seconds=0.2,
    ),
]
ROUTED = [
    Run("routed", "g", "1", 1.0, calls=(LMCall("m", 0.1, 50, 5, 0.005),), seconds=0.2, router_seconds=0.001),
    Run("routed", "g", "2", None, seconds=0.4, failure="program", error="ValueError: too hard"),
    Run("routed", "g", "3", 1.0, seconds=0.3),
]
