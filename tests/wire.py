"""Language models on the other end of a loopback wire, and what they would write under each adapter of DSPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from benchmarks.loopback import Loopback, Reply
from dspy_router.program.synthesis import read_signature

ROOT = "what is the square root of 16"
Calls = Sequence[tuple[str, Mapping[str, Any]]]

# Every way in which DSPy writes a tool call: natively, or as text in the words of an adapter.
ADAPTERS = {
    "chat, native": dspy.ChatAdapter(use_native_function_calling=True),
    "json, native": dspy.JSONAdapter(),
    "chat, text": dspy.ChatAdapter(),
    "json, text": dspy.JSONAdapter(use_native_function_calling=False),
    "xml, text": dspy.XMLAdapter(),
}


class Turn(dspy.Signature):
    """What a ReActV2 asks its language model for."""

    question: str = dspy.InputField()
    next_thought: dspy.Reasoning = dspy.OutputField()
    tool_calls: dspy.ToolCalls = dspy.OutputField()


def wire_lm(server: Loopback, engine: str = "auto", **settings: Any) -> dspy.LM:
    """A real `dspy.LM` that asks the server; `litellm` goes through LiteLLM, `auto` through DSPy's own engine."""
    settings = {"cache": False, "num_retries": 0, **settings}
    return dspy.LM("openai/gpt-4o-mini", api_base=server.url, api_key="none", engine=engine, **settings)


def calling(adapter: Any, calls: Calls, thought: str = "") -> Reply:
    """The reply of a model that makes these calls, as a model would write it under the adapter."""
    if adapter.use_native_function_calling:
        return Reply(None, calls)
    made = dspy.ToolCalls(tool_calls=[dspy.ToolCalls.ToolCall(name=name, args=dict(args)) for name, args in calls])
    outputs = {"next_thought": dspy.Reasoning(content=thought), "tool_calls": made}
    return Reply(adapter.format_assistant_message_content(Turn, outputs))


def answering(adapter: Any, signature: str = "question -> answer", **outputs: Any) -> Reply:
    """The reply of a model that writes the output fields."""
    return Reply(adapter.format_assistant_message_content(read_signature(signature), outputs))


def ask(program: Any, *replies: Reply, adapter: Any = ADAPTERS["chat, native"], **settings: Any) -> tuple[Any, list]:
    """A program's answer about a root, and the requests of its language model, which gives these replies."""
    with Loopback(replies) as server, dspy.context(lm=wire_lm(server, **settings), adapter=adapter):
        return program(question=ROOT), server.requests


def submitting(adapter: Any, **outputs: Any) -> Reply:
    """The reply of a model that ends a ReActV2 with these outputs."""
    return calling(adapter, [("submit", outputs)], thought="That is all.")
