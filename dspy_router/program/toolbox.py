"""The tools of a program by name, as DSPy calls them, and what is known of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dspy

from dspy_router.program.checked_tool import CheckedTool
from dspy_router.records import ToolCard


class Toolbox(dict[str, dspy.Tool]):
    """Tools by name. Copies of a program share them: what tools hold (connections, sessions) can rarely be copied.

    Attributes:
        cards: What is known of each tool, by the same names.
    """

    def __init__(self, tools: Mapping[str, dspy.Tool]) -> None:
        super().__init__(tools)
        self.cards = {name: ToolCard.from_tool(tool) for name, tool in tools.items()}
        self._checked: dict[str, CheckedTool] = {}

    def checked(self, name: str) -> dspy.Tool:
        """The tool as it is called: a plain `dspy.Tool` with its checks made once, one of another class as it is."""
        tool, checked = self[name], self._checked.get(name)
        if type(tool) is not dspy.Tool:
            return tool
        if checked is None or not checked.belongs_to(tool):
            checked = self._checked[name] = CheckedTool.of(tool)
        return checked

    def __deepcopy__(self, memo: dict[int, Any]) -> Toolbox:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (Toolbox, (dict(self),))

    @classmethod
    def of(cls, tools: Iterable[Any]) -> Toolbox:
        """Take functions, callable objects, `dspy.Tool`s and LangChain tools.

        Raises:
            TypeError: If one of them cannot be called, or `tools` is no sequence of tools.
            ValueError: If there is none, or two have one name.
        """
        if isinstance(tools, str | Mapping) or not isinstance(tools, Iterable):
            raise TypeError(f"The tools must be a list of functions or dspy.Tools; got {type(tools).__name__}.")
        named: dict[str, dspy.Tool] = {}
        for tool in map(_as_tool, tools):
            name = tool.name or ""
            if name in named:
                raise ValueError(
                    f"Two tools are called '{name}'. A router tells tools apart by name: "
                    "rename one, for example with dspy.Tool(function, name=…)."
                )
            named[name] = tool
        if not named:
            raise ValueError("There is no tool to choose: expected at least one function or dspy.Tool.")
        return cls(named)


def _as_tool(tool: Any) -> dspy.Tool:
    if isinstance(tool, dspy.Tool):
        return tool
    if hasattr(tool, "tool_call_schema") and hasattr(tool, "ainvoke"):
        return _from_langchain(tool)
    if hasattr(tool, "input_schema") or hasattr(tool, "inputSchema"):
        raise TypeError(
            f"'{getattr(tool, 'name', tool)}' is the description of an MCP tool, which cannot be called without its "
            "session: pass dspy.Tool.from_mcp_tool(session, tool)."
        )
    if not callable(tool):
        raise TypeError(
            f"A tool must be a function, a callable object, a dspy.Tool or a LangChain tool; "
            f"got {type(tool).__name__}: {tool!r:.80}."
        )
    return dspy.Tool(tool)


def _from_langchain(tool: Any) -> dspy.Tool:
    if hasattr(tool.args_schema, "model_json_schema"):
        return dspy.Tool.from_langchain(tool)

    # DSPy reads pydantic schemas only; a LangChain tool may also have a plain one, or none but a function's signature.
    async def invoke(**arguments: Any) -> Any:
        return await tool.ainvoke(arguments)

    card = ToolCard.from_tool(tool)
    return dspy.Tool(invoke, name=card.name, desc=card.description, args=dict(card.properties), arg_types={})
