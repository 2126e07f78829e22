"""Writes the output fields from the inputs and what the tool gave: one prompt that sees no tool schemas.

Three ways to hand the result over:

* `result`: the inputs, the tool's name and its result as fields. The prompt does not grow with the number of tools.
* `history`: a `dspy.History` that reads as if the language model itself had called the tool.
* `none`: the tool's result is the answer, and no language model is called.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import dspy
from dspy.adapters.utils import parse_value
from dspy.signatures.signature import ensure_signature
from pydantic import TypeAdapter

from dspy_router.program.calls import Call
from dspy_router.program.history import OwnCallHistory, history_field
from dspy_router.program.steps import show
from dspy_router.records import Step

Mode = Literal["result", "history", "none"]
Signature = type[dspy.Signature]

NO_TOOL = "none"
_RESULT_FIELDS = {
    "tool": dspy.InputField(desc="the tool that was called for these inputs"),
    "tool_result": dspy.InputField(desc="what the tool returned"),
}
_RESULT_HINT = (
    "A tool may have been called for these inputs already: `tool_result` is what the tool `tool` returned. "
    "Base the outputs on it."
)
# What the agent adds to every prediction.
_PREDICTION_FIELDS = ("steps", "decision")


def read_signature(signature: str | Signature) -> Signature:
    """A signature, or one written as `question -> answer`.

    Raises:
        TypeError: If it is neither.
        ValueError: If the text is no signature.
    """
    checked = ensure_signature(signature) if isinstance(signature, str) else signature
    if isinstance(checked, type) and issubclass(checked, dspy.Signature):
        return checked
    raise TypeError(
        f"The signature must be a string such as 'question -> answer' or a dspy.Signature; got {signature!r}."
    )


def check_mode(mode: str, signature: Signature) -> Mode:
    """See that the signature can be answered in this way.

    Raises:
        ValueError: If there is no such mode, the signature has no inputs or outputs, uses a name that the agent needs
            for itself, or asks for other than one output field where the tool's result is the answer.
    """
    if mode not in get_args(Mode):
        close = difflib.get_close_matches(str(mode), get_args(Mode), n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise ValueError(f"synthesis must be 'result', 'history' or 'none', got {mode!r}.{hint}")
    inputs, outputs = signature.input_fields, signature.output_fields
    if not inputs or not outputs:
        raise ValueError(
            f"The signature '{signature.signature}' has no {'outputs' if inputs else 'inputs'}; "
            "expected at least one input field and one output field, as in 'question -> answer'."
        )
    reserved = [name for name in outputs if name in _PREDICTION_FIELDS]
    reserved += [name for name in inputs if mode == "result" and name in _RESULT_FIELDS]
    if reserved:
        raise ValueError(
            f"The signature has a field named {' and '.join(map(repr, reserved))}, which a RoutedAgent with "
            f"synthesis='{mode}' uses itself. Rename it."
        )
    if mode == "none" and len(outputs) != 1:
        raise ValueError(
            "With synthesis='none' the tool's result is the answer, so the signature must have exactly one output "
            f"field; it has {len(outputs)}: {', '.join(outputs)}. Use synthesis='result' to have them written."
        )
    return mode  # type: ignore[return-value]


def synthesis_prompt(mode: Mode, signature: Signature) -> dspy.Predict | None:
    """The predictor that writes the outputs; None where the tool's result is the answer."""
    if mode == "none":
        return None
    if mode == "history":
        return dspy.Predict(OwnCallHistory.extend(signature))
    for name, field in _RESULT_FIELDS.items():
        signature = signature.append(name, field, str)
    return dspy.Predict(signature.with_instructions(f"{signature.instructions}\n\n{_RESULT_HINT}"))


def synthesis_call(
    predictor: dspy.Predict,
    mode: Mode,
    inputs: Mapping[str, Any],
    steps: Sequence[Step],
    tools: Mapping[str, dspy.Tool],
) -> Call:
    """The call that has the outputs written.

    Args:
        predictor: What `synthesis_prompt` made for this mode.
        mode: How to hand the results over.
        inputs: The program's input fields.
        steps: What was done about them; nothing, if no tool fits.
        tools: The program's tools by name.
    """
    if mode == "history":
        signature: Any = predictor.signature
        history = OwnCallHistory(history_field(signature), inputs, steps)
        called = [tools[name] for name in dict.fromkeys(step.tool for step in steps)]
        lm = predictor.lm if predictor.lm is not None else dspy.settings.lm
        return history.call(predictor, lm, called)
    last = steps[-1] if steps else None
    name = last.tool if last else NO_TOOL
    result = show(last.observation) if last else "No tool was called."
    return Call(predictor, {**inputs, "tool": name, "tool_result": result})


def as_answer(result: Any, annotation: Any) -> Any:
    """A tool's result as the type of the output field.

    Raises:
        ValueError: If it cannot be read as that type.
    """
    if annotation is str:
        return result if isinstance(result, str) else show(result)
    if isinstance(result, str):
        return parse_value(result, annotation)
    return TypeAdapter(annotation).validate_python(result)
