"""The checked tool: calls, values and errors are those of the `dspy.Tool` it was made of."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import dspy
import pytest
from dspy.utils.callback import BaseCallback
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from dspy_router.program.checked_tool import CheckedTool
from dspy_router.program.toolbox import Toolbox


class Place(BaseModel):
    """A place."""

    city: str
    floor: int = 0


def book(
    guests: int,
    nights: float = 1.0,
    kind: Literal["single", "double"] = "single",
    names: list[str] | None = None,
    place: Place | None = None,
    both: int | float = 0,
    other: float | int = 0,
    code: Annotated[str, Field(pattern="^[A-Z]{2}$")] = "AB",
    anything: Any = None,
) -> tuple[Any, ...]:
    """Book a room."""
    return guests, nights, kind, names, place, both, other, code, anything


def free(**settings: Any) -> dict[str, Any]:
    """Take anything."""
    return settings


def outcome(call, arguments):
    try:
        value = call(**arguments)
        return value, [type(one) for one in value] if isinstance(value, tuple) else None
    except Exception as error:
        return type(error), str(error)


VALUES = st.sampled_from(
    [
        0,
        1,
        2.0,
        2.5,
        True,
        None,
        "single",
        "ab",
        "AB",
        "3",
        [],
        ["a"],
        [1],
        {"city": "Rome"},
        {"floor": 1},
        Place(city="Oslo"),
    ]
)
NAMES = st.sampled_from(["guests", "nights", "kind", "names", "place", "both", "other", "code", "anything", "unknown"])


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_it_is_called_as_dspys_own(arguments):
    for function in (book, free):
        tool = dspy.Tool(function)
        assert outcome(CheckedTool.of(tool), arguments) == outcome(tool, arguments)


def test_a_one_is_read_by_the_type_as_it_is_written():
    """`int | float` and `float | int` are equal, and still not the same."""
    tool = CheckedTool.of(dspy.Tool(book))
    *_, both, other, _, _ = tool(guests=1, both=1, other=1)
    assert (type(both), type(other)) == tuple(map(type, dspy.Tool(book)(guests=1, both=1, other=1)[5:7]))


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_async_tools_are_awaited():
    async def wait(seconds: float) -> str:
        """Wait."""
        await asyncio.sleep(0)
        return f"{seconds} s"

    tool = CheckedTool.of(dspy.Tool(wait))
    assert asyncio.run(tool.acall(seconds=2)) == "2.0 s"
    with pytest.raises(ValueError, match="async tool"):
        tool(seconds=2)
    with dspy.context(allow_tool_async_sync_conversion=True):
        assert tool(seconds=2) == "2.0 s"


def test_callbacks_see_the_call():
    class Seen(BaseCallback):
        def __init__(self):
            self.calls = []

        def on_tool_start(self, call_id, instance, inputs):
            self.calls.append((instance.name, inputs))

    seen = Seen()
    with dspy.context(callbacks=[seen]):
        CheckedTool.of(dspy.Tool(book))(guests=2)
    assert seen.calls == [("book", {"kwargs": {"guests": 2}})]


def test_a_broken_schema_is_an_error_in_every_call():
    tool = dspy.Tool(book, args={"guests": {"type": "integer", "minimum": "none"}})
    for _ in range(2):
        assert outcome(CheckedTool.of(tool), {"guests": 1})[0] is outcome(tool, {"guests": 1})[0]


class TestInAToolbox:
    def test_the_users_own_tool_stays_in_the_box(self):
        tool = dspy.Tool(book)
        tools = Toolbox.of([tool])
        assert tools["book"] is tool
        assert isinstance(tools.checked("book"), CheckedTool)
        assert tools.checked("book") is tools.checked("book")

    def test_later_changes_of_it_count(self):
        tool = dspy.Tool(book)
        tools = Toolbox.of([tool])
        checked = tools.checked("book")
        tool.func = lambda guests: f"{guests} of them"
        assert checked(guests=3) == "3 of them"

    def test_another_tool_in_its_place_is_the_one_that_is_called(self):
        tools = Toolbox.of([book])
        assert tools.checked("book")(guests=1)[0] == 1
        tools["book"] = dspy.Tool(lambda guests: "another", name="book")
        assert tools.checked("book")(guests=1) == "another"

    def test_one_with_a_class_of_its_own_is_called_by_its_own_methods(self):
        class Loud(dspy.Tool):
            def __call__(self, **kwargs: Any) -> Any:
                return "loud"

        tools = Toolbox.of([Loud(func=book)])
        assert tools.checked("book") is tools["book"]
        assert tools.checked("book")(guests=1) == "loud"
