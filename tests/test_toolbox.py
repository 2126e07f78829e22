"""The toolbox: what may be a tool, and that copies of a program share them."""

from __future__ import annotations

import copy
import pickle
import sqlite3

import dspy
import pytest

from dspy_router.program.toolbox import Toolbox
from dspy_router.records import ToolCard


def add(a: float, b: float) -> float:
    """Add."""
    return a + b


class Counter:
    """Counts."""

    def __init__(self):
        self.connection = sqlite3.connect(":memory:")  # cannot be copied

    def __call__(self, step: int) -> int:
        return step


def test_functions_objects_and_dspy_tools_are_tools():
    tools = Toolbox.of([add, Counter(), dspy.Tool(add, name="plus")])
    assert list(tools) == ["add", "Counter", "plus"]
    assert tools["plus"](a=1, b=2) == 3
    assert tools.cards["add"].required == ("a", "b")


@pytest.mark.parametrize(
    ("tools", "error", "message"),
    [
        ([add, add], ValueError, r"Two tools are called 'add'.*dspy\.Tool\(function, name="),
        ([], ValueError, "no tool to choose"),
        ([add, 3], TypeError, "got int: 3"),
        ([ToolCard("add")], TypeError, "got ToolCard"),
        ({"add": add}, TypeError, "must be a list .*got dict"),
        ("add", TypeError, "got str"),
        (add, TypeError, "got function"),
    ],
)
def test_anything_else_is_refused(tools, error, message):
    with pytest.raises(error, match=message):
        Toolbox.of(tools)


def test_copies_share_the_tools():
    tools = Toolbox.of([Counter()])
    assert copy.deepcopy({"tools": tools})["tools"] is tools


def test_a_pickle_keeps_names_and_cards():
    tools = pickle.loads(pickle.dumps(Toolbox.of([add])))
    assert tools["add"](a=1, b=2) == 3
    assert tools.cards["add"].description == "Add."
