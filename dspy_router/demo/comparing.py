"""What `configs/compare.yaml` compares: routers and language models over the demo's tools, by their answers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dspy_router.demo.tools import TOOLS, load_queries
from dspy_router.learning.settings import TrainConfig
from dspy_router.learning.trainer import fit
from dspy_router.program.agent import RoutedAgent
from dspy_router.program.choices import read_choice
from dspy_router.program.comparing import programs
from dspy_router.program.comparing.programs import NativeToolLoop, ToolChoiceChain
from dspy_router.routing.router import Router

SIGNATURE = "query -> answer"
NAMES = tuple(tool.__name__ for tool in TOOLS)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def routed(
    synthesis: str = "result",
    *,
    trained: bool = False,
    fallback: str | None = None,
    threshold: float = 0.0,
    encoder: str = "minilm",
    epochs: int = 20,
) -> RoutedAgent:
    """A RoutedAgent.

    Args:
        synthesis: How the answer is made; with `none` no language model is asked.
        trained: Whether the router is trained on the demo's training queries first, in some seconds.
        fallback: `lm` for a language model that takes over where the router is not sure enough.
        threshold: Least confidence of a decision that is acted on.
        encoder: The encoder of the router.
        epochs: Most passes over the training queries.
    """
    router = Router.from_tools(TOOLS, encoder=encoder, threshold=threshold)
    if trained:
        fit(router, load_queries("train"), config=TrainConfig(epochs=epochs, progress=False))
    return RoutedAgent(SIGNATURE, TOOLS, router=router, synthesis=synthesis, fallback=fallback)  # type: ignore[arg-type]


def react(max_iters: int = 5) -> Any:
    """A `dspy.ReAct`."""
    return programs.react(SIGNATURE, TOOLS, max_iters)


def react_v2(max_iters: int = 5) -> Any:
    """A `dspy.ReActV2`."""
    return programs.react_v2(SIGNATURE, TOOLS, max_iters)


def native_loop(max_iters: int = 5) -> NativeToolLoop:
    """A native tool-calling loop."""
    return NativeToolLoop(SIGNATURE, TOOLS, max_iters=max_iters)


def three_calls() -> ToolChoiceChain:
    """A language model that picks the tool, fills its arguments and writes the answer."""
    return ToolChoiceChain(SIGNATURE, TOOLS)


def says_it(example: Any, prediction: Any) -> bool:
    """Whether the answer says what the right call returns, or no tool was called where none fits.

    A number counts however it is written, a text in any case; of a longer result one value must be there. So it is the
    same for an answer that is a tool's result and for one in a language model's words.

    Args:
        example: With the field `expected` where a tool can answer.
        prediction: With an `answer`; which tools were called is read as `choices.read_choice` does.
    """
    if "expected" not in example:
        steps = prediction.get("steps")
        choice = read_choice(prediction, NAMES) if steps is None else None
        return not (steps or (choice is not None and choice.steps))
    answer = prediction.get("answer")
    return answer is not None and any(_says(str(answer), value) for value in _values(example["expected"]))


def _values(result: Any) -> Iterator[Any]:
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, list):
        for value in result:
            yield from _values(value)
    else:
        yield result


def _says(answer: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).casefold() in answer.casefold()
    said = (float(number.replace(",", "")) for number in _NUMBER.findall(answer))
    return any(math.isclose(number, value, rel_tol=1e-3, abs_tol=1e-9) for number in said)
