"""How often a language model is called for an answer, and how large its prompt is: both as a server sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.figures import Benchmark, Figure
from benchmarks.scripted_model import Plan
from benchmarks.setting import BFCL, Setting
from benchmarks.workload import CHOOSING, DEEPEST, SIGNATURE, Desk, Program, Synthesis, Workload, read_crowd
from dspy_router.demo.show import CONFIG
from dspy_router.demo.tools import TOOLS, load_queries
from dspy_router.learning.trainer import fit
from dspy_router.program.agent import RoutedAgent
from dspy_router.program.filling.argument_prompt import ArgumentError
from dspy_router.program.route import forced
from dspy_router.program.synthesis import Mode
from dspy_router.routing.encoders import Encoder
from dspy_router.routing.router import Router

TARGETS = {"result": 1.0, "history": 1.0, "none": 0.0}
FLAT = 0.02
SIZES, PLANS = (5, 20, 100, 500), 5
_QUICK_EVERY, _QUICK_SIZES, _QUICK_PLANS = 20, (5, 50), 2
_TOOLS_OF_CONTEXT = 20
_SPLIT = "the demo's test queries with a tool"


class Count(NamedTuple):
    """Calls of a language model for one query.

    Attributes:
        calls: How many, of those that the server answered.
        answered: Whether there was an answer.
        by_rules: Whether the tool was the right one, and no language model filled its call.
    """

    calls: float
    answered: bool
    by_rules: bool


def run(setting: Setting) -> Iterator[Figure]:
    """LM calls per answered query, and growth of the synthesis's prompt with tools and context, counted at a server.

    The demo's tools are really called. The router was trained on the demo's queries and decides for itself in the rows
    of calls; in those of prompts the right tool is forced, since they are about the prompt and not about the choice. A
    scripted model stands for the language model, at the other end of a loopback wire: it makes the right call at once,
    so that the loops need no turn more than they must.
    """
    if setting.wants("demo"):
        rows = [row for row in load_queries("test") if row["tool"] is not None]
        train = load_queries("train")
        if setting.quick:
            rows, train = rows[::_QUICK_EVERY], train[::_QUICK_EVERY]
        router = Router.from_tools(TOOLS, encoder=setting.encoder)
        fit(router, train, config=setting.adapt(CONFIG))
        yield from calls_an_answer(router, [Plan(row["query"], ((row["tool"], row["arguments"]),)) for row in rows])
    if setting.wants("bfcl"):
        plans, sizes = (_QUICK_PLANS, _QUICK_SIZES) if setting.quick else (PLANS, SIZES)
        workload = Workload.draw(read_crowd(setting.data), plans, seed=setting.seed)
        yield from growth_with_tools(workload, sizes, setting.encoder)
        yield from growth_with_context(workload, setting.encoder)


def calls_an_answer(router: Router, plans: Sequence[Plan]) -> Iterator[Figure]:
    """Calls of a language model per answered query: routed in three ways, and chosen by a language model in four."""
    beside = {}
    for name, (make, settings) in CHOOSING.items():
        counts = count_calls(make(SIGNATURE, list(TOOLS)), plans, settings)
        beside[name] = _mean([one.calls for one in counts if one.answered])
    for mode, target in TARGETS.items():
        agent = RoutedAgent(SIGNATURE, TOOLS, router=router, synthesis=mode)
        counts = count_calls(agent, plans, {})
        answered = [one for one in counts if one.answered]
        plain = [one for one in answered if one.by_rules]
        yield Figure(
            f"LM calls per answered query, RoutedAgent, synthesis='{mode}', arguments by rules",
            _mean([one.calls for one in plain]),
            _SPLIT,
            "demo",
            unit="calls",
            n=len(plain),
            target=target,
            bound="at most",
            baselines=beside,
            note=f"{len(plain)} of {len(plans)} queries; over all {len(answered)} answered ones, where the language "
            f"model filled a call that the rules left open, {_mean([one.calls for one in answered]):.2f}",
        )


def count_calls(program: Program, plans: Sequence[Plan], settings: Mapping[str, Any]) -> list[Count]:
    """Put each question to the program, and count what the server answered meanwhile."""
    counts = []
    with Desk.open(**settings) as desk:
        for plan in tqdm(plans, desc=type(program).__name__, delay=2):
            answer: list[Any] = []
            with suppress(ArgumentError):  # of the wrong tool, whose call nobody can fill from this question
                desk.ask(lambda answer=answer, **inputs: answer.append(program(**inputs)), plan)
            steps = answer[0].get("steps", ()) if answer else ()
            right = [step for step in steps if step.tool == plan.calls[-1][0] and step.filled_by == "rules"]
            counts.append(Count(desk.server.usage.calls, bool(answer), bool(right)))
    return counts


def growth_with_tools(workload: Workload, sizes: Sequence[int], encoder: Encoder) -> Iterator[Figure]:
    """By how much the synthesis's prompt grows from the least number of tools to the greatest."""
    beside = {}
    for name, (make, settings) in CHOOSING.items():
        with Desk.open(**settings) as desk:
            programs = {size: make(SIGNATURE, workload.tools(size)) for size in (sizes[0], sizes[-1])}
            tokens = [
                [desk.ask(program, plan.cut(1))[0].input_tokens for program in programs.values()]
                for plan in workload.plans
            ]
        beside[f"{name}, its first prompt"] = spread(tokens)
    for mode in ("result", "history"):
        with Desk.open() as desk:
            agents = [_agent(workload, size, encoder, mode) for size in sizes]
            tokens = [[_synthesis_tokens(desk, agent, plan) for agent in agents] for plan in workload.plans]
        yield _flat(f"the synthesis's prompt from {sizes[0]} to {sizes[-1]} tools, synthesis='{mode}'", tokens, beside)


def growth_with_context(workload: Workload, encoder: Encoder) -> Iterator[Figure]:
    """By how much it grows with what was done before: other questions to the same agent, other steps of the same."""
    tools, depths = workload.tools(_TOOLS_OF_CONTEXT), range(1, DEEPEST + 1)
    with Desk.open() as desk:
        react = CHOOSING["dspy.ReAct"][0](SIGNATURE, tools)
        ends = [[desk.ask(react, plan.cut(depth))[-1].input_tokens for depth in depths] for plan in workload.plans]
        beside = {"dspy.ReAct, its last prompt, after 1 to 8 steps": spread(ends)}
        agents = [_agent(workload, _TOOLS_OF_CONTEXT, encoder, "result") for _ in workload.plans]
        earlier = []
        for agent, plan in zip(agents, workload.plans, strict=True):
            tokens = [_synthesis_tokens(desk, agent, plan)]
            for other in plan.calls[:-1]:  # as many other questions in between
                _synthesis_tokens(desk, agent, Plan(f"{plan.question} ({other[0]})", (other,)))
                tokens.append(_synthesis_tokens(desk, agent, plan))
            earlier.append(tokens)
        steps = [
            [desk.ask(Synthesis("result", tools, plan.cut(d).calls), plan)[-1].input_tokens for d in depths]
            for plan in workload.plans
        ]
    yield _flat("the synthesis's prompt after 0 to 7 other answers of the same agent", earlier, beside)
    yield _flat("the synthesis's prompt over 1 to 8 steps, the last one needed, synthesis='result'", steps, beside)


def spread(tokens: Sequence[Sequence[float]]) -> float:
    """By what share the largest prompt is larger than the smallest, in the row where that is most."""
    return max(max(row) / min(row) - 1 for row in tokens)


def _agent(workload: Workload, size: int, encoder: Encoder, mode: Mode) -> RoutedAgent:
    tools = workload.tools(size)
    return RoutedAgent(SIGNATURE, tools, router=Router.from_tools(tools, encoder=encoder), synthesis=mode)


def _synthesis_tokens(desk: Desk, agent: RoutedAgent, plan: Plan) -> float:
    """Tokens of the last prompt of an answer, which is the one that writes it."""
    ask: Callable[..., Any] = agent
    with forced(plan.calls[-1][0]):
        return desk.ask(ask, plan.cut(1))[-1].input_tokens


def _flat(what: str, tokens: Sequence[Sequence[float]], beside: Mapping[str, float]) -> Figure:
    least, most = min(map(min, tokens)), max(map(max, tokens))
    return Figure(
        f"growth of {what}",
        spread(tokens),
        "the demo's questions, bfcl's tools",
        "bfcl",
        n=len(tokens),
        target=FLAT,
        bound="at most",
        baselines=beside,
        note=f"the question where it grows most; {least:,.0f} to {most:,.0f} tokens over all questions",
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


BENCHMARK = Benchmark(
    "calls",
    run,
    target=f"1 call an answer, 0 with synthesis='none'; the synthesis's prompt within {FLAT:.0%}",
    needs={"bfcl": BFCL[:1]},
)
