"""A language model by script: it makes the calls it is told to make, in whichever form a DSPy program asks for them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.loopback import Reply

# What it writes beside the calls; the length of a sentence each, which is little.
THOUGHT = "The question asks for something that this tool knows, so I call it with what the question says."
ANSWER = "It is as the tool says: the result above is what was asked for."

_FIELD = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
_OBSERVATION = re.compile(r"\[\[ ## observation_\d+ ## \]\]")
_TOLD_CALLS = "[[ ## tool_calls ## ]]"


@dataclass(frozen=True)
class Plan:
    """A question, and the calls by which it is answered.

    Attributes:
        question: What is asked.
        calls: Pairs of a tool's name and its arguments, in order; the last one is what the question is about.
    """

    question: str
    calls: tuple[tuple[str, Mapping[str, Any]], ...]

    def cut(self, depth: int) -> Plan:
        """The same question, answered with so many calls, of which the last one stays the last."""
        return Plan(self.question, self.calls[-depth:])


class ScriptedModel:
    """The script of a `Loopback`, for programs under `dspy.ChatAdapter`, with native calls of tools or without.

    It knows `dspy.ReAct`, `dspy.ReActV2`, `NativeToolLoop`, `ToolChoiceChain` and `RoutedAgent` by the fields that
    they ask for, and how far a loop has come by the results that are in its prompt.

    Attributes:
        plan: What it follows; set anew for every question.
    """

    def __init__(self) -> None:
        """Start without a plan."""
        self.plan = Plan("", ())

    def __call__(self, body: Mapping[str, Any]) -> Reply:
        """What the model answers to a request."""
        messages = body["messages"]
        last = messages[-1]["content"] or ""
        fields = [name for name in _FIELD.findall(last) if name != "completed"]
        if body.get("tools") and body.get("tool_choice") != "none":
            return self._native(body["tools"], messages, fields)
        if "tool_calls" in fields:  # ReActV2 in text
            told = sum(message["role"] == "assistant" and _TOLD_CALLS in message["content"] for message in messages)
            name, arguments = self._next(told, ("submit", {"answer": ANSWER}))
            calls = {"tool_calls": [{"name": name, "args": dict(arguments)}]}
            return _write({"next_thought": THOUGHT, "tool_calls": calls}, fields)
        name, arguments = self._next(len(_OBSERVATION.findall(last)), ("finish", {}))
        first = self.plan.calls[0] if self.plan.calls else ("none", {})
        return _write(
            {
                "next_thought": THOUGHT,
                "next_tool_name": name,
                "next_tool_args": dict(arguments),
                "reasoning": THOUGHT,
                "tool": first[0],
                "arguments": dict(first[1]),
                "answer": ANSWER,
            },
            fields,
        )

    def _native(
        self, tools: Sequence[Mapping[str, Any]], messages: Sequence[Mapping[str, Any]], fields: Sequence[str]
    ) -> Reply:
        done = sum(message["role"] == "tool" for message in messages)
        if done < len(self.plan.calls):
            return Reply(None, (self.plan.calls[done],))
        if any(tool["function"]["name"] == "submit" for tool in tools):
            return Reply(None, (("submit", {"answer": ANSWER}),))
        return _write({"answer": ANSWER}, [name for name in fields if name == "answer"])

    def _next(self, done: int, end: tuple[str, Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]]:
        return self.plan.calls[done] if done < len(self.plan.calls) else end


def _write(values: Mapping[str, Any], fields: Sequence[str]) -> Reply:
    """The fields that were asked for, as `dspy.ChatAdapter` reads them.

    Raises:
        KeyError: If the script knows nothing to say in a field.
    """
    unknown = [name for name in fields if name not in values]
    if unknown or not fields:
        raise KeyError(
            f"The script has no answer for the fields {unknown or 'of this prompt'}; it knows {', '.join(values)}."
        )
    shown = {name: values[name] if isinstance(values[name], str) else json.dumps(values[name]) for name in fields}
    return Reply("\n\n".join([*(f"[[ ## {k} ## ]]\n{v}" for k, v in shown.items()), "[[ ## completed ## ]]"]))
