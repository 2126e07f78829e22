"""Questions with tools that are really called, in a crowd of others, put to programs whose requests a server counts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy

from benchmarks.loopback import Exchange, Loopback
from benchmarks.scripted_model import Plan, ScriptedModel
from benchmarks.setting import BFCL
from benchmarks.zeroshot import plain_names, read_questions
from dspy_router.demo.tools import TOOLS, load_queries
from dspy_router.program.calls import run
from dspy_router.program.comparing.programs import NativeToolLoop, ToolChoiceChain
from dspy_router.program.synthesis import Mode, read_signature, synthesis_call, synthesis_prompt
from dspy_router.records import Step, ToolCard

SIGNATURE = "question -> answer"
MODEL = "openai/gpt-4o-mini"
CORE = 5  # the tools that the questions need
DEEPEST = 8
_CATEGORIES = ("simple_python", "multiple", "parallel", "parallel_multiple")

Program = Callable[..., Any]


@dataclass(frozen=True)
class Workload:
    """Plans, the tools they need, and others that they do not.

    Attributes:
        plans: Questions with eight calls each, to be cut to any depth; the last one answers, the others came before.
        core: The tools that they call.
        crowd: Cards of tools that nobody calls.
    """

    plans: tuple[Plan, ...]
    core: tuple[Callable[..., Any], ...]
    crowd: tuple[ToolCard, ...]

    @classmethod
    def draw(cls, crowd: Sequence[ToolCard], plans: int, *, seed: int = 0) -> Workload:
        """Questions of the demo, each with calls of five of its tools, drawn at random; the crowd is shuffled.

        Args:
            crowd: Cards of tools beside the demo's.
            plans: How many questions.
            seed: Of the draws.
        """
        draw = random.Random(seed)
        core = draw.sample(TOOLS, CORE)
        names = {tool.__name__ for tool in core}
        rows = [row for row in load_queries("test") if row["tool"] in names]
        drawn = []
        for _ in range(plans):
            picked = draw.sample(rows, DEEPEST)
            calls = tuple((row["tool"], row["arguments"]) for row in picked)
            drawn.append(Plan(picked[-1]["query"], calls))
        others = [card for card in crowd if card.name not in {tool.__name__ for tool in TOOLS}]
        return cls(tuple(drawn), tuple(core), tuple(draw.sample(others, len(others))))

    def tools(self, count: int) -> list[dspy.Tool]:
        """So many tools, those that are called first among them.

        Raises:
            ValueError: If there are fewer cards in the crowd.
        """
        if not len(self.core) <= count <= len(self.core) + len(self.crowd):
            most = len(self.core) + len(self.crowd)
            raise ValueError(f"The workload has {len(self.core)} to {most} tools; {count} were asked for.")
        return [*map(dspy.Tool, self.core), *(_idle(card) for card in self.crowd[: count - len(self.core)])]


def read_crowd(data: Path) -> list[ToolCard]:
    """The tools of bfcl's questions, one of each name, as an API would allow them."""
    cards: dict[str, ToolCard] = {}
    for question in read_questions(data / BFCL[0], _CATEGORIES):
        for card in question.cards:
            (name,) = plain_names([card.name])
            cards.setdefault(name, ToolCard(name, card.description, card.parameters))
    return list(cards.values())


def _idle(card: ToolCard) -> dspy.Tool:
    """A tool that has the card's schema, and is never called."""

    def idle(**arguments: Any) -> str:
        raise AssertionError(f"Nobody was to call '{card.name}'; it got {arguments!r:.200}.")

    args: dict[str, Any] = {name: dict(schema) for name, schema in card.properties.items()}
    return dspy.Tool(idle, name=card.name, desc=card.description, args=args, arg_types=dict.fromkeys(args, Any))


@dataclass(frozen=True)
class Desk:
    """Where programs are run and their requests are counted.

    Attributes:
        server: What answers.
        model: Its script.
    """

    server: Loopback
    model: ScriptedModel

    @classmethod
    @contextmanager
    def open(cls, **settings: Any) -> Iterator[Desk]:
        """A server, and a language model of DSPy that reaches it, within this; `settings` are of the adapter."""
        model = ScriptedModel()
        with Loopback(model) as server:
            lm = dspy.LM(MODEL, api_base=server.url, api_key="none", cache=False, num_retries=0)
            with dspy.context(lm=lm, adapter=dspy.ChatAdapter(**settings)):
                yield cls(server, model)

    def ask(self, program: Program, plan: Plan) -> list[Exchange]:
        """What went over the wire while the program answered the question."""
        self.server.forget()
        self.model.plan = plan
        program(question=plan.question)
        return list(self.server.exchanges)


class Synthesis:
    """The one call by which a `RoutedAgent` has its answer written, over any number of steps.

    An agent takes one step an answer for now; this is what a chain of several decisions would end with. The decisions
    and the calls of the tools ask no language model.
    """

    def __init__(self, mode: Mode, tools: Sequence[dspy.Tool], calls: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Take the tools, and the calls that are to have been made."""
        self.mode: Mode = mode
        self.tools = {tool.name or "": tool for tool in tools}
        self.calls = tuple(calls)
        predictor = synthesis_prompt(mode, read_signature(SIGNATURE))
        assert predictor is not None, "synthesis='none' writes nothing"
        self.predictor = predictor

    def __call__(self, question: str) -> Any:
        """Make the calls, and have the answer written."""
        steps = [Step(name, arguments, self.tools[name](**arguments)) for name, arguments in self.calls]

        def plan() -> Any:
            return (yield synthesis_call(self.predictor, self.mode, {"question": question}, steps, self.tools))

        return run(plan())


# The programs that let the language model choose, by name, and the settings of the adapter that each is run under.
CHOOSING: Mapping[str, tuple[Callable[[str, Sequence[Any]], Program], Mapping[str, Any]]] = {
    "dspy.ReAct": (lambda signature, tools: dspy.ReAct(read_signature(signature), list(tools)), {}),
    "dspy.ReActV2": (lambda signature, tools: dspy.ReActV2(read_signature(signature), list(tools)), {}),
    "native tool loop": (NativeToolLoop, {"use_native_function_calling": True}),
    "three-call chain": (ToolChoiceChain, {}),
}
