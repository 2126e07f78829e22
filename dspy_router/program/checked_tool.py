"""A tool that is called as DSPy calls it, with everything that its checks need made once."""

from __future__ import annotations

from typing import Any, Self

import dspy
from pydantic import BaseModel, create_model

from dspy_router.program.remembering import once_each
from dspy_router.program.schema_checks import find_error


class CheckedTool(dspy.Tool):
    """A `dspy.Tool` whose arguments are checked as ever, with the same values and errors, in a fraction of the time.

    In each call `dspy.Tool` checks the schema of each argument against the schema of schemas, and makes a new pydantic
    model to parse its value with: half a millisecond, more than all else that an agent adds to a call. Here both happen
    once for each argument.

    It shares its fields with the tool that it was made of, later changes too.
    """

    @classmethod
    def of(cls, tool: dspy.Tool) -> Self:
        """The same tool with checks made once."""
        checked = cls.__new__(cls)
        for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
            object.__setattr__(checked, name, getattr(tool, name, None))
        return checked

    def belongs_to(self, tool: dspy.Tool) -> bool:
        """Whether it was made of this very tool."""
        return self.__dict__ is tool.__dict__

    def _validate_and_parse_args(self, **kwargs: Any) -> dict[str, Any]:
        # DSPy's own step between a call and its function. A version that has none of this name checks by itself.
        schemas, types = self.args or {}, self.arg_types or {}
        for name, value in kwargs.items():
            if name in schemas:
                _check(name, value, schemas[name])
            elif not self.has_kwargs:
                raise ValueError(f"Arg {name} is not in the tool's args.")
        return {
            name: _parser(types[name]).model_validate({"value": value}).value  # pyright: ignore[reportAttributeAccessIssue]
            if name in types and types[name] != Any
            else value
            for name, value in kwargs.items()
        }


def _check(name: str, value: Any, schema: dict[str, Any]) -> None:
    if schema.get("type") in (None, "Any"):
        return
    error = find_error(schema, value.model_dump() if hasattr(value, "model_dump") else value)
    if error is not None:
        raise ValueError(f"Arg {name} is invalid: {error.message}")


@once_each
def _parser(hint: Any) -> type[BaseModel]:
    """What `dspy.Tool` parses a value with."""
    return create_model("Wrapper", value=(hint, ...))
