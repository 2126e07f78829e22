"""The stand-in for a language model: as right as it is set to be, in every kind of program, and open about it."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from dspy_router import RoutedAgent
from dspy_router.demo.comparing import says_it
from dspy_router.demo.stand_in import NO_ANSWER, StandIn, stand_in
from dspy_router.demo.tools import TOOLS, load_queries
from dspy_router.program.comparing.programs import ToolChoiceChain

pytest.importorskip("pint")

ROWS = load_queries("test")[::9]
SIGNATURE: Any = "query -> answer"
PROGRAMS = {
    "ReAct": lambda: dspy.ReAct(SIGNATURE, list(TOOLS), max_iters=3),
    "ReActV2": lambda: dspy.ReActV2(SIGNATURE, list(TOOLS), max_iters=3),
    "three calls": lambda: ToolChoiceChain(SIGNATURE, TOOLS),
    "handed over": lambda: RoutedAgent(SIGNATURE, TOOLS, encoder="hash", threshold=1.0, synthesis="none"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_with_the_right_tools_every_answer_is_right(name):
    program = PROGRAMS[name]()
    with dspy.context(lm=stand_in(wrong=0.0)):
        wrong = [row["query"] for row in ROWS if not says_it(dspy.Example(row), program(query=row["query"]))]
    assert not wrong


@pytest.mark.parametrize("synthesis", ["result", "history"])
def test_it_writes_the_answer_from_the_result_in_the_prompt(synthesis):
    agent = RoutedAgent(SIGNATURE, TOOLS, encoder="hash", synthesis=synthesis)
    with dspy.context(lm=stand_in()):
        assert agent(query="days between 2024-01-01 and 2024-03-01").answer == "60"
        assert agent(query="Tell me a joke.").answer == NO_ANSWER


def test_it_is_wrong_as_often_as_it_is_set_to_be_and_always_on_the_same_queries():
    rows = load_queries("train")
    wrong = {row["query"] for row in rows if StandIn(wrong=0.2).choose(row["query"]) != row["tool"]}
    # Of 991 draws at 0.2 the share lies within five standard deviations, 5 · √(0.2 · 0.8 / 991) = 0.064.
    assert abs(len(wrong) / len(rows) - 0.2) < 0.064
    fewer = {row["query"] for row in rows if StandIn(wrong=0.1).choose(row["query"]) != row["tool"]}
    other = {row["query"] for row in rows if StandIn(wrong=0.2, seed=1).choose(row["query"]) != row["tool"]}
    assert fewer < wrong and other != wrong


def test_always_wrong_it_never_names_the_right_tool():
    assert not [row for row in ROWS if StandIn(wrong=1.0).choose(row["query"]) == row["tool"]]


def test_what_it_has_no_answer_to_is_said():
    with pytest.raises(ValueError, match="no model: it has answers to the demo's queries alone"):
        StandIn().choose("what is the meaning of life")


def test_a_share_beyond_one_is_refused():
    with pytest.raises(ValueError, match=r"in \[0, 1\]; got 5"):
        StandIn(wrong=5)
