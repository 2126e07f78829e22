"""What it costs to let a language model choose: calls, tokens and dollars by depth and by number of tools.

The arithmetic of one answer. A program makes calls of a few kinds. The prompt of each kind is a fixed part, so many
tokens a tool (its schema, where the model is shown the tools) and so many a step (what earlier steps left in the
context). A loop sends its tools and its growing trajectory on every turn, so that the tokens of one answer grow with
depth × tools and with depth²; a synthesis that sees the last result alone is called once, whatever the depth.

The token counts are the caller's: `CallShape.fit` takes them from prompts that were really sent, and
`benchmarks/costs.py` holds the model against what a server received.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

# The example that this model is checked against: three calls where a language model chooses the tool, against one.
EXAMPLE_TOKENS = 75
_MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """What a model's tokens cost, in dollars a million.

    Attributes:
        input: Of the prompt.
        output: Of the answer.
    """

    input: float
    output: float

    def __post_init__(self) -> None:
        for name in ("input", "output"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(
                    f"A price must be a finite number of dollars a million {name} tokens, 0 or more; got {value!r}."
                )

    @classmethod
    def find(cls, model: str, table: Mapping[str, Mapping[str, Any]]) -> Price:
        """The price of a model in a table such as `litellm.model_cost`.

        Args:
            model: Its name, with or without its provider: `openai/gpt-4o-mini` is looked up as `gpt-4o-mini` too.
            table: By model, `input_cost_per_token` and `output_cost_per_token` in dollars.

        Raises:
            LookupError: If the table has no price for the model; it names the nearest model that has one. An unknown
                price is never taken for zero.
        """
        for name in dict.fromkeys((model, model.rpartition("/")[2])):
            row = table.get(name, {})
            read, written = row.get("input_cost_per_token"), row.get("output_cost_per_token")
            if read is not None and written is not None:
                return cls(read * _MILLION, written * _MILLION)
        nearest = difflib.get_close_matches(model, [str(name) for name in table], n=1)
        hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
        raise LookupError(
            f"There is no price for the model '{model}' in the table of {len(table)} models; its cost is unknown, not "
            f"zero. Give a Price(input=…, output=…) in dollars a million tokens.{hint}"
        )


@dataclass(frozen=True)
class Usage:
    """Calls of a language model, and their tokens; sums of several, or means.

    Attributes:
        calls: How many calls.
        input_tokens: Tokens of their prompts.
        output_tokens: Tokens of their answers.
    """

    calls: float = 0
    input_tokens: float = 0
    output_tokens: float = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(mine + theirs for mine, theirs in zip(self._parts, other._parts, strict=True)))

    def __mul__(self, factor: float) -> Usage:
        return Usage(*(part * factor for part in self._parts))

    @property
    def _parts(self) -> tuple[float, float, float]:
        return self.calls, self.input_tokens, self.output_tokens

    @property
    def tokens(self) -> float:
        """Of prompts and answers together."""
        return self.input_tokens + self.output_tokens

    def dollars(self, price: Price) -> float:
        """What it costs at this price."""
        return (self.input_tokens * price.input + self.output_tokens * price.output) / _MILLION


def multiple(theirs: Usage, ours: Usage, price: Price | None = None) -> float:
    """How many times as much the one costs as the other: in dollars, or without a price in tokens.

    Raises:
        ValueError: If ours costs nothing, so that no multiple says anything.
    """
    costs = [one.tokens if price is None else one.dollars(price) for one in (theirs, ours)]
    if costs[1] <= 0:
        raise ValueError("What costs nothing has no multiple: expected at least one call with tokens on our side.")
    return costs[0] / costs[1]


def constant_calls(
    calls: float, *, input_tokens: float = EXAMPLE_TOKENS, output_tokens: float = EXAMPLE_TOKENS
) -> Usage:
    """So many calls of one size; by default 75 tokens in and 75 out, as in the example of three calls against one."""
    return Usage(calls, calls * input_tokens, calls * output_tokens)


def loop_calls(depth: int) -> int:
    """Calls of a loop such as `dspy.ReAct`, which answers with `depth` tools: a turn a tool, one to end, one to write.

    With one tool these are the three calls of the example.
    """
    _check_depth(depth)
    return depth + 2


class CallCount(NamedTuple):
    """One call that was measured.

    Attributes:
        tools: How many tools the program had.
        steps: How many steps had been done before it.
        input_tokens: Tokens of its prompt.
        output_tokens: Tokens of its answer.
    """

    tools: int
    steps: int
    input_tokens: float
    output_tokens: float


@dataclass(frozen=True)
class CallShape:
    """One kind of call: how its tokens come about, `input = fixed + per_tool · tools + per_step · steps`.

    Attributes:
        fixed: Instructions, field descriptions and inputs.
        per_tool: A tool's schema in the prompt.
        per_step: What each earlier step left in the prompt.
        output: Tokens of the answer.
    """

    fixed: float
    per_tool: float
    per_step: float
    output: float

    @classmethod
    def fit(cls, counts: Iterable[CallCount], *, by_steps: bool = True) -> CallShape:
        """The least-squares shape of measured calls of one kind.

        Args:
            counts: What was measured.
            by_steps: Whether earlier steps may stand in the prompt; if not, a step adds nothing.

        Raises:
            ValueError: If they do not tell what a tool and what a step adds: at least two numbers of tools and two
                numbers of steps must occur, and not always together.
        """
        rows = list(counts)
        terms = 3 if by_steps else 2
        design = np.array([[1.0, one.tools, one.steps][:terms] for one in rows]).reshape(len(rows), terms)
        if np.linalg.matrix_rank(design) < design.shape[1]:
            told, needed = ("a tool adds", "two numbers of tools")
            if by_steps:
                told, needed = "a tool and a step add", f"{needed} and two of steps, not always together"
            tools, steps = (sorted({getattr(one, name) for one in rows}) for name in ("tools", "steps"))
            raise ValueError(
                f"{len(rows)} measured calls do not tell what {told} to a prompt: expected at least {needed}; "
                f"got tools {tools} and steps {steps}."
            )
        solved, *_ = np.linalg.lstsq(design, np.array([one.input_tokens for one in rows], dtype=float), rcond=None)
        fixed, per_tool, per_step = (*map(float, solved), 0.0)[:3]
        return cls(fixed, per_tool, per_step, output=float(np.mean([one.output_tokens for one in rows])))

    def input_tokens(self, tools: int, steps: int) -> float:
        """Tokens of the prompt with so many tools, after so many steps."""
        return self.fixed + self.per_tool * tools + self.per_step * steps


@dataclass(frozen=True)
class Phase:
    """When a program makes one kind of call.

    Attributes:
        shape: The kind.
        each_step: Whether it is made before every step (with none, one, … steps done), or once after the last.
        extra: Calls beyond one a step: a loop asks once more, to be told that it is done.
    """

    shape: CallShape
    each_step: bool
    extra: int = 0

    def seen(self, depth: int) -> Sequence[int]:
        """How many steps had been done at each call."""
        return range(depth + self.extra) if self.each_step else (depth,)


@dataclass(frozen=True)
class CostModel:
    """What a program costs an answer, from the shapes of its calls.

    Attributes:
        phases: The kinds of calls that it makes; none, if it asks no language model.
    """

    phases: tuple[Phase, ...]

    def usage(self, depth: int, tools: int) -> Usage:
        """Calls and tokens of one answer.

        Args:
            depth: How many tools are called for it, at least 1.
            tools: How many there are to choose from, at least 1.

        Raises:
            ValueError: If depth or tools is less.
        """
        _check_depth(depth)
        if tools < 1:
            raise ValueError(f"tools must be at least 1, got {tools!r}.")
        total = Usage()
        for phase in self.phases:
            for steps in phase.seen(depth):
                total += Usage(1, phase.shape.input_tokens(tools, steps), phase.shape.output)
        return total


def _check_depth(depth: int) -> None:
    if depth < 1:
        raise ValueError(f"depth must be at least 1, the number of tools that are called; got {depth!r}.")
