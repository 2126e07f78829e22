"""The JSON of the OpenAI chat API: answers in whole and in pieces, and errors."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

from benchmarks.loopback.replies import Reply

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "invalid_request_error",
    408: "timeout",
    429: "rate_limit_error",
}
_ARGUMENTS_A_PIECE = 16  # characters


def error(status: int, message: str) -> dict[str, Any]:
    """An error as the API words it."""
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def completion(body: dict[str, Any], reply: Reply, usage: dict[str, int]) -> dict[str, Any]:
    """The answer in whole."""
    choice = {"index": 0, "message": _message(reply), "finish_reason": _finish(reply), "logprobs": None}
    return {**_head(body, "chat.completion"), "choices": [choice], "usage": usage}


def chunks(body: dict[str, Any], reply: Reply, usage: dict[str, int]) -> Iterator[dict[str, Any]]:
    """The answer in the pieces of a stream: text word by word, tool calls by name first and then their arguments."""
    head = _head(body, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    for piece in re.findall(r"\S*\s|\S+$", reply.text or ""):
        yield chunk({"content": piece})
    for index, call in enumerate(_message(reply).get("tool_calls", ())):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        yield chunk({"tool_calls": [{"index": index, **call, "function": {"name": name, "arguments": ""}}]})
        for start in range(0, len(arguments), _ARGUMENTS_A_PIECE):
            piece = arguments[start : start + _ARGUMENTS_A_PIECE]
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, _finish(reply))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": usage}


def _head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": body.get("model", ""),
    }


def _message(reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": f"call_{uuid.uuid4().hex[:24]}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(dict(arguments))},
            }
            for name, arguments in reply.tool_calls
        ]
    return message


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.tool_calls else "stop"
