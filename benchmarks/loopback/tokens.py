"""Tokens as an API would count and bill them: the tokenizer of GPT-4o and a table of prices, without a download."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from benchmarks.loopback.replies import Reply

_MODEL = "gpt-4o"  # its vocabulary, o200k_base, comes with LiteLLM


def count_input(body: Mapping[str, Any]) -> int:
    """Tokens of a request: its messages, the schemas of its tools and of the answer that it asks for.

    LiteLLM's count: a few tokens for each message, and tool schemas as they are shown to the model, after OpenAI's own
    description ("How to count tokens with tiktoken"). It counts the schemas of tools as an approximation; a schema of
    the answer, which LiteLLM leaves out, is counted as its JSON text.

    Args:
        body: The request, as it came over the wire.
    """
    shown = {"messages": list(body.get("messages") or ()), "tools": body.get("tools") or None}
    counted = _litellm().token_counter(model=_MODEL, **shown)
    wanted = body.get("response_format")
    return counted + (count_text(json.dumps(wanted)) if wanted else 0)


def count_output(reply: Reply) -> int:
    """Tokens of an answer: its text, and each tool call as its name and its arguments in JSON."""
    calls = [f"{name} {json.dumps(dict(arguments))}" for name, arguments in reply.tool_calls]
    return max(1, sum(map(count_text, [reply.text or "", *calls])))


def count_text(text: str) -> int:
    """Tokens of a text."""
    return _litellm().token_counter(model=_MODEL, text=text) if text else 0


def model_prices() -> Mapping[str, Mapping[str, Any]]:
    """LiteLLM's table of prices, as it came with the installed version; see `evaluation.costs.Price.find`."""
    return _litellm().model_cost


def _litellm() -> Any:
    # Two seconds to import, and at that it would ask the network for prices: only where something is to be counted.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    return litellm
