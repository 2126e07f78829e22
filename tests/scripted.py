"""Scripted language models for tests: a real `dspy.LM` whose engine answers from a script."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import dspy
from dspy.lm15 import (
    Message,
    Request,
    Response,
    StreamDeltaEvent,
    TextDelta,
    TextPart,
    Usage,
    response_to_events,
)

Script = Callable[[str], Mapping[str, Any]]

_FIELD = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
_JSON_FIELD = re.compile(r"Respond with a JSON object in the following order of fields: (.*)")


class ScriptedEngine:
    """Answers every output field that a prompt asks for: by the script, else by the fixed answers, else by its name.

    Attributes:
        requests: The requests so far, in order.
    """

    def __init__(self, answers: Mapping[str, Any] | None = None, script: Script | None = None) -> None:
        """Take fixed answers by field, and a function from the whole prompt to answers by field."""
        self.answers = dict(answers or {})
        self.script = script
        self.supports_function_calling = False
        self.requests: list[Request] = []
        self._lock = threading.Lock()

    @property
    def prompts(self) -> list[str]:
        """The requests so far as text: system, then one message after the other."""
        return [as_text(request) for request in self.requests]

    def complete(self, request: Request) -> Response:
        with self._lock:
            self.requests.append(request)
        return Response(
            id=None,
            model="scripted",
            message=Message.assistant([TextPart(self._reply(request))]),
            finish_reason="stop",
            usage=Usage(input_tokens=1, output_tokens=1, total_tokens=2),
        )

    def stream(self, request: Request) -> Iterator[Any]:
        for event in response_to_events(self.complete(request)):
            if not isinstance(event, StreamDeltaEvent) or not isinstance(event.delta, TextDelta):
                yield event
                continue
            for piece in re.findall(r"\S+\s*|\s+", event.delta.text):  # word by word, as a model would
                yield StreamDeltaEvent(delta=TextDelta(text=piece, part_index=event.delta.part_index))

    def close(self) -> None:
        pass

    def dump_state(self) -> dict[str, Any]:
        return {"answers": self.answers}

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> ScriptedEngine:
        return cls(state["answers"])

    def __deepcopy__(self, memo: dict[int, Any]) -> ScriptedEngine:
        return self  # copies of a program ask the same model

    def _reply(self, request: Request) -> str:
        last = request.messages[-1].text or ""
        scripted = dict(self.script(as_text(request))) if self.script else {}
        in_json = _JSON_FIELD.search(last)
        names = re.findall(r"`(\w+)`", in_json[1]) if in_json else _FIELD.findall(last)
        values = {
            name: scripted.get(name, self.answers.get(name, f"some {name}")) for name in names if name != "completed"
        }
        if in_json:
            return json.dumps(values)
        parts = [f"[[ ## {name} ## ]]\n{v if isinstance(v, str) else json.dumps(v)}" for name, v in values.items()]
        return "\n\n".join([*parts, "[[ ## completed ## ]]"])


class AsyncScriptedEngine:
    """The same for `acall`."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine

    async def complete(self, request: Request) -> Response:
        return self.engine.complete(request)

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        for event in self.engine.stream(request):
            yield event

    async def aclose(self) -> None:
        pass

    def dump_state(self) -> dict[str, Any]:
        return self.engine.dump_state()

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> AsyncScriptedEngine:
        return cls(ScriptedEngine.load_state(state))

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncScriptedEngine:
        return self


def scripted_lm(
    answers: Mapping[str, Any] | None = None,
    *,
    script: Script | None = None,
    model: str = "scripted/model",
    **settings: Any,
) -> Any:
    """A real `dspy.LM` that answers from a script; its engine is `lm.engine`."""
    engine = ScriptedEngine(answers, script)
    return dspy.LM(model, engine=engine, async_engine=AsyncScriptedEngine(engine), cache=False, **settings)


def as_text(request: Request) -> str:
    """A request as one text."""
    system = request.system
    parts = [system if isinstance(system, str) else "".join(getattr(part, "text", "") for part in system or ())]
    parts += [f"{message.role}: {message.text or message.parts}" for message in request.messages]
    return "\n\n".join(parts)
