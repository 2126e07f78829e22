"""Which tools a program called in a run, and whether the first of them was right."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import dspy

from dspy_router.program.choices import read_choice
from dspy_router.program.comparing.metering import Meter
from dspy_router.records import Step, as_label

# The calls by which `dspy.ReAct` and `dspy.ReActV2` end are no tools of the program.
_ENDS = frozenset({"finish", "submit"})


def tool_names(program: dspy.Module) -> frozenset[str]:
    """Names of the tools that a program has, as far as its modules keep them by name in `tools`."""
    names = set()
    for _, module in program.named_sub_modules():
        tools = getattr(module, "tools", None)
        if isinstance(tools, Mapping):
            names |= {name for name, tool in tools.items() if isinstance(tool, dspy.Tool)}
    return frozenset(names - _ENDS)


def called_tools(answer: Any, meter: Meter, tools: Collection[str], *, earlier: int = 0) -> tuple[str, ...] | None:
    """The tools that were called, or were to be, in order.

    Told by, the first that knows: the prediction's `steps`; the tools that ran; the trajectory of `dspy.ReAct` or the
    history of `dspy.ReActV2`, where also calls stand that could not be made; any `dspy.ToolCalls` among the outputs.

    Args:
        answer: The program's prediction; None if it raised.
        meter: What watched the run.
        tools: Names of the tools that count.
        earlier: How many messages of its history were there before.

    Returns:
        The names; None where it is not known, which of a program that raised it is only if a tool had run, or a router
        that was sure had decided.
    """
    if isinstance(answer, dspy.Prediction):
        steps = answer.get("steps")
        if isinstance(steps, tuple) and all(isinstance(step, Step) for step in steps):
            return tuple(step.tool for step in steps)
    if ran := tuple(name for name in meter.tools if name in tools):
        return ran
    if not isinstance(answer, dspy.Prediction):
        chosen = meter.decision
        return (chosen.tool,) if chosen is not None and chosen.accepted and chosen.tool is not None else None
    if choice := read_choice(answer, tools, earlier=earlier):
        return tuple(step.tool for step in choice.steps)
    named = [call.name for value in answer.values() if isinstance(value, dspy.ToolCalls) for call in value.tool_calls]
    return tuple(name for name in named if name in tools) if named or tools else None


def first_is_right(
    called: tuple[str, ...] | None, example: dspy.Example, *, label_field: str, failed: bool = False
) -> bool | None:
    """Whether the first tool is among the example's right ones, or none was called where none fits.

    Args:
        called: The tools; None if they are not known.
        example: The example.
        label_field: Its field with the right tool.
        failed: Whether the program raised: then a tool that is not known is not the right one.

    Returns:
        None where the example has no label, or a program that answered does not tell.
    """
    if label_field not in example:
        return None
    right = as_label(example[label_field])
    if called is None:
        return False if failed else None
    return called[0] in right if called else not right


def labelled_names(examples: Iterable[dspy.Example], *, label_field: str) -> frozenset[str]:
    """Names of all tools that are right for one of the examples.

    Raises:
        TypeError: If a label is no string, list of strings or None.
    """
    return frozenset(name for one in examples if label_field in one for name in as_label(one[label_field]))
