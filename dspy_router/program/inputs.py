"""The inputs of a program: which of them are given, which the router reads, and as what text."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dspy

from dspy_router.program.remembering import once_each
from dspy_router.records import Episode, read_inputs

logger = logging.getLogger(__name__)


@once_each
def routed_fields(signature: type[dspy.Signature]) -> tuple[str, ...]:
    """Names of the input fields that a router reads: all but conversations, images and other special types."""
    return tuple(
        name
        for name, field in signature.input_fields.items()
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, dspy.History | dspy.Type))
    )


def check_routed(signature: type[dspy.Signature]) -> None:
    """See that there is something for a router to read.

    Raises:
        ValueError: If none of the inputs is a text.
    """
    if not routed_fields(signature):
        raise ValueError(f"The router reads text, and none of the inputs is one: {', '.join(signature.input_fields)}.")


def given_inputs(signature: type[dspy.Signature], given: Mapping[str, Any]) -> dict[str, Any]:
    """The signature's inputs among what was given, in the signature's order."""
    fields = signature.input_fields
    unknown = [name for name in given if name not in fields and name != "max_iters"]
    if unknown:
        logger.warning("Inputs that are not in the signature are ignored: %s. Expected: %s.", unknown, list(fields))
    return {name: given[name] for name in fields if name in given}


def routed_inputs(signature: type[dspy.Signature], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the inputs that a router reads."""
    return {name: inputs[name] for name in routed_fields(signature) if name in inputs}


def routed_text(signature: type[dspy.Signature], inputs: Mapping[str, Any]) -> str:
    """What the router reads.

    Raises:
        ValueError: If that is nothing.
    """
    texts = routed_inputs(signature, inputs)
    if not texts:
        expected = ", ".join(routed_fields(signature))
        raise ValueError(f"The router has nothing to read: expected an input among {expected}; got none of them.")
    return read_inputs(texts)


def routed_episode(example: Any, fields: Sequence[str] | None, *, label_field: str, source: str) -> Episode:
    """An example as an episode whose inputs are those that a router reads.

    Args:
        example: A `dspy.Example`, a row or an episode.
        fields: Names of the inputs that the router reads; None keeps them all.
        label_field: The example's field with the right tool.
        source: What to call the example in messages.

    Raises:
        ValueError: If it has none of these inputs.
    """
    episode = Episode.from_example(example, label_field)
    if fields is None:
        return episode
    given = episode.inputs if isinstance(example, Episode) else example
    inputs = {name: given[name] for name in fields if name in given}
    if not inputs and len(fields) == 1 and len(episode.inputs) == 1:
        inputs = {fields[0]: next(iter(episode.inputs.values()))}  # rows say "query", whatever the agent calls it
    if not inputs:
        raise ValueError(
            f"{source} has none of the inputs that the agent's router reads ({', '.join(fields)}); "
            f"it has {', '.join(episode.inputs)}."
        )
    return replace(episode, inputs=inputs)


def routed_episodes(
    examples: Iterable[Any], signature: type[dspy.Signature], *, label_field: str, source: str
) -> list[Episode]:
    """Examples as episodes whose inputs are those that the router of an agent with this signature reads."""
    fields = routed_fields(signature)
    return [
        routed_episode(one, fields, label_field=label_field, source=f"{source}[{number}]")
        for number, one in enumerate(examples)
    ]
