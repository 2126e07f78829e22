"""Tells a step as a conversation in which the language model itself called the tool."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from dspy.adapters.types.tool import ToolCallResults
from dspy.signatures.signature import make_signature

from dspy_router.program.calls import Call
from dspy_router.program.steps import show
from dspy_router.records import Step

_FIELD = "history"


class OwnCallHistory:
    """A history in the shape that `dspy.ReActV2` writes and continues.

    Its message holds the inputs and a `dspy.ToolCalls` with results. An adapter with native function calling renders it
    as an assistant's tool call and a tool's message; any other as text, in the words of a ReActV2 turn.
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
        if steps:
            messages.append({**current, "tool_calls": _tool_calls(steps)})
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
        adapter = copy.copy(dspy.settings.adapter or dspy.ChatAdapter())
        if not self.told:
            return Call(predictor, self.inputs)
        if adapter.use_native_function_calling and getattr(lm, "supports_function_calling", False):
            schemas = [tool.format_as_litellm_function_call() for tool in tools]
            return Call(predictor, {**self.inputs, "config": {"tools": schemas, "tool_choice": "none"}})
        return Call(predictor, self.inputs, adapter=_telling_calls_as_text(adapter))


def history_field(signature: type[dspy.Signature]) -> str:
    """The name of the signature's `dspy.History`, or what it will be called."""
    fields = signature.input_fields.items()
    return next((name for name, field in fields if field.annotation is dspy.History), _FIELD)


def _tool_calls(steps: Sequence[Step]) -> dspy.ToolCalls:
    calls = [
        dspy.ToolCalls.ToolCall(id=f"call_{index}_0", name=step.tool, args=dict(step.arguments))
        for index, step in enumerate(steps)
    ]
    values = [show(step.observation) for step in steps]
    results = ToolCallResults.from_tool_calls_and_values(calls, values, [step.failed for step in steps])
    return dspy.ToolCalls(tool_calls=calls, tool_call_results=results)


def _telling_calls_as_text(adapter: Any) -> dspy.Adapter:
    """An adapter of one's own that tells a past tool call by its own field.

    An adapter writes a past turn with the output fields of the present signature. The present one has no tool calls, so
    that the turn would read as an empty answer: it gets a signature of its own.
    """
    adapter.use_native_function_calling = False
    render = adapter.format_conversation_history

    def format_conversation_history(
        signature: type[dspy.Signature], history_field_name: str, inputs: dict[str, Any]
    ) -> list[dict[str, Any]]:
        messages = []
        for message in inputs[history_field_name].messages:
            told = signature
            if "tool_calls" in message:
                fields: dict[str, Any] = {
                    name: (field.annotation, field) for name, field in signature.input_fields.items()
                }
                told = make_signature({**fields, "tool_calls": (dspy.ToolCalls, dspy.OutputField())}, "")
            one = {**inputs, history_field_name: dspy.History(messages=[message])}
            messages += render(told, history_field_name, one)
        del inputs[history_field_name]
        return messages

    adapter.format_conversation_history = format_conversation_history
    # An answer that cannot be parsed is asked for once more through a JSON adapter, which must tell the same story.
    if (make_fallback := getattr(adapter, "_make_json_adapter_fallback", None)) is not None:
        adapter._make_json_adapter_fallback = lambda: _telling_calls_as_text(make_fallback())
    return adapter


def _or_none(annotation: Any) -> Any:
    try:
        return annotation | None
    except TypeError:  # an annotation that is no type, such as a string
        return annotation
