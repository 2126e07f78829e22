"""Tells steps as a conversation in which the language model itself called the tools."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import dspy
import pydantic_core
from dspy.adapters.types.tool import ToolCallResults
from dspy.signatures.signature import make_signature

from dspy_router.program.calls import Call
from dspy_router.program.steps import LONGEST_OBSERVATION, show
from dspy_router.records import Step

_FIELD = "history"
# The fields of a turn of ReActV2.
_THOUGHT, _CALLS = "next_thought", "tool_calls"
# What a turn was asked beside them; never written, so that any name does that no input has.
_TOOLS = "dspy_router_tools"


class OwnCallHistory:
    """A history in the shape that `dspy.ReActV2` writes and continues.

    Every step is a turn: the first holds the inputs, each a `dspy.ToolCalls` with one call and its result. On the wire
    the turns are, message for message, those of a ReActV2 that made the same calls without a thought of its own: an
    assistant's tool call and a tool's message under an adapter with native function calling, text under any other.
    """

    def __init__(self, field: str, inputs: Mapping[str, Any], steps: Sequence[Step]) -> None:
        """Tell the steps.

        Args:
            field: The field for the history; a conversation that the inputs hold there comes first.
            inputs: The program's input fields.
            steps: What was done about them.
        """
        earlier = inputs.get(field)
        messages = list(dspy.History.model_validate(earlier).messages) if earlier is not None else []
        current = {name: value for name, value in inputs.items() if name != field}
        messages += turns(current, steps)
        # As in ReActV2, inputs that the history has told already are not told again.
        self.inputs = {**({} if steps else current), field: dspy.History(messages=messages)}
        self.told = bool(steps)

    @staticmethod
    def extend(signature: type[dspy.Signature]) -> type[dspy.Signature]:
        """The signature with a history, and with inputs that may be left out because the history tells them."""
        history = history_field(signature)
        for name, field in signature.input_fields.items():
            if name != history:
                signature = signature.with_updated_fields(name, type_=_or_none(field.annotation))
        if history not in signature.input_fields:
            signature = signature.append(history, dspy.InputField(), dspy.History)
        return signature

    def call(self, predictor: dspy.Predict, lm: Any, tools: Sequence[dspy.Tool]) -> Call:
        """The call of the predictor on this history.

        Args:
            predictor: The predictor of the extended signature.
            lm: The language model that it will ask.
            tools: The tools that were called; providers refuse native tool messages without their schemas.
        """
        if not self.told:
            return Call(predictor, self.inputs)
        adapter = copy.copy(dspy.settings.adapter or dspy.ChatAdapter())
        native = is_native(adapter, lm)
        adapter.use_native_function_calling = native
        adapter = _telling_turns(adapter, lm)
        if not native:
            return Call(predictor, self.inputs, adapter=adapter)
        schemas = [tool.format_as_litellm_function_call() for tool in tools]
        return Call(predictor, {**self.inputs, "config": {"tools": schemas, "tool_choice": "none"}}, adapter=adapter)


def turns(inputs: Mapping[str, Any], steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The steps as ReActV2 remembers them: one message each, the inputs in the first."""
    told = [
        turn({}, step.tool, step.arguments, _value(step), number=number, failed=step.failed)
        for number, step in enumerate(steps)
    ]
    return [{**inputs, **message} if number == 0 else message for number, message in enumerate(told)]


def turn(
    inputs: Mapping[str, Any], tool: str, arguments: Mapping[str, Any], value: Any, *, number: int, failed: bool = False
) -> dict[str, Any]:
    """One message of a history: what was asked, the call that the model made, and what came of it."""
    calls = [dspy.ToolCalls.ToolCall(id=f"call_{number}_0", name=tool, args=dict(arguments))]
    results = ToolCallResults.from_tool_calls_and_values(calls, [value], [failed])
    return {**inputs, _CALLS: dspy.ToolCalls(tool_calls=calls, tool_call_results=results)}


def history_field(signature: type[dspy.Signature]) -> str:
    """The name of the signature's `dspy.History`, or what it will be called."""
    fields = signature.input_fields.items()
    return next((name for name, field in fields if field.annotation is dspy.History), _FIELD)


def is_native(adapter: dspy.Adapter, lm: Any) -> bool:
    """Whether tool calls go over the wire as such, and not as text."""
    return adapter.use_native_function_calling and bool(getattr(lm, "supports_function_calling", False))


def _value(step: Step) -> Any:
    """What the tool returned, for the adapter to render as it renders the results of a loop; as text where it cannot.

    Long results are cut, and types of DSPy's own are found by the marks in their text.
    """
    shown = show(step.observation)
    if step.failed or isinstance(step.result, dspy.Type | bytes | bytearray | memoryview):
        return shown
    try:
        pydantic_core.to_jsonable_python(step.result, fallback=str)
    except ValueError:  # a circle, or bytes that are no text
        return shown
    return step.result if len(shown) <= LONGEST_OBSERVATION else shown


def _telling_turns(adapter: Any, lm: Any) -> dspy.Adapter:
    """An adapter that tells past tool calls in the words of ReActV2.

    An adapter writes a past turn with the output fields of the present signature. The present one has no tool calls, so
    that the turn would read as an empty answer, and its question as one for the answer: turns with tool calls are
    written with the signature that they were made under.
    """
    render = adapter.format_conversation_history

    def format_conversation_history(
        signature: type[dspy.Signature], history_field_name: str, inputs: dict[str, Any]
    ) -> list[dict[str, Any]]:
        of_turns = _turn_signature(signature, adapter, lm)
        messages = []
        for message in inputs[history_field_name].messages:
            told = signature
            if _CALLS in message:
                told = of_turns
                if not adapter.use_native_function_calling:
                    message = {_THOUGHT: "", **message}  # noqa: PLW2901 - a text says so where nothing was thought
            one = {**inputs, history_field_name: dspy.History(messages=[message])}
            messages += render(told, history_field_name, one)
        del inputs[history_field_name]
        return messages

    adapter.format_conversation_history = format_conversation_history
    # An answer that cannot be parsed is asked for once more through a JSON adapter, which must tell the same story.
    if (make_fallback := getattr(adapter, "_make_json_adapter_fallback", None)) is not None:
        adapter._make_json_adapter_fallback = lambda: _telling_turns(make_fallback(), lm)
    return adapter


def _turn_signature(signature: type[dspy.Signature], adapter: Any, lm: Any) -> type[dspy.Signature]:
    """The signature of a turn of ReActV2 on these inputs, as the adapter uses it with this language model."""
    fields: dict[str, Any] = {name: (field.annotation, field) for name, field in signature.input_fields.items()}
    fields |= {
        _TOOLS: (list[dspy.Tool], dspy.InputField()),
        _THOUGHT: (dspy.Reasoning, dspy.OutputField()),
        _CALLS: (dspy.ToolCalls, dspy.OutputField()),
    }
    return adapter._call_preprocess(lm, {}, make_signature(fields, ""), {_TOOLS: []})


def _or_none(annotation: Any) -> Any:
    try:
        return annotation | None
    except TypeError:  # an annotation that is no type, such as a string
        return annotation
