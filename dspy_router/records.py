"""What is known of a tool, what was decided, what was done, and how an episode reads as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from dspy_router.schemas import describe_tool

# What a caller may hand over where a label is asked for: one right tool, several, or none.
Label = str | Sequence[str] | None

# Where a row says what came of a choice, beside or instead of its label.
_OUTCOME_FIELDS = ("action", "reward", "rewards", "propensity")
_WORD_BOUNDARY = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class ToolCard:
    """What the router knows of a tool.

    Attributes:
        name: The name the tool is called by; unique in a router.
        description: What it does, in plain words. The better it reads, the better the untrained router.
        parameters: JSON schema of the arguments, an object schema with `properties` and `required`.
        read_only: True if calling it changes nothing (the MCP `readOnlyHint`); None if unknown.
        destructive: True if calling it may destroy something (the MCP `destructiveHint`); None if unknown.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    read_only: bool | None = None
    destructive: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"A tool card needs a name: expected a non-empty string, got {self.name!r}.")
        if not isinstance(self.description, str):
            raise ValueError(
                f"The description of tool '{self.name}' must be a string, got {type(self.description).__name__}."
            )
        if not isinstance(self.parameters, Mapping):
            raise ValueError(
                f"The parameters of tool '{self.name}' must be a JSON schema of type object, "
                f"for example {{'type': 'object', 'properties': {{}}}}; got {type(self.parameters).__name__}."
            )

    @property
    def properties(self) -> Mapping[str, Mapping[str, Any]]:
        """The schema of each parameter, by name, in the order of the signature."""
        return self.parameters.get("properties") or {}

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the parameters that a call must give."""
        return tuple(self.parameters.get("required") or ())

    @property
    def views(self) -> tuple[str, str, str]:
        """The three texts a card is recognised by: description, name in words, parameters in words.

        Without a description the name stands in for it, without parameters the description does.
        """
        name = split_name(self.name)
        description = self.description.strip() or name
        parameters = "; ".join(_describe_parameter(key, schema) for key, schema in self.properties.items())
        return (description, name, parameters or description)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `ToolCard(**…)` takes back."""
        return asdict(self)

    @classmethod
    def from_tool(cls, tool: Any) -> ToolCard:
        """Read the card of a Python function, `dspy.Tool`, MCP tool, LangChain tool or function schema.

        Args:
            tool: Any of these; a mapping is read as an OpenAI function schema. A card is returned as it is.

        Raises:
            TypeError: If `tool` is none of them.
        """
        if isinstance(tool, ToolCard):
            return tool
        return cls(**describe_tool(tool))


def _describe_parameter(name: str, schema: Mapping[str, Any]) -> str:
    words = split_name(name)
    description = str(schema.get("description") or "").strip()
    members = ", ".join(map(str, schema.get("enum") or ()))
    return ": ".join(part for part in (words, description, members) if part)


def split_name(name: str) -> str:
    """An identifier as words: `getUserName` and `get_user_name` both read `get user name`."""
    return " ".join(part.lower() for part in _WORD_BOUNDARY.split(name) if part) or name


@dataclass(frozen=True)
class Decision:
    """One choice of a tool, and how sure it was.

    Attributes:
        tool: Name of the chosen tool; None means that no tool fits.
        probabilities: Probability of every tool that was allowed, by name; of a router with an index of its tools, of
            the most likely ones. With `none_probability` and `tail_probability` they sum to 1.
        none_probability: Probability that no tool fits.
        accepted: Whether the confidence reached the router's threshold, and the bar of its guarantee where it has one,
            so that the decision may be acted on.
        source: Who chose: the `router`, or the `lm` it was handed to.
        propensity: Probability in (0, 1] with which this choice was drawn; 1 for a deterministic one.
        id: What the decision goes by in a log, so that a reward or a label can be joined later; None if not logged.
        error: What went wrong where a language model was to choose or to answer, as `ErrorType: message`; None if
            nothing did. What went wrong in a tool stands in the step.
        audited: Whether the query was drawn at random to be checked by a language model, however sure the router was.
            What these say holds for all queries alike: they calibrate, and are never trained on.
        tail_probability: Estimated probability of all tools that are not listed, together; 0 where all are. A decision
            log does not keep it: there it is what the others lack to 1.
    """

    tool: str | None
    probabilities: Mapping[str, float]
    none_probability: float
    accepted: bool = True
    source: Literal["router", "lm"] = "router"
    propensity: float = 1.0
    id: str | None = None
    error: str | None = None
    audited: bool = False
    tail_probability: float = 0.0

    def __post_init__(self) -> None:
        if type(self.probabilities) is not MappingProxyType:  # those of another decision are frozen already
            object.__setattr__(self, "probabilities", MappingProxyType(dict(self.probabilities)))

    @property
    def confidence(self) -> float:
        """Probability of what was chosen, in [0, 1]."""
        return self.none_probability if self.tool is None else self.probabilities.get(self.tool, 0.0)

    def top(self, k: int = 5) -> list[tuple[str | None, float]]:
        """The k most probable choices, *none* (as None) among them, most probable first."""
        options: list[tuple[str | None, float]] = [*self.probabilities.items(), (None, self.none_probability)]
        return sorted(options, key=lambda option: -option[1])[:k]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict that `Decision(**…)` takes back."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "probabilities": dict(self.probabilities),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy cannot be pickled; the record itself must be: dspy.Parallel and caches carry it about.
        return (Decision, tuple(self.to_dict().values()))


@dataclass(frozen=True)
class Step:
    """A decision carried out.

    Attributes:
        tool: Name of the tool that was called.
        arguments: What it was called with.
        result: What it returned; None if it failed.
        error: What went wrong, as `ErrorType: message`; None if nothing did.
        filled_by: Where the arguments came from: nothing was needed (`none`), `rules`, or the `lm`.
        seconds: Wall-clock time of the call itself.
    """

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    error: str | None = None
    filled_by: Literal["none", "rules", "lm"] = "none"
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether the call ended in an error."""
        return self.error is not None

    @property
    def observation(self) -> Any:
        """What a reader of the step should see: the result, or the error in its place."""
        return f"Error: {self.error}" if self.failed else self.result


@dataclass(frozen=True)
class Episode:
    """Inputs, what was done about them, how good it was and what would have been right.

    Attributes:
        inputs: The program's input fields.
        steps: The steps taken, in order.
        decisions: What was decided before each of them; the propensity of a logged choice stands there.
        reward: The metric's value for the whole episode; None if it is not known.
        rewards: The reward that each tool would have had, where it was tried, by name; None stands for *none*.
        labels: For each decision the names of the tools that would have been right. An empty inner tuple means that
            no tool fits; an empty outer one that nothing is known.
    """

    inputs: Mapping[str, Any]
    steps: tuple[Step, ...] = ()
    reward: float | None = None
    labels: tuple[tuple[str, ...], ...] = ()
    decisions: tuple[Decision, ...] = ()
    rewards: Mapping[str | None, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The inputs as the router reads them."""
        return read_inputs(self.inputs)

    @classmethod
    def from_example(cls, example: Any, label_field: str = "tool") -> Episode:
        """Read a `{"query", "tool"}` row, a `dspy.Example` or an `Episode`.

        What is known of the right choice stands in any of these fields:

        * the label field: a tool's name, a list of names where several are right, or None where no tool fits;
        * `rewards`: the reward of each tool that was tried, a mapping by name or pairs of name and reward;
        * `action`, `reward` and `propensity`: what a logged policy chose (None for *none*), what it earned, and how
          probable the choice was.

        The inputs are `example.inputs()` where an example names its inputs; else the `query` where there is one; else
        every field but these.

        Raises:
            TypeError: If the example is none of these, or its label is no string, list of strings or None.
            ValueError: If nothing is left to be the input.
        """
        if isinstance(example, Episode):
            return example
        named_inputs = getattr(example, "_input_keys", None)
        if not isinstance(example, Mapping) and callable(getattr(example, "toDict", None)):
            fields = {key: example[key] for key in example.keys()}  # noqa: SIM118 - dspy.Example iterates otherwise
        elif isinstance(example, Mapping):
            fields = dict(example)
        else:
            raise TypeError(
                "An example must be a mapping such as {'query': …, 'tool': …}, a dspy.Example or an Episode; "
                f"got {type(example).__name__}: {example!r:.80}."
            )
        if named_inputs:
            inputs = {key: value for key, value in fields.items() if key in named_inputs and key != label_field}
        elif "query" in fields:
            inputs = {"query": fields["query"]}
        else:
            inputs = {key: value for key, value in fields.items() if key not in {label_field, *_OUTCOME_FIELDS}}
        if not inputs:
            raise ValueError(f"An example needs at least one input field beside '{label_field}'; got {sorted(fields)}.")
        labels = (as_label(fields[label_field]),) if label_field in fields else ()
        told = {key: fields[key] for key in _OUTCOME_FIELDS if key in fields and key not in inputs}
        return cls(inputs, labels=labels, **_outcome(told))


def _outcome(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An episode's reward, rewards and decisions as a row tells them."""
    outcome: dict[str, Any] = {key: fields[key] for key in ("reward",) if key in fields}
    if "rewards" in fields:
        # Rows of a table have a column for every tool, empty where it was not tried.
        outcome["rewards"] = {name: reward for name, reward in dict(fields["rewards"]).items() if reward is not None}
    if "action" in fields:
        action, propensity = fields["action"], fields.get("propensity", 1.0)
        tried = {} if action is None else {action: propensity}
        none = propensity if action is None else 0.0
        outcome["decisions"] = (Decision(action, tried, none, propensity=propensity),)
    return outcome


def as_label(label: Any) -> tuple[str, ...]:
    """The right tools as a tuple: one name, several, or none at all.

    Raises:
        TypeError: If the label is no string, sequence of strings or None.
    """
    if label is None:
        return ()
    if isinstance(label, str):
        return (label,)
    names = list(label) if isinstance(label, Iterable) else [label]
    if all(isinstance(name, str) for name in names):
        return tuple(names)
    raise TypeError(f"A label must be a tool's name, a list of names or None (no tool fits); got {label!r:.80}.")


def read_inputs(inputs: Mapping[str, Any]) -> str:
    """Inputs as one text: a single field reads as its value, several as `name: value` lines."""
    if len(inputs) == 1:
        return str(next(iter(inputs.values())))
    return "\n".join(f"{name}: {value}" for name, value in inputs.items())
