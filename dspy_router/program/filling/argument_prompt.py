"""Fills a tool call by the language model, where the rules found no reading or several."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from dspy_router.program.arguments import unsettled_parameters
from dspy_router.program.calls import Call, Plan
from dspy_router.program.schema_checks import BROKEN_SCHEMA
from dspy_router.records import ToolCard, read_inputs

ATTEMPTS = 2


class ArgumentError(ValueError):
    """A tool call could not be filled."""


class FillArguments(dspy.Signature):
    """Fill in the arguments of one call of the tool, as the request asks for it.

    Give every required parameter and keep to the types and formats of the schema. Leave out an optional parameter that
    the request says nothing about. If `problem` is not empty, it tells what was wrong with the previous attempt.
    """

    request: str = dspy.InputField(desc="what the user wants")
    tool: str = dspy.InputField(desc="the tool that will be called, and what it does")
    parameters: str = dspy.InputField(desc="JSON schema of the tool's arguments")
    problem: str = dspy.InputField(desc="what was wrong with the previous attempt", default="")
    arguments: dict[str, Any] = dspy.OutputField(desc="the arguments by name, a JSON object")


def ask_arguments(filler: dspy.Predict, card: ToolCard, inputs: Mapping[str, Any]) -> Plan[dict[str, Any]]:
    """Plan the filling of a call: one prompt, and a second one that shows what was wrong with the first answer.

    Args:
        filler: The predictor of `FillArguments`.
        card: The tool to call.
        inputs: The program's input fields.

    Raises:
        ArgumentError: If neither answer fits the tool's schema.
    """
    tool = f"{card.name}: {card.description}" if card.description else card.name
    request = {"request": read_inputs(inputs), "tool": tool, "parameters": json.dumps(card.parameters)}
    problem = ""
    for _ in range(ATTEMPTS):
        try:
            answer = (yield Call(filler, {**request, "problem": problem})).arguments
        except AdapterParseError as error:
            problem = f"The answer was not in the format asked for: {error.lm_response!r:.500}"
            continue
        arguments = _without_nulls(card, answer)
        fault = find_fault(card, arguments)
        if fault is None:
            return arguments
        problem = f"{json.dumps(arguments, default=str)} was refused: {fault}"
    raise ArgumentError(f"The language model did not fill a valid call of '{card.name}'. {problem}")


def find_fault(card: ToolCard, arguments: Any) -> str | None:
    """What is wrong with the arguments by the tool's schema; None if nothing is."""
    if not isinstance(arguments, Mapping):
        return f"The arguments must be a JSON object, not {type(arguments).__name__}."
    for name in arguments:
        if name not in card.properties:
            close = get_close_matches(name, card.properties, n=1)
            return f"There is no parameter '{name}'" + (f"; did you mean '{close[0]}'?" if close else ".")
    validator = Draft202012Validator(card.parameters, format_checker=Draft202012Validator.FORMAT_CHECKER)
    try:
        error = best_match(validator.iter_errors(dict(arguments)))
    except BROKEN_SCHEMA:
        return None  # what the schema cannot say is left to the tool
    if error is None:
        return None
    return f"{error.json_path.removeprefix('$.')}: {error.message}" if error.path else error.message


def _without_nulls(card: ToolCard, arguments: Any) -> Any:
    """Without the nulls that models write for optional parameters which they mean to leave out."""
    if not isinstance(arguments, Mapping):
        return arguments
    return {name: value for name, value in arguments.items() if value is not None or name in card.required}


def require_lm(filler: dspy.Predict, card: ToolCard, inputs: Mapping[str, Any]) -> None:
    """See that there is a language model to fill the call.

    Raises:
        ArgumentError: If there is none; it names the tool, the parameters in doubt, and the ways out.
    """
    if filler.lm is not None or dspy.settings.lm is not None:
        return
    names = unsettled_parameters(card, inputs)
    doubtful = f"parameter {names[0]!r} has" if len(names) == 1 else f"parameters {', '.join(map(repr, names))} have"
    raise ArgumentError(
        f"The call of tool '{card.name}' cannot be filled by rules: its {doubtful} no single reading in the input "
        f"{read_inputs(inputs)!r:.200}. Either configure a language model to read it, dspy.configure(lm=dspy.LM(…)), "
        f"or say each value so that it has one reading: quote a text, write a parameter's name before its value "
        f"('{names[0]}: …')."
    )
