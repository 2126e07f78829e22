"""The server: requests in, scripted or recorded replies out, and a count of calls and tokens."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, cast

from benchmarks.loopback.chat_api import chunks, completion, error
from benchmarks.loopback.recordings import Recordings
from benchmarks.loopback.replies import Replies, Reply
from benchmarks.loopback.tokens import count_input, count_output
from dspy_router.evaluation.costs import Usage


class Exchange(NamedTuple):
    """A request and what was answered; of an error no tokens are counted.

    Attributes:
        request: The body.
        reply: The answer.
        input_tokens: What the usage said of the request.
        output_tokens: What it said of the answer.
    """

    request: dict[str, Any]
    reply: Reply
    input_tokens: int
    output_tokens: int


class Loopback:
    """An OpenAI chat server at a free port of 127.0.0.1, from `with` to the end of it.

    `dspy.LM("openai/gpt-4o-mini", api_base=server.url, api_key="none")` reaches it as it would reach the real one.

    A function of replies that raises, such as `Recordings` on a request that it never saw, is answered with an error
    400 that tells why; and since a program may swallow that, the same is raised once more at the end of the `with`.

    Attributes:
        requests: The bodies of the requests so far, in order of arrival.
        exchanges: What was answered so far, errors too, in order of the answers.
        latency: Seconds that every answer takes.
    """

    def __init__(
        self,
        replies: Replies,
        *,
        latency: float = 0.0,
        count_input: Callable[[dict[str, Any]], int] = count_input,
        count_output: Callable[[Reply], int] = count_output,
    ) -> None:
        """Take the script; the server starts with `with`.

        Args:
            replies: What to answer. A string stands for a `Reply` with that text; `Recordings` replays.
            latency: Seconds that every answer takes.
            count_input: Tokens of a request, where its reply does not set them.
            count_output: Tokens of a reply, where it does not set them.

        Raises:
            ValueError: If there is nothing to answer.
        """
        if not callable(replies) and not replies:
            raise ValueError("The server has nothing to answer: expected a function, or at least one reply.")
        self.latency = latency
        self.requests: list[dict[str, Any]] = []
        self.exchanges: list[Exchange] = []
        self._replies = replies
        self._count_input, self._count_output = count_input, count_output
        self._failure: Exception | None = None
        self._scripted = 0  # requests before the present count
        self._lock = threading.Lock()
        self._closing = threading.Event()

    @property
    def url(self) -> str:
        """The `api_base` of the server."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def usage(self) -> Usage:
        """Calls that were answered so far, and their tokens; errors are not billed and do not count."""
        answered = [one for one in list(self.exchanges) if not one.reply.failed]
        return Usage(
            len(answered), sum(one.input_tokens for one in answered), sum(one.output_tokens for one in answered)
        )

    def forget(self) -> None:
        """Count from zero again; a script goes on where it is."""
        with self._lock:
            self._scripted += len(self.requests)
            self.requests.clear()
            self.exchanges.clear()

    def save(self, path: str | Path) -> Path:
        """Write what was asked and answered so far, for `Recordings.load` to replay.

        Args:
            path: Of the JSON lines; written whole or not at all.
        """
        return Recordings.save([(one.request, one.reply) for one in self.exchanges], path)

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
        if self._failure is not None and kind is None:
            raise self._failure

    def answer(self, body: dict[str, Any]) -> Exchange:
        """Remember a request and take its reply, after as long as it is to take."""
        with self._lock:
            self.requests.append(body)
            number = self._scripted + len(self.requests)
        reply = self._reply(body, number)
        self.wait(self.latency + reply.delay)
        read = wrote = 0
        if not reply.failed:
            read = self._count_input(body) if reply.input_tokens is None else reply.input_tokens
            wrote = self._count_output(reply) if reply.output_tokens is None else reply.output_tokens
        exchange = Exchange(body, reply, read, wrote)
        with self._lock:
            self.exchanges.append(exchange)
        return exchange

    def wait(self, seconds: float) -> None:
        """Wait for so long, or until the server stops."""
        if seconds > 0:
            self._closing.wait(seconds)

    def _reply(self, body: dict[str, Any], number: int) -> Reply:
        script = self._replies
        if not callable(script):
            reply = script[min(number, len(script)) - 1]
            return Reply(reply) if isinstance(reply, str) else reply
        try:
            reply = script(body)
        except Exception as failure:
            self._failure = self._failure or failure
            return Reply(f"{type(failure).__name__}: {failure}", status=400)
        return Reply(reply) if isinstance(reply, str) else reply


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as every client expects
    disable_nagle_algorithm = True  # or every answer would wait for the client's delayed acknowledgement

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.path.rstrip("/") != "/v1/chat/completions":
            return self._send(404, error(404, f"There is no {self.path} here, only /v1/chat/completions."))
        exchange = self._loopback.answer(body)
        reply = exchange.reply
        if reply.failed:
            wait = {} if reply.retry_after is None else {"Retry-After": f"{reply.retry_after:g}"}
            return self._send(reply.status, error(reply.status, reply.text or f"scripted error {reply.status}"), wait)
        read, wrote = exchange.input_tokens, exchange.output_tokens
        usage = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
        if body.get("stream"):
            return self._stream(body, reply, usage)
        return self._send(200, completion(body, reply, usage))

    @property
    def _loopback(self) -> Loopback:
        return cast(Loopback, self.server.loopback)  # type: ignore[attr-defined]

    def _send(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has stopped waiting

    def _stream(self, body: dict[str, Any], reply: Reply, usage: dict[str, int]) -> None:
        self.close_connection = True
        try:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for chunk in chunks(body, reply, usage):
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self._loopback.wait(reply.pause)
            self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has heard enough

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
