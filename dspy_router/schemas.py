"""JSON schemas of tools' parameters, brought into the one form that a tool card has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter


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
    full = TypeAdapter(hint).json_schema()
    bare = {key: value for key, value in schema.items() if key not in own}
    return {**full, **own} if _refines(full, bare) else dict(schema)


def _refines(full: Any, bare: Any) -> bool:
    """Whether a schema says all that another one does."""
    if isinstance(bare, Mapping) and isinstance(full, Mapping):
        return all(key in full and _refines(full[key], value) for key, value in bare.items())
    if isinstance(bare, list) and isinstance(full, list) and len(bare) == len(full):
        return all(map(_refines, full, bare))
    return full == bare
