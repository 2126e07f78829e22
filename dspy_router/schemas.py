"""What the many kinds of tools say of themselves, brought into the one form that a tool card has."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints


def describe_tool(tool: Any) -> dict[str, Any]:
    """Name, description, parameters and hints of a tool, as the fields of a `ToolCard`.

    Args:
        tool: A Python function, `dspy.Tool`, MCP tool, LangChain tool, or an OpenAI function schema as a mapping.

    Raises:
        TypeError: If it is none of them.
    """
    if isinstance(tool, Mapping):
        schema = tool.get("function", tool)
        if not isinstance(schema, Mapping) or "name" not in schema:
            raise TypeError(f"A tool given as a mapping needs a 'name'; got the keys {sorted(map(str, tool))}.")
        return _fields(schema["name"], schema.get("description"), schema.get("parameters") or {})
    if hasattr(tool, "tool_call_schema") and hasattr(tool, "name"):
        schema = tool.tool_call_schema
        schema = schema if isinstance(schema, Mapping) else schema.model_json_schema()
        return _fields(tool.name, tool.description, object_schema(schema))
    if (mcp_schema := _first_attribute(tool, "input_schema", "inputSchema")) is not None and hasattr(tool, "name"):
        return _describe_mcp(tool, mcp_schema)
    if hasattr(tool, "func") and hasattr(tool, "args") and hasattr(tool, "desc"):
        return _describe_dspy(tool)
    if callable(tool):
        name = getattr(tool, "__name__", type(tool).__name__)
        function: Any = tool if inspect.isroutine(tool) else tool.__call__
        return _fields(name, inspect.getdoc(tool), object_schema(_parameters_of(function)))
    raise TypeError(
        "A tool must be a Python function, dspy.Tool, MCP tool, LangChain tool, ToolCard or function schema; "
        f"got {type(tool).__name__}: {tool!r:.80}."
    )


def _fields(name: Any, description: str | None, parameters: Any) -> dict[str, Any]:
    return {"name": name, "description": description or "", "parameters": parameters}


def _describe_mcp(tool: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    hints = getattr(tool, "annotations", None)
    return {
        **_fields(tool.name, tool.description, object_schema(schema)),
        "read_only": _first_attribute(hints, "read_only_hint", "readOnlyHint"),
        "destructive": _first_attribute(hints, "destructive_hint", "destructiveHint"),
    }


def _describe_dspy(tool: Any) -> dict[str, Any]:
    # dspy.Tool.from_mcp_tool and from_langchain drop the hints and which parameters are optional; the tool they wrap
    # still has both, and is in reach only as a variable of the wrapper's closure.
    wrapped = inspect.getclosurevars(tool.func).nonlocals.get("tool") if inspect.isfunction(tool.func) else None
    name, description = tool.name, inspect.cleandoc(tool.desc or "")
    if any(hasattr(wrapped, mark) for mark in ("input_schema", "inputSchema", "tool_call_schema")):
        return {**describe_tool(wrapped), "name": name, "description": description}
    # It also takes `*args` and `**kwargs` for parameters of these names, with nothing known of them, and drops what
    # `Annotated` says of the others.
    kinds = inspect.signature(tool.func).parameters
    variadic = {key for key, one in kinds.items() if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    hints = get_type_hints(tool.func if inspect.isroutine(tool.func) else tool.func.__call__, include_extras=True)
    given = {key: dict(value) for key, value in (tool.args or {}).items() if key not in variadic}
    properties = {key: restore_annotations(value, hints.get(key, Any)) for key, value in given.items()}
    required = [key for key, value in properties.items() if "default" not in value]
    return _fields(name, description, object_schema({"properties": properties, "required": required}))


def _first_attribute(owner: Any, *names: str) -> Any:
    """The first of these attributes that is there and not None: the mcp package renamed its fields in version 2."""
    return next((value for name in names if (value := getattr(owner, name, None)) is not None), None)


def object_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An object schema with nothing but properties, required names and definitions, the empty ones left out."""
    kept = {key: schema[key] for key in ("properties", "required", "$defs") if schema.get(key)}
    return {"type": "object", "properties": {}, **kept}


def restore_annotations(schema: Mapping[str, Any], hint: Any) -> dict[str, Any]:
    """A parameter's schema with what its type hint adds, such as the pattern or description of an `Annotated` one.

    `dspy.Tool` reads type hints without their annotations; the rules that fill arguments need what they say.

    Args:
        schema: The schema as DSPy has it; its own description and default stay.
        hint: The type hint, annotations included. Where the schema says something else, the hint is left aside.
    """
    own = {key: schema[key] for key in ("description", "default") if key in schema}
    full = _parameters_of(hint)
    bare = {key: value for key, value in schema.items() if key not in own}
    return {**full, **own} if _refines(full, bare) else dict(schema)


def _parameters_of(hint: Any) -> dict[str, Any]:
    """The JSON schema of a type, or of a function's parameters."""
    # Not at the top: whoever only decides needs cards that are there already, and may have no pydantic at all.
    from pydantic import TypeAdapter

    return TypeAdapter(hint).json_schema()


def _refines(full: Any, bare: Any) -> bool:
    """Whether a schema says all that another one does."""
    if isinstance(bare, Mapping) and isinstance(full, Mapping):
        return all(key in full and _refines(full[key], value) for key, value in bare.items())
    if isinstance(bare, list) and isinstance(full, list) and len(bare) == len(full):
        return all(map(_refines, full, bare))
    return full == bare
