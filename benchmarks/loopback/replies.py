"""What the server answers to a request: text, tool calls or an error, and how long it takes over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server answers to one request.

    Attributes:
        text: The assistant's text; None where it only calls tools.
        tool_calls: Pairs of a tool's name and its arguments.
        status: HTTP status; from 400 on an error of the API is sent in place of an answer.
        delay: Seconds to wait before the first byte, on top of the server's latency.
        input_tokens: What the usage says; by default what the server's own tokenizer counts.
        output_tokens: The same for the answer.
        pause: Seconds between two pieces of a stream.
        retry_after: Seconds after which an error asks to be tried again, as its header says; None says nothing.
    """

    text: str | None = None
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    status: int = 200
    delay: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    pause: float = 0.0
    retry_after: float | None = None

    @property
    def failed(self) -> bool:
        """Whether it is an error."""
        return self.status >= 400

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict that `from_dict` reads."""
        return {**asdict(self), "tool_calls": [[name, dict(arguments)] for name, arguments in self.tool_calls]}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Reply:
        """The reply that `to_dict` wrote."""
        calls = tuple((name, arguments) for name, arguments in fields.get("tool_calls", ()))
        return cls(**{**fields, "tool_calls": calls})


# A function of the request's body, or one answer after the other, the last of them for all that follow.
Replies = Callable[[dict[str, Any]], Reply | str] | Sequence[Reply | str]
