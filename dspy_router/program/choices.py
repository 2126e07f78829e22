"""Reads from the prediction of any DSPy module which tools it called: a choice of a language model as our records."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import dspy
from dspy.adapters.types.tool import ToolCallResults

from dspy_router.records import Decision, Step

# How ReAct and ReActV2 tell a failed call.
_FAILED = re.compile(r"Execution error in [^:\n]*:\s*")
_TRACEBACK = "Traceback (most recent call last):"
# The calls by which they end.
_ENDS = frozenset({"submit", "finish"})


@dataclass(frozen=True)
class Choice:
    """What a module chose.

    Attributes:
        tool: Name of the first tool that it called; None if it answered without one.
        steps: All its calls of the program's tools, in order.
    """

    tool: str | None
    steps: tuple[Step, ...] = ()


def read_choice(
    answer: Mapping[str, Any] | dspy.Prediction, tools: Collection[str], *, earlier: int = 0
) -> Choice | None:
    """What the module that gave this prediction chose, where the prediction tells it.

    Read are the `steps` and the `decision` of a RoutedAgent, the `history` of `dspy.ReActV2` and the `trajectory` of
    `dspy.ReAct`. Calls of tools that are not the program's are left out of the steps.

    Args:
        answer: The module's prediction.
        tools: Names of the program's tools.
        earlier: How many messages of its history were there before.

    Returns:
        The choice; None where it is not known. An answer that does not say how it came about is no proof that no tool
        was called, nor is one that had to be asked for after the loop had broken off.
    """
    decision, history, trajectory = (answer.get(name) for name in ("decision", "history", "trajectory"))
    if isinstance(decision, Decision):
        taken = tuple(step for step in answer.get("steps") or () if isinstance(step, Step))
        known = decision.accepted and (decision.tool is None or decision.tool in tools)
        return Choice(decision.tool, taken) if known else None
    broke_off = answer.get("termination_reason") == "forced_submit"
    if isinstance(history, dspy.History):
        calls = list(_calls_of_history(history.messages[earlier:]))
    elif isinstance(trajectory, Mapping) and "tool_name_0" in trajectory:  # else its beginning was cut off
        calls = list(_calls_of_trajectory(trajectory))
    else:
        return None
    taken = tuple(step for step in calls if step.tool in tools)
    if taken:
        return Choice(taken[0].tool, taken)
    # Only the call that ends the loop: no tool was needed. Calls of other tools alone tell nothing about these.
    ended_at_once = bool(calls) and all(step.tool in _ENDS for step in calls)
    return Choice(None) if ended_at_once and not broke_off else None


def _calls_of_history(messages: Iterable[Mapping[str, Any]]) -> Iterator[Step]:
    for message in messages:
        calls = next((value for value in message.values() if isinstance(value, dspy.ToolCalls)), None)
        if calls is None:
            continue
        given = calls.tool_call_results
        results = ToolCallResults.model_validate(given).tool_call_results if given is not None else []
        for number, call in enumerate(calls.tool_calls):
            result = results[number] if number < len(results) else None
            if result is None:
                yield Step(call.name, call.args, error="The result is not known.", filled_by="lm")
            elif result.is_error:
                yield Step(call.name, call.args, error=_error(result.value), filled_by="lm")
            else:
                yield Step(call.name, call.args, result.value, filled_by="lm")


def _calls_of_trajectory(trajectory: Mapping[str, Any]) -> Iterator[Step]:
    for number in count():
        if (name := trajectory.get(f"tool_name_{number}")) is None:
            return
        arguments, result = trajectory.get(f"tool_args_{number}") or {}, trajectory.get(f"observation_{number}")
        if isinstance(result, str) and _FAILED.match(result):
            yield Step(name, arguments, error=_error(result), filled_by="lm")
        else:
            yield Step(name, arguments, result, filled_by="lm")


def _error(told: Any) -> str:
    """`ErrorType: message` from what a module told its language model of a failure, a traceback mostly."""
    text = _FAILED.sub("", str(told), count=1)
    if _TRACEBACK not in text:
        return text.strip()
    lines = text.rpartition(_TRACEBACK)[2].strip("\n").split("\n")
    last_frame = max((at for at, line in enumerate(lines) if line.startswith("  ")), default=-1)
    return "\n".join(lines[last_frame + 1 :]).strip() or text.strip()
