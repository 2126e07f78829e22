"""Cards and calls of other people's tools: a real MCP server's over stdio, and langchain_core's."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import dspy
import pytest
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.tools import tool as langchain_tool
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from scripted import scripted_lm

from dspy_router import RoutedAgent, ToolCard
from dspy_router.program.toolbox import Toolbox

SERVER = StdioServerParameters(command=sys.executable, args=[str(Path(__file__).with_name("mcp_server.py"))])


@asynccontextmanager
async def mcp_tools():
    """A session with a server process of its own: the tools as MCP describes them, and as DSPy calls them."""
    async with Client(stdio_client(SERVER)) as client:
        described = {tool.name: tool for tool in (await client.list_tools()).tools}
        yield described, {name: dspy.Tool.from_mcp_tool(client, tool) for name, tool in described.items()}


class TestMcp:
    async def test_a_card_keeps_schema_and_hints_however_the_tool_comes(self):
        async with mcp_tools() as (described, callable_tools):
            for tools in (described, callable_tools):
                convert = ToolCard.from_tool(tools["convert_length"])
                assert convert.description == "Convert a length between miles and kilometers."
                assert convert.properties["unit"]["enum"] == ["mile", "kilometer"]
                assert convert.properties["value"]["description"] == "the length"
                assert convert.required == ("value", "unit")  # DSPy's own schema forgets that the digits are optional
                assert (convert.read_only, convert.destructive) == (True, None)
                delete = ToolCard.from_tool(tools["delete_file"])
                assert (delete.read_only, delete.destructive) == (False, True)
                greet = ToolCard.from_tool(tools["greet"])
                assert (greet.read_only, greet.destructive, dict(greet.properties)) == (None, None, {})

    async def test_an_agent_routes_to_them_and_calls_them(self):
        async with mcp_tools() as (_, tools):
            agent = RoutedAgent("question -> answer: float", tools.values(), encoder="hash", synthesis="none")
            prediction = await agent.acall(question="convert a length of 10 miles")
            (step,) = prediction.steps
            assert (step.tool, dict(step.arguments), step.filled_by) == (
                "convert_length",
                {"value": 10, "unit": "mile"},
                "rules",
            )
            assert prediction.answer == 16.09
            with dspy.context(lm=scripted_lm({"answer": "It was not there."})):
                teller = RoutedAgent("question -> answer", tools.values(), encoder="hash", tool_timeout=10)
                prediction = await teller.acall(question="delete the file 'a.txt' from the disk")
            assert prediction.answer == "It was not there."
            assert "there is no file a.txt" in prediction.steps[0].error

    async def test_a_description_without_its_session_is_refused(self):
        async with mcp_tools() as (described, _):
            with pytest.raises(TypeError, match=r"'greet'.*dspy\.Tool\.from_mcp_tool\(session, tool\)"):
                RoutedAgent("question -> answer", [described["greet"]], encoder="hash")


@langchain_tool
def convert_length(value: float, unit: Literal["mile", "kilometer"], digits: int = 2) -> float:
    """Convert a length between miles and kilometers."""
    return round(value * (1.609344 if unit == "mile" else 0.621371), digits)


def shout(text: str) -> str:
    return text.upper()


class Greet(BaseTool):
    name: str = "greet"
    description: str = "Say hello to somebody."

    def _run(self) -> str:
        return "hello"


LANGCHAIN = [
    convert_length,
    StructuredTool.from_function(shout, name="shout", description="Shout a text in capital letters."),
    Greet(),
]


class TestLangChain:
    @pytest.mark.parametrize("wrap", [lambda tool: tool, lambda tool: Toolbox.of([tool])[tool.name]])
    def test_a_card_keeps_the_schema_however_the_tool_comes(self, wrap):
        convert, shout_card, greet = (ToolCard.from_tool(wrap(tool)) for tool in LANGCHAIN)
        assert convert.name == "convert_length"
        assert convert.description == "Convert a length between miles and kilometers."
        assert convert.properties["unit"]["enum"] == ["mile", "kilometer"]
        assert convert.required == ("value", "unit")
        assert (shout_card.name, shout_card.required) == ("shout", ("text",))
        assert (greet.name, dict(greet.properties)) == ("greet", {})

    async def test_an_agent_takes_them_as_they_are(self):
        agent = RoutedAgent("question -> answer", LANGCHAIN, encoder="hash", synthesis="none")
        assert (await agent.acall(question="convert a length of 10 miles")).answer == "16.09"
        assert (await agent.acall(question="shout the text 'hey' in capitals")).answer == "HEY"
        assert (await agent.acall(question="say hello")).answer == "hello"


class TestDspy:
    def test_a_tool_of_a_function_reads_like_the_function(self):
        def book(day: str, seats: int = 1) -> None:
            """Book seats."""

        direct, wrapped = ToolCard.from_tool(book), ToolCard.from_tool(dspy.Tool(book))
        assert (direct.name, direct.description, direct.required) == (
            wrapped.name,
            wrapped.description,
            wrapped.required,
        )
        assert dict(direct.properties["seats"])["default"] == dict(wrapped.properties["seats"])["default"] == 1

    def test_a_tool_that_takes_anything_demands_nothing(self):
        def note(text: str, *marks: str, **details: str) -> None:
            """Write a note."""

        assert ToolCard.from_tool(dspy.Tool(note)).required == ("text",)
