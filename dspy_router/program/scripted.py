"""A language model by script: a real `dspy.LM` whose every answer is a function of the prompt, its tokens counted."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.lm15 import Message, Request, Response, TextPart, Usage

_ASKED = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
_TOKENIZER = "gpt-4o"  # its vocabulary, o200k_base, comes with LiteLLM


@dataclass(frozen=True)
class Prompt:
    """A prompt of `dspy.ChatAdapter`, as a script reads it.

    Attributes:
        system: The system message.
        turns: The other messages as text, in order.
    """

    system: str
    turns: tuple[str, ...]

    @classmethod
    def of(cls, request: Request) -> Prompt:
        """Read a request."""
        parts = request.system or ""
        system = parts if isinstance(parts, str) else "".join(getattr(part, "text", "") for part in parts)
        return cls(system, tuple(message.text or "" for message in request.messages))

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of the output fields that are asked for."""
        names = _ASKED.findall(self.turns[-1]) if self.turns else []
        return tuple(name for name in names if name != "completed")

    def value(self, field: str) -> str | None:
        """The text of an input field, where the prompt shows it last; None if it does not."""
        start = f"[[ ## {field} ## ]]\n"
        for turn in reversed(self.turns):
            if start in turn:
                text = turn.rpartition(start)[2]
                return re.split(r"\n\n\[\[ ## |\n\nRespond with the corresponding output fields", text)[0].strip()
        return None


Script = Callable[[Prompt], Mapping[str, Any]]


class ScriptedEngine:
    """An engine of `dspy.LM` that asks a script, and reports the tokens a language model would.

    For demonstrations and tests of programs under `dspy.ChatAdapter`: what calls there are and what they carry is as
    with a model; what is answered is the script's, and says nothing of any model's quality.

    Attributes:
        script: From a prompt to at least the fields that it asks for.
        calls: How many prompts were answered.
    """

    supports_function_calling = False

    def __init__(self, script: Script) -> None:
        """Take a script."""
        self.script, self.calls = script, 0
        _count_tokens("ready")  # so that the first answer does not wait for the tokenizer

    def complete(self, request: Request) -> Response:
        """Answer a prompt.

        Raises:
            KeyError: If the script leaves out a field that is asked for.
            ValueError: If the prompt is not of `dspy.ChatAdapter`; DSPy falls back to another adapter where an answer
                could not be read.
        """
        prompt = Prompt.of(request)
        if not prompt.asked:
            raise ValueError(
                "A scripted model answers the prompts of dspy.ChatAdapter, and this one asks for no field in its way. "
                "Either another adapter is configured, or DSPy fell back to one because the script's last answer was "
                "no value of its field."
            )
        values = self.script(prompt)
        if missing := [name for name in prompt.asked if name not in values]:
            raise KeyError(f"The script gives no {', '.join(missing)}; it gave {', '.join(values) or 'nothing'}.")
        shown = {name: values[name] if isinstance(values[name], str) else _json(values[name]) for name in prompt.asked}
        answer = "\n\n".join(
            [*(f"[[ ## {name} ## ]]\n{text}" for name, text in shown.items()), "[[ ## completed ## ]]"]
        )
        read = sum(map(_count_tokens, (prompt.system, *prompt.turns)))
        wrote = _count_tokens(answer)
        self.calls += 1
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant([TextPart(answer)]),
            finish_reason="stop",
            usage=Usage(input_tokens=read, output_tokens=wrote, total_tokens=read + wrote),
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> ScriptedEngine:
        """The same engine: copies of a program ask the same model."""
        return self

    def close(self) -> None:
        """Nothing is open."""


class AsyncScriptedEngine:
    """The same for `acall`."""

    def __init__(self, engine: ScriptedEngine) -> None:
        """Take the engine that answers."""
        self.engine = engine

    async def complete(self, request: Request) -> Response:
        """Answer a prompt."""
        return self.engine.complete(request)

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncScriptedEngine:
        """The same engine."""
        return self

    async def aclose(self) -> None:
        """Nothing is open."""


def scripted_lm(script: Script, *, name: str = "scripted/stand-in") -> Any:
    """A `dspy.LM` that answers by a script; its cache is off, and `lm.engine.calls` counts.

    Args:
        script: From a prompt to at least the fields that it asks for.
        name: The model's name, as reports show it.
    """
    engine = ScriptedEngine(script)
    return dspy.LM(name, engine=engine, async_engine=AsyncScriptedEngine(engine), cache=False)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _count_tokens(text: str) -> int:
    # Two seconds to import, and at that it would ask the network for prices: only where something is to be counted.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    return litellm.token_counter(model=_TOKENIZER, text=text) if text else 0
