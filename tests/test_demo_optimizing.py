"""The demo's metric: right if the tool returned what was expected, or if nothing was called where nothing fits."""

from __future__ import annotations

import dspy
import pytest

from dspy_router import Step
from dspy_router.demo import optimizing
from dspy_router.demo.tools import load_queries
from dspy_router.program.route import forced

STEP = Step("calculate", {"expression": "1 + 1"}, result=2)


@pytest.mark.parametrize(
    ("fields", "steps", "right"),
    [
        ({"expected": 2}, (STEP,), True),
        ({"expected": 3}, (STEP,), False),
        ({"expected": 2}, (), False),
        ({"expected": None}, (Step("calculate", error="ValueError: no"),), False),
        ({}, (), True),
        ({}, (STEP,), False),
    ],
)
def test_what_is_right(fields, steps, right):
    example = dspy.Example(query="what is 1 + 1", **fields).with_inputs("query")
    assert optimizing.is_right(example, dspy.Prediction(steps=steps)) is right


def test_the_agent_answers_the_demos_queries_by_the_tools_alone():
    agent = optimizing.make_agent("hash")
    row = next(row for row in load_queries("train") if row["tool"] == "calculate")
    example = dspy.Example(query=row["query"], expected=row["expected"]).with_inputs("query")
    with dspy.context(lm=None), forced("calculate"):
        assert optimizing.is_right(example, agent(query=row["query"]))
    with dspy.context(lm=None), forced(None):
        assert not optimizing.is_right(example, agent(query=row["query"]))
