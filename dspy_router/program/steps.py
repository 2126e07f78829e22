"""Carries a decision out: fills the arguments, calls the tool, and makes an observation of whatever comes of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, Literal

import dspy
import pydantic
import pydantic_core

from dspy_router.program.arguments import fill
from dspy_router.program.calls import Call, Plan
from dspy_router.program.filling.argument_prompt import ArgumentError, ask_arguments, require_lm
from dspy_router.records import Step, ToolCard

# Longer results are cut in what a language model reads (about five thousand tokens); the step keeps them whole.
LONGEST_OBSERVATION = 20_000
_LONGEST_ERROR = 2_000


def take_step(
    tool: dspy.Tool, card: ToolCard, inputs: Mapping[str, Any], *, filler: dspy.Predict, timeout: float | None = None
) -> Plan[Step]:
    """Plan one step: arguments by rules, or else by the language model, then the call.

    Whatever the tool does short of stopping the process is an observation: it may raise, take too long, or return what
    cannot be shown. So is a call that the language model could not fill.

    Args:
        tool: What to call.
        card: What is known of it.
        inputs: The program's input fields.
        filler: The predictor of `FillArguments`.
        timeout: Seconds that the tool may take; None for as long as it likes.

    Raises:
        ArgumentError: If the rules do not settle the arguments, and no language model is configured.
    """
    filled_by: Literal["none", "rules", "lm"] = "rules" if card.properties else "none"
    arguments = fill(card, inputs)
    if arguments is None:
        require_lm(filler, card, inputs)
        filled_by = "lm"
        try:
            arguments = yield from ask_arguments(filler, card, inputs)
        except ArgumentError as error:
            return Step(card.name, error=describe_error(error), filled_by=filled_by)
    started = time.perf_counter()
    try:
        result = yield Call(tool, arguments, timeout=timeout)
        show(result)  # what cannot be shown is no result to anybody
    except Exception as error:
        seconds = time.perf_counter() - started
        return Step(card.name, arguments, error=describe_error(error), filled_by=filled_by, seconds=seconds)
    return Step(card.name, arguments, result, filled_by=filled_by, seconds=time.perf_counter() - started)


def show(value: Any) -> str:
    """A tool's result as the text that a language model reads; cut where it is very long.

    Raises:
        Exception: Whatever the value's own `__str__` or `__repr__` raises.
    """
    if isinstance(value, dspy.Type):
        return str(value)  # images and their like: adapters find them by marks in this text
    text = value if isinstance(value, str) else _as_text(value)
    if len(text) <= LONGEST_OBSERVATION:
        return text
    return f"{text[:LONGEST_OBSERVATION]}… [{len(text) - LONGEST_OBSERVATION} more characters left out]"


def _as_text(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            return f"{len(bytes(value))} bytes of binary data"
    if isinstance(value, Mapping | list | tuple | set | frozenset | pydantic.BaseModel) or dataclasses.is_dataclass(
        value
    ):
        try:
            return pydantic_core.to_json(value, inf_nan_mode="constants", fallback=str).decode("utf-8")
        except ValueError:  # a circle, or bytes that are no text
            return str(value)
    return str(value)


def describe_error(error: Exception) -> str:
    """An error as `ErrorType: message`, even where the message itself fails."""
    try:
        message = str(error)
    except Exception:
        message = "(its message cannot be shown)"
    message = message if len(message) <= _LONGEST_ERROR else f"{message[:_LONGEST_ERROR]}…"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
