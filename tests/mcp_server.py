"""A small MCP server over stdio, for tests: `python mcp_server.py` and speak to it."""

from __future__ import annotations

from typing import Annotated, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

server = MCPServer("toolbelt")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def convert_length(
    value: Annotated[float, Field(description="the length")],
    unit: Literal["mile", "kilometer"],
    digits: int = 2,
) -> str:
    """Convert a length between miles and kilometers."""
    return str(round(value * (1.609344 if unit == "mile" else 0.621371), digits))


@server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=True))
def delete_file(path: str) -> str:
    """Delete a file from the disk."""
    raise ToolError(f"there is no file {path}")


@server.tool()
def greet() -> str:
    """Say hello to somebody."""
    return "hello"


if __name__ == "__main__":
    server.run("stdio")
