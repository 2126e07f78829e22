"""Stands in for a language model where none is configured: answers the demo's queries from a sheet, no model at all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from dspy_router.demo.tools import load_queries
from dspy_router.program.scripted import Prompt, scripted_lm

THOUGHT = "The question asks for something that this tool knows, so I call it with what the question says."
NO_ANSWER = "None of the tools can tell."
_ENDS = ("finish", "submit")


class StandIn:
    """A script for the demo's queries, put to `dspy.ReAct`, `dspy.ReActV2`, a `ToolChoiceChain` or a `RoutedAgent`.

    It is a set of rules, and no model. What programs send it, how often and how many tokens are as with a model. How
    often it is right is *set*, not measured:

    * Asked for a tool it reads the right one off the queries' labels, but for a share `wrong` of the queries. For those
      it calls `search_help`; where that is the right one, none. Which they are depends on the query's text and the seed
      alone.
    * Asked for arguments it gives those of a correct call, written beside the query.
    * Asked for an answer it copies the tool's result out of the prompt.

    Attributes:
        wrong: Share of the queries for which it names the wrong tool, in [0, 1].
        seed: Chooses which.
    """

    def __init__(self, *, wrong: float = 0.05, seed: int = 0) -> None:
        """Open the sheet.

        Raises:
            ValueError: If the share lies outside [0, 1].
        """
        if not 0 <= wrong <= 1:
            raise ValueError(f"wrong is a share of the queries, in [0, 1]; got {wrong!r}.")
        self.wrong, self.seed = wrong, seed
        self._sheet = {row["query"]: row for split in ("train", "test") for row in load_queries(split)}

    def choose(self, query: str) -> str | None:
        """The tool it names; None for no tool.

        Raises:
            ValueError: If the query is none of the demo's.
        """
        right = self._row(query)["tool"]
        drawn = int.from_bytes(hashlib.sha256(f"{self.seed}:{query}".encode()).digest()[:8]) / 2**64
        if drawn >= self.wrong:
            return right
        return None if right == "search_help" else "search_help"

    def fill(self, tool: str, query: str) -> dict[str, Any]:
        """The arguments it gives for a call of the tool; none if the sheet has no such call."""
        row = self._row(query)
        if tool == row["tool"]:
            return dict(row["arguments"])
        return {"query": query} if tool == "search_help" else {}

    def __call__(self, prompt: Prompt) -> Mapping[str, Any]:
        """The output fields that the prompt asks for."""
        asked = set(prompt.asked)
        if asked <= {"reasoning", "answer"}:
            return {"reasoning": THOUGHT, "answer": _shown_result(prompt) or NO_ANSWER}
        query = prompt.value("query") or _request(prompt)
        if asked == {"arguments"}:  # of the tool that somebody else has chosen
            return {"arguments": self.fill((prompt.value("tool") or "").partition(":")[0], query)}
        tool, result = self.choose(query), _shown_result(prompt)
        if "tool" in asked:
            return {"tool": tool or "none"}
        call = None if tool is None or result is not None else (tool, self.fill(tool, query))
        if "tool_calls" in asked:
            name, arguments = call or ("submit", {"answer": result or NO_ANSWER})
            return {"next_thought": THOUGHT, "tool_calls": {"tool_calls": [{"name": name, "args": arguments}]}}
        name, arguments = call or ("finish", {})
        return {"next_thought": THOUGHT, "next_tool_name": name, "next_tool_args": arguments}

    def _row(self, query: str) -> Mapping[str, Any]:
        if query not in self._sheet:
            raise ValueError(
                "The stand-in is no model: it has answers to the demo's queries alone (load_queries), and "
                f"{query!r:.80} is none of them. Configure a language model to ask it anything."
            )
        return self._sheet[query]


def stand_in(*, wrong: float = 0.05, seed: int = 0) -> Any:
    """A `dspy.LM` that answers as a `StandIn` does, without a network, a key or a model.

    Args:
        wrong: Share of the demo's queries for which it names the wrong tool, in [0, 1].
        seed: Chooses which.

    Raises:
        ValueError: If the share lies outside [0, 1].
    """
    return scripted_lm(StandIn(wrong=wrong, seed=seed), name="scripted/stand-in")


def _request(prompt: Prompt) -> str:
    """The query in a prompt for arguments, which shows all inputs as one text."""
    return prompt.value("request") or ""


def _shown_result(prompt: Prompt) -> str | None:
    """The result of a tool that the prompt shows, in any of the ways in which programs show it; None if it shows none.

    It reads the first one: it calls one tool for a query, and whatever comes after that is the end of a loop.
    """
    if prompt.value("tool_result") is not None:
        return None if prompt.value("tool") == "none" else prompt.value("tool_result")
    if prompt.value("tool_name_0") is not None:
        return None if prompt.value("tool_name_0") in _ENDS else prompt.value("observation_0")
    told = next((turn for turn in prompt.turns if turn.startswith("[[ ## tool_call_results ## ]]")), None)
    if told is None:
        return None
    value = json.loads(re.sub(r"^\[\[.*\]\]\n", "", told))["tool_call_results"][0]["value"]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
