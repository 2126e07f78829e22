"""What a language model answered once, to be answered again: requests with their replies, in JSON lines."""

from __future__ import annotations

import difflib
import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.loopback.replies import Reply

# How an answer is sent says nothing about what was asked.
_TRANSPORT = {"stream", "stream_options", "user"}
_SHOWN = 160


class UnseenRequestError(LookupError):
    """A request that nobody recorded an answer to."""


class Recordings:
    """Replies by request; `Loopback(recordings)` gives them again, and fails on a request that it never saw.

    A request that was recorded several times gets its replies in the order of the recording, and the last of them from
    then on. Requests are told apart by everything in them but how the answer is to be sent; the ids of tool calls,
    which are drawn anew each time, count by the order of their appearance.
    """

    def __init__(self, exchanges: Iterable[tuple[Mapping[str, Any], Reply]]) -> None:
        """Take requests with their replies, in order.

        Raises:
            ValueError: If there are none.
        """
        self._replies: dict[str, list[Reply]] = defaultdict(list)
        for request, reply in exchanges:
            self._replies[_key(request)].append(reply)
        if not self._replies:
            raise ValueError("There is nothing to replay: expected at least one request with its reply.")
        self._asked: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: str | Path) -> Recordings:
        """Read a file that `save` wrote.

        Raises:
            ValueError: If a line is no exchange, or there is none.
        """
        exchanges = []
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
            try:
                row = json.loads(line)
                exchanges.append((row["request"], Reply.from_dict(row["reply"])))
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"Line {number} of '{path}' is no recorded exchange; expected an object with a 'request' and a "
                    f"'reply'. {type(error).__name__}: {error}"
                ) from error
        return cls(exchanges)

    @staticmethod
    def save(exchanges: Iterable[tuple[Mapping[str, Any], Reply]], path: str | Path) -> Path:
        """Write exchanges, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = ({"request": dict(request), "reply": reply.to_dict()} for request, reply in exchanges)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            partial.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def __call__(self, body: Mapping[str, Any]) -> Reply:
        """The recorded reply.

        Raises:
            UnseenRequestError: If the request was never recorded; the message shows the most similar one that was.
        """
        key = _key(body)
        with self._lock:
            replies = self._replies.get(key)
            if replies is None:
                raise UnseenRequestError(self._complaint(key))
            number, self._asked[key] = self._asked[key], self._asked[key] + 1
        return replies[min(number, len(replies) - 1)]

    def _complaint(self, key: str) -> str:
        (nearest,) = difflib.get_close_matches(key, self._replies, n=1, cutoff=0.0)
        apart = next((at for at, pair in enumerate(zip(key, nearest, strict=False)) if pair[0] != pair[1]), len(key))
        start = max(0, apart - _SHOWN // 4)
        asked, recorded = (text[start : start + _SHOWN] for text in (key, nearest))
        return (
            f"This request was not recorded; {len(self._replies)} others were. The most similar one differs at "
            f"character {apart}: asked '…{asked}…', recorded '…{recorded}…'."
        )


def _key(request: Mapping[str, Any]) -> str:
    """A request as canonical text, without what is drawn anew each time."""
    kept = json.loads(json.dumps({name: value for name, value in request.items() if name not in _TRANSPORT}))
    ids: dict[str, str] = {}
    for message in kept.get("messages") or ():
        for call in message.get("tool_calls") or ():
            call["id"] = ids.setdefault(call.get("id", ""), f"call {len(ids)}")
        if "tool_call_id" in message:
            message["tool_call_id"] = ids.setdefault(message["tool_call_id"], f"call {len(ids)}")
    return json.dumps(kept, sort_keys=True, ensure_ascii=False)
