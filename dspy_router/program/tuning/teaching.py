"""Examples as a router learns from them: what it is asked, and what is known of the answer."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import dspy

from dspy_router.program.agent import RoutedAgent
from dspy_router.program.inputs import routed_episode, routed_fields
from dspy_router.program.route import find_route
from dspy_router.records import Episode
from dspy_router.routing.router import Router

logger = logging.getLogger(__name__)


def read_examples(
    examples: Iterable[Any],
    program: dspy.Module,
    *,
    label_field: str = "tool",
    source: str = "trainset",
    labelled: bool = True,
) -> list[Episode]:
    """Examples as episodes whose inputs are what the program's agent hands to its router.

    Args:
        examples: `dspy.Example`s, rows or episodes.
        program: The program with the agent.
        label_field: The examples' field with the right tool.
        source: What to call the examples in messages.
        labelled: Whether each must have a label, as no metric could stand in for it.

    Raises:
        ValueError: If there are no examples, one lacks a label that it must have, or has none of the agent's inputs.
    """
    agent = next((one for _, one in program.named_sub_modules(RoutedAgent)), None)
    fields = routed_fields(agent.signature) if isinstance(agent, RoutedAgent) else None
    episodes = []
    for number, example in enumerate(examples):
        episode = routed_episode(example, fields, label_field=label_field, source=f"{source}[{number}]")
        if labelled and not episode.labels:
            raise ValueError(
                f"{source}[{number}] does not say which tool is right: it has no field '{label_field}'. Expected a "
                "tool's name there, a list of names where several are right, or None where no tool fits; or a metric, "
                "which stands in for labels."
            )
        episodes.append(episode)
    if not episodes:
        raise ValueError(f"The {source} is empty; expected examples with an input and a '{label_field}'.")
    return episodes


def warn_of_overlap(train: Sequence[Episode], val: Sequence[Episode] | None) -> None:
    """Say how many validation examples are training examples as well: they cannot tell learning from remembering."""
    seen = {episode.text for episode in train}
    overlap = sum(episode.text in seen for episode in val or ())
    if overlap:
        logger.warning(
            "%d of %d validation examples are in the training set too; the validation score flatters the router.",
            overlap,
            len(val or ()),
        )


def suggestions(teacher: dspy.Module, router: Router, train: Sequence[Episode]) -> dict[int, str | None]:
    """What the teacher's router would choose, by the number of the example.

    Raises:
        TypeError: If the teacher is no program.
        ValueError: If it has no router, several, or one for other tools.
    """
    if not isinstance(teacher, dspy.Module):
        raise TypeError(f"The teacher must be a dspy.Module with a router, or None; got {type(teacher).__name__}.")
    try:
        expert = find_route(teacher).router
        router.check_tools(expert.tools)
    except ValueError as error:
        raise ValueError(
            f"The teacher ({type(teacher).__name__}) must have one router for the student's tools, whose choices are "
            f"tried first; leave it out otherwise. {error}"
        ) from error
    choices = expert.uncalibrated().decide_batch([one.text for one in train])
    return {row: decision.tool for row, decision in enumerate(choices)}
