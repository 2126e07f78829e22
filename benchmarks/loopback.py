"""A small server on the loopback interface that speaks the OpenAI chat API, so that what goes over the wire is seen."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, cast

_ERROR_TYPES = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}


@dataclass(frozen=True)
class Reply:
    """What the server answers to one request.

    Attributes:
        text: The assistant's text; None where it only calls tools.
        tool_calls: Pairs of a tool's name and its arguments.
        status: HTTP status; from 400 on an error of the API is sent in place of an answer.
        delay: Seconds to wait before the first byte, on top of the server's latency.
        input_tokens: What the usage says; by default about a token for four characters.
        output_tokens: The same for the answer.
    """

    text: str | None = None
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    status: int = 200
    delay: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None


# A function of the request's body, or one answer after the other, the last of them for all that follow.
Replies = Callable[[dict[str, Any]], Reply | str] | Sequence[Reply | str]


class Loopback:
    """An OpenAI chat server at a free port of 127.0.0.1, from `with` to the end of it.

    `dspy.LM("openai/gpt-4o-mini", api_base=server.url, api_key="none")` reaches it as it would reach the real one.

    Attributes:
        requests: The bodies of the requests so far, in order of arrival.
        latency: Seconds that every answer takes.
    """

    def __init__(self, replies: Replies, *, latency: float = 0.0) -> None:
        """Take the script; the server starts with `with`.

        Args:
            replies: What to answer. A string stands for a `Reply` with that text.
            latency: Seconds that every answer takes.

        Raises:
            ValueError: If there is nothing to answer.
        """
        if not callable(replies) and not replies:
            raise ValueError("The server has nothing to answer: expected a function, or at least one reply.")
        self.latency = latency
        self.requests: list[dict[str, Any]] = []
        self._replies = replies
        self._lock = threading.Lock()
        self._closing = threading.Event()

    @property
    def url(self) -> str:
        """The `api_base` of the server."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Loopback:
        """Listen."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.loopback = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, and let go of every answer that is still being waited for."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, body: dict[str, Any]) -> Reply:
        """Remember a request and take its reply, after as long as it is to take."""
        with self._lock:
            self.requests.append(body)
            number = len(self.requests)
        script = self._replies
        reply = script(body) if callable(script) else script[min(number, len(script)) - 1]
        reply = Reply(reply) if isinstance(reply, str) else reply
        self._closing.wait(self.latency + reply.delay)
        return reply


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as every client expects
    disable_nagle_algorithm = True  # or every answer would wait for the client's delayed acknowledgement

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.path.rstrip("/") != "/v1/chat/completions":
            return self._send(404, _error(404, f"There is no {self.path} here, only /v1/chat/completions."))
        loopback = cast(Loopback, self.server.loopback)  # type: ignore[attr-defined]
        reply = loopback.answer(body)
        if reply.status >= 400:
            return self._send(reply.status, _error(reply.status, reply.text or f"scripted error {reply.status}"))
        if body.get("stream"):
            return self._stream(body, reply)
        return self._send(200, _completion(body, reply))

    def _send(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has stopped waiting

    def _stream(self, body: dict[str, Any], reply: Reply) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in _chunks(body, reply):
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _error(status: int, message: str) -> dict[str, Any]:
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


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


def _usage(body: dict[str, Any], reply: Reply) -> dict[str, int]:
    def about(value: Any) -> int:
        return max(1, len(json.dumps(value)) // 4)

    given, written = reply.input_tokens, reply.output_tokens
    read = about([body.get("messages"), body.get("tools")]) if given is None else given
    wrote = about(_message(reply)) if written is None else written
    return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}


def _completion(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    choice = {"index": 0, "message": _message(reply), "finish_reason": _finish(reply), "logprobs": None}
    return {**_head(body, "chat.completion"), "choices": [choice], "usage": _usage(body, reply)}


def _chunks(body: dict[str, Any], reply: Reply) -> Iterator[dict[str, Any]]:
    """The answer in the pieces of a stream: the text word by word, each tool call at once."""
    head = _head(body, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    for word in (reply.text or "").splitlines(keepends=True):
        for piece in word.replace(" ", " \0").split("\0"):
            yield chunk({"content": piece})
    for index, call in enumerate(_message(reply).get("tool_calls", ())):
        yield chunk({"tool_calls": [{"index": index, **call}]})
    yield chunk({}, _finish(reply))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": _usage(body, reply)}
