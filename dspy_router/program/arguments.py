"""Fills a tool call from the text by rules, and only where the text has exactly one reading."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from numbers import Number
from typing import Any

from dspy_router.program.filling.mentions import Mention, outermost, structures
from dspy_router.program.filling.parameters import Parameter, find_mentions, read_parameters
from dspy_router.program.schema_checks import is_valid
from dspy_router.records import Step, ToolCard, read_inputs, split_name

# A mention, and the parameters that could take it with the value that it has there.
_Option = tuple[Mention, dict[str, Any]]


def fill(card: ToolCard, inputs: Mapping[str, Any], steps: Sequence[Step] = ()) -> dict[str, Any] | None:
    """The arguments of a call to the tool, where the inputs leave no doubt about them.

    The text is searched for literals of the kinds that the tool's parameters take (see `mentions`). Every required
    parameter must get one, every literal of such a kind must be used, none twice, and exactly one way of doing so may
    exist. A word of a parameter's name directly before a literal ("to kilometers", "width: 3") binds the two.

    A single required parameter of free text takes the one quoted string, or else the whole text, provided that nothing
    in the text could be meant for another parameter. A list takes all literals of its kind, if no other parameter takes
    any. Where there are several input fields, one that has a parameter's name is that parameter.

    Args:
        card: The tool to call.
        inputs: The program's input fields.
        steps: What was done before. An argument may then as well come from an earlier result, so that the text alone
            no longer has one reading: only a tool without parameters is filled.

    Returns:
        JSON-ready arguments that fit the tool's schema, or None where there is no reading or more than one.
    """
    if not card.properties:
        return {}
    parameters = read_parameters(card)
    named = _take_named(parameters, inputs)
    if steps or any(one.required and one.kind is None and one.name not in named for one in parameters):
        return None
    rest = {key: value for key, value in inputs.items() if key not in named and isinstance(value, str | Number)}
    open_parameters = [one for one in parameters if one.name not in named]
    read = _read_text(open_parameters, read_inputs(rest), whole=len(rest) == 1)
    if read is None:
        return None
    arguments = named | read
    in_order = {name: arguments[name] for name in card.properties if name in arguments}
    return in_order if is_valid(card.parameters, in_order) else None


def unsettled_parameters(card: ToolCard, inputs: Mapping[str, Any]) -> list[str]:
    """Names of the parameters that keep `fill` from filling a call, for messages.

    These are the required ones with no literal in the text or several; all that are open where each has just one, since
    then something else was said as well that the call would leave out.
    """
    parameters = read_parameters(card)
    named = _take_named(parameters, inputs)
    left = [one for one in parameters if one.name not in named]
    text = read_inputs({key: value for key, value in inputs.items() if key not in named})
    doubtful = [one.name for one in left if one.required and len(find_mentions(one, text, frozenset())) != 1]
    return doubtful or [one.name for one in left] or list(card.properties)


def _take_named(parameters: Iterable[Parameter], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs that have the name of a parameter and fit it; the only text of a program is what to read, not a value."""
    if len(inputs) == 1 and isinstance(next(iter(inputs.values())), str):
        return {}
    there = (one for one in parameters if one.name in inputs)
    return {one.name: inputs[one.name] for one in there if is_valid(one.schema, inputs[one.name])}


def _read_text(parameters: Sequence[Parameter], text: str, *, whole: bool) -> dict[str, Any] | None:
    options = _options(parameters, text)
    if options is None or _flag_is_named(parameters, options, text):
        return None
    if not options and (free := [one for one in parameters if one.kind == "text" and not one.many]):
        # Nothing but plain words. They go to the one free text that must be given, if there is one.
        needed = [one for one in parameters if one.required]
        if whole and len(needed) == 1 and needed[0] in free and is_valid(needed[0].schema, text.strip()):
            return {needed[0].name: text.strip()}
        return None
    lists = _fill_lists(parameters, options)
    if lists is None:
        return None
    filled, options = lists
    scalars = [one for one in parameters if not one.many]
    readings = list(islice(_distinct(_assignments(scalars, options, {})), 2))
    if len(readings) != 1:
        return None
    arguments = filled | readings[0]
    takes_words = [one.name for one in parameters if one.kind == "text"]
    if takes_words and not any(name in arguments for name in takes_words):
        return None  # any of the words could be meant for an optional free text
    return arguments


def _options(parameters: Sequence[Parameter], text: str) -> list[_Option] | None:
    """Every literal with the parameters that it may go to; None if one of them cannot be read."""
    units = frozenset[str]().union(*(one.members for one in parameters if one.kind == "enum"))
    found: dict[tuple[int, int], tuple[Mention, dict[str, Any]]] = {}
    bound: dict[tuple[int, int], dict[str, Any]] = {}
    for one in parameters:
        for mention in find_mentions(one, text, units):
            span = (mention.start, mention.end)
            cued = one.is_cued(mention, text)
            if mention.weak and not cued:
                continue
            first, takers = found.setdefault(span, (mention, {}))
            if not mention.readable and first.readable:
                found[span] = (mention, takers)
            if mention.readable and one.accepts(mention):
                takers[one.name] = mention.value
                if cued:
                    bound.setdefault(span, {})[one.name] = mention.value
    visible = outermost([*structures(text), *(mention for mention, _ in found.values())])
    spans = [(mention.start, mention.end) for mention in visible if (mention.start, mention.end) in found]
    if any(right[0] < left[1] for left, right in pairwise(spans)):
        return None  # two literals share words: there is more than one way to cut the text
    outer = [(found[span][0], bound.get(span) or found[span][1]) for span in spans]
    return outer if all(mention.readable and takers for mention, takers in outer) else None


def _flag_is_named(parameters: Iterable[Parameter], options: Iterable[_Option], text: str) -> bool:
    """Whether the text names an optional yes-or-no ("in reverse", "not inclusive") without a plain value for it."""
    taken = {name for _, takers in options for name in takers}
    flags = [one for one in parameters if one.kind == "boolean" and not one.required and one.name not in taken]
    return any(re.search(rf"\b{re.escape(split_name(one.name))}", text, re.IGNORECASE) for one in flags)


def _fill_lists(parameters: Iterable[Parameter], options: list[_Option]) -> tuple[dict[str, Any], list[_Option]] | None:
    """Give each list all literals of its kind; None if some of them could go elsewhere as well."""
    filled: dict[str, Any] = {}
    for one in (parameter for parameter in parameters if parameter.many):
        mine = [(mention, takers) for mention, takers in options if one.name in takers]
        if any(set(takers) != {one.name} for _, takers in mine):
            return None
        if mine:
            filled[one.name] = [takers[one.name] for _, takers in mine]
        elif one.required:
            return None
        options = [(mention, takers) for mention, takers in options if one.name not in takers]
    return filled, options


def _assignments(
    parameters: Sequence[Parameter], options: Sequence[_Option], taken: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Every way to give each literal to a parameter of its own so that all required ones have one."""
    missing = sum(one.required and one.name not in taken for one in parameters)
    if missing > len(options) or len(options) > len(parameters) - len(taken):
        return
    if not options:
        yield dict(taken)
        return
    # The literal with the fewest ways out first: dead ends show early.
    index = min(range(len(options)), key=lambda at: len(options[at][1]))
    rest = [*options[:index], *options[index + 1 :]]
    for name, value in options[index][1].items():
        if name not in taken:
            yield from _assignments(parameters, rest, {**taken, name: value})


def _distinct(readings: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Without those that come to the same call ("3 by 3")."""
    seen: list[dict[str, Any]] = []
    for reading in readings:
        if reading not in seen:
            seen.append(reading)
            yield reading
