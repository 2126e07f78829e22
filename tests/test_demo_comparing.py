"""The demo's comparison: what counts as a right answer, and that each of its programs can be made."""

from __future__ import annotations

import dspy
import pytest

from dspy_router import Step
from dspy_router.demo import comparing


@pytest.mark.parametrize(
    ("expected", "answer", "right"),
    [
        (13.05, "That makes €13.05.", True),
        (13.05, "13.05", True),
        (13.05, "13.5", False),
        (1600, "It comes to 1,600.", True),
        (0.6666666667, "about 0.6667", True),
        ("Monday", "It was a monday", True),
        ("Monday", "Tuesday", False),
        (True, "true", True),
        ({"time": "01:00", "day": "the same day"}, "At 01:00 in Chicago.", True),
        ([{"name": "Tea Ball", "price": 4.5}], "Have a look at our tea ball!", True),
        ([], "Nothing.", False),
        (13.05, None, False),
    ],
)
def test_an_answer_says_it(expected, answer, right):
    example = dspy.Example(query="?", expected=expected).with_inputs("query")
    assert comparing.says_it(example, dspy.Prediction(answer=answer, steps=())) is right


@pytest.mark.parametrize(
    ("told", "right"),
    [
        ({"steps": ()}, True),
        ({"steps": (Step("calculate"),)}, False),
        ({"trajectory": {"tool_name_0": "calculate", "tool_args_0": {}, "observation_0": 4}}, False),
        ({"trajectory": {"tool_name_0": "finish", "tool_args_0": {}, "observation_0": "Completed."}}, True),
    ],
)
def test_where_no_tool_fits_none_may_be_called(told, right):
    example = dspy.Example(query="sing").with_inputs("query")
    assert comparing.says_it(example, dspy.Prediction(answer="La la la.", **told)) is right


def test_every_program_is_made_for_the_demos_tools():
    made = [
        comparing.react(),
        comparing.react_v2(),
        comparing.native_loop(),
        comparing.three_calls(),
        comparing.routed(encoder="hash"),
    ]
    assert all(set(comparing.NAMES) <= set(one.tools) for one in made)


@pytest.mark.slow
def test_training_teaches_its_router():
    queries = {"what's 12% of 80": "calculate", "uppercase 'abc' please": "transform_text"}
    agent = comparing.routed("none", trained=True, encoder="hash", epochs=2)
    assert {query: agent.choose(query=query).tool for query in queries} == queries
