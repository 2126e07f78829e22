"""Whether a value fits a JSON schema: what `jsonschema` says, asked quickly."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, UnknownType, ValidationError, best_match
from jsonschema.validators import validator_for
from referencing.exceptions import Unresolvable

from dspy_router.program.remembering import once_each

# What jsonschema raises for a schema that is none.
BROKEN_SCHEMA = (SchemaError, UnknownType, Unresolvable, re.error)

# Keywords that forbid nothing; formats are not asserted here.
_NOTES = frozenset({"title", "description", "default", "examples", "format", "$defs"})
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})


def is_valid(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether the value fits the schema; a broken schema fits nothing."""
    try:
        return _surely_valid(schema)(value) or _validator(schema).is_valid(value)
    except BROKEN_SCHEMA:
        return False


def find_error(schema: Mapping[str, Any], value: Any) -> ValidationError | None:
    """What `jsonschema.validate` would raise for the value; None if it fits.

    Raises:
        SchemaError: If the schema is none.
    """
    validator = _checked_validator(schema)
    return None if _surely_valid(schema)(value) else best_match(validator.iter_errors(value))


# Validators are kept by the identity of the schema, which must live as long as its tool, not be made for one question.
_validator = once_each(Draft202012Validator)


@once_each
def _checked_validator(schema: Any) -> Any:
    kind = validator_for(schema)
    kind.check_schema(schema)
    return kind(schema)


@once_each
def _surely_valid(schema: Any) -> Callable[[Any], bool]:
    """A quick test that only values pass which fit the schema; of those that fail it nothing is known.

    Most parameters are but a type or a choice of strings. To learn that from the validator takes it twenty times as
    long as to ask its table of types.
    """
    told = {key: value for key, value in schema.items() if key not in _NOTES} if isinstance(schema, Mapping) else {}
    match told:
        case {"type": str(kind), **rest} if kind in _TYPES and not rest:
            return lambda value: Draft202012Validator.TYPE_CHECKER.is_type(value, kind)
        case {"type": "string", "enum": list(members), **rest} if not rest:
            return lambda value: isinstance(value, str) and value in members
        case {"type": "object", "properties": Mapping() as properties, **rest} if rest.keys() <= {"required"}:
            return _surely_valid_object(properties, rest.get("required"))
    return lambda value: False


def _surely_valid_object(properties: Mapping[str, Any], required: Any) -> Callable[[Any], bool]:
    tests = {name: _surely_valid(one) for name, one in properties.items()}
    if required is not None and not isinstance(required, list | tuple):
        return lambda value: False
    required = required or ()
    return lambda value: (
        isinstance(value, dict)
        and all(name in value for name in required)
        and all(name not in tests or tests[name](one) for name, one in value.items())
    )
