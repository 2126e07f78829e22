"""What an agent adds to a call beside the encoder, the tool and the language model."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import dspy
import numpy as np
from dspy.lm15 import Message, Request, Response, TextPart, Usage

from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import Setting
from dspy_router.demo.tools import TOOLS, load_queries
from dspy_router.learning.trainer import TrainConfig, fit
from dspy_router.program.agent import RoutedAgent
from dspy_router.program.synthesis import read_signature
from dspy_router.routing.encoders import HashEncoder
from dspy_router.routing.router import Router
from dspy_router.runtime.exported import ExportedRouter

TARGET = 0.3
SIGNATURE = "query -> answer"
CONFIG = TrainConfig(progress=False)
ROUNDS, WARM_UP, BLOCK = 3, 3, 20
_QUICK_EVERY = 8
DECIDING = "outside the router's decision, the tool and the language model"
ENCODING = "outside the encoder, the tool and the language model"
EXPORTED = f"{ENCODING}, exported router"


class Stopwatch:
    """Measures how long a call takes outside of what is marked as not its own."""

    def __init__(self) -> None:
        self._others = 0.0
        self._depth = 0

    def other(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, whose time is not counted."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            self._depth += 1
            try:
                return function(*args, **kwargs)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._others += time.perf_counter() - started

        return timed

    def own(self, call: Callable[[], Any]) -> float:
        """Milliseconds of a call without the others'."""
        self._others = 0.0
        started = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - started - self._others)


class TimedEncoder(HashEncoder):
    """A hash encoder whose time is not counted."""

    def __init__(self, watch: Stopwatch) -> None:
        super().__init__()
        self.forward = watch.other(super().forward)  # pyright: ignore[reportIncompatibleMethodOverride]


@dataclass
class ScriptedEngine:
    """A stand-in for a language model, whose time is not counted; to an agent in a loop it plays one tool, then ends.

    Attributes:
        watch: What does not count it.
        plan: By query, the tool to call and its arguments, for agents that let the language model choose.
    """

    watch: Stopwatch
    plan: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    supports_function_calling: bool = False

    def __post_init__(self) -> None:
        self.complete = self.watch.other(self._complete)

    def _complete(self, request: Request) -> Response:
        asked = request.messages[-1].text or ""
        told: dict[str, Any] = {"answer": "Done.", "reasoning": "So it is."}
        if "next_tool_name" in asked:
            name, arguments = next(call for query, call in self.plan.items() if query in asked)
            done = "observation_0" in asked
            told = {
                "next_thought": "So be it.",
                "next_tool_name": "finish" if done else name,
                "next_tool_args": "{}" if done else json.dumps(dict(arguments)),
            }
        text = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in told.items())
        return Response(
            id=None,
            model="scripted",
            message=Message.assistant([TextPart(f"{text}\n\n[[ ## completed ## ]]")]),
            finish_reason="stop",
            usage=Usage(input_tokens=1, output_tokens=1, total_tokens=2),
        )

    def close(self) -> None:
        """Nothing to close."""

    def __deepcopy__(self, memo: dict[int, Any]) -> ScriptedEngine:
        return self


class Bare(dspy.Module):
    """A module that calls the right tool with the right arguments: what DSPy itself costs, and nothing else."""

    def __init__(self, tools: Mapping[str, dspy.Tool], plan: Mapping[str, tuple[str, Mapping[str, Any]]]) -> None:
        super().__init__()
        self.box, self.plan = (tools,), plan

    def forward(self, query: str) -> dspy.Prediction:
        name, arguments = self.plan[query]
        return dspy.Prediction(answer=self.box[0][name](**arguments))


def run(setting: Setting) -> Iterator[Figure]:
    """Milliseconds that an agent adds to a call, beside those of a bare module, a bare `dspy.Predict` and `dspy.ReAct`.

    On the demo's tools and those of its test queries whose call the rules fill, and whose tool gives a result.
    Functions, encoder and scripted language model are stopped out of each single call. Blocks of queries go to all
    candidates in turn. Before each call of a baseline the router decides, too, which is stopped out: what comes after
    a decision finds the processor's caches filled with other things, and takes longer than in a loop of its own.
    """
    if not setting.wants("demo"):
        return
    train, test = load_queries("train"), load_queries("test")
    if setting.quick:
        train, test = train[::_QUICK_EVERY], test[::_QUICK_EVERY]
    watch = Stopwatch()
    tools = [watch.other(tool) for tool in TOOLS]
    deciding, encoding = Router.from_tools(tools, encoder="hash"), Router.from_tools(tools, encoder=TimedEncoder(watch))
    for router in (deciding, encoding):
        fit(router, train, config=setting.adapt(CONFIG))
    deciding.decide = watch.other(deciding.decide)  # pyright: ignore[reportAttributeAccessIssue]
    plan = _plan(tools, deciding, [row["query"] for row in test])
    exported = _exported(watch, deciding)
    candidates = _candidates(watch, tools, plan, {DECIDING: deciding, ENCODING: encoding, EXPORTED: exported})
    lm = dspy.LM("scripted/instant", engine=ScriptedEngine(watch, plan), cache=False)
    with dspy.context(lm=lm):
        times = _time_in_turn(watch, candidates, list(plan), 1 if setting.quick else ROUNDS)
    yield from _figures(times, len(plan))


def _exported(watch: Stopwatch, router: Router) -> ExportedRouter:
    """The router on the slim runtime, the time of whose encoder is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        router.export(folder, quantize=None)
        exported = ExportedRouter.load(folder)
    exported.vectoriser = watch.other(exported.vectoriser)
    return exported


def _plan(tools: Sequence[Any], router: Router, queries: Sequence[str]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """What the agent calls for each query that the rules can fill a call for."""
    agent = RoutedAgent(SIGNATURE, tools, router=router, synthesis="none", fallback=None)
    plan = {}
    for query in queries:
        if (name := router.decide(query).tool) is None:
            continue
        try:
            step = agent(query=query).steps[0]
        except ValueError:  # not without a language model
            continue
        if not step.failed:
            plan[query] = (name, step.arguments)
    return plan


def _candidates(
    watch: Stopwatch, tools: Sequence[Any], plan: Mapping[str, Any], routers: Mapping[str, Any]
) -> dict[str, Callable[[str], Any]]:
    named = {one.name or "": one for one in map(dspy.Tool, tools)}
    bare, predict = Bare(named, plan), dspy.Predict("query, tool, tool_result -> answer")
    react = dspy.ReAct(read_signature(SIGNATURE), tools=list(tools))
    candidates: dict[str, Callable[[str], Any]] = {}
    for where, router in routers.items():
        for mode in ("none", "result"):
            agent = RoutedAgent(SIGNATURE, tools, router=router, synthesis=mode, fallback=None)
            candidates[f"{mode}, {where}"] = lambda query, agent=agent: agent(query=query)
    peers: dict[str, Callable[[str], Any]] = {
        "bare": lambda query: bare(query=query),
        "tool": lambda query: named[plan[query][0]](**plan[query][1]),
        "predict": lambda query: predict(query=query, tool=plan[query][0], tool_result="8.0"),
        "react": lambda query: react(query=query),
    }
    decide = routers[DECIDING].decide
    return {**candidates, **{name: _after(decide, peer) for name, peer in peers.items()}}


def _after(first: Callable[[str], Any], then: Callable[[str], Any]) -> Callable[[str], Any]:
    def both(query: str) -> Any:
        first(query)
        return then(query)

    return both


def _time_in_turn(
    watch: Stopwatch, candidates: Mapping[str, Callable[[str], Any]], queries: Sequence[str], rounds: int
) -> dict[str, float]:
    """The median of each candidate's milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for start in list(range(0, len(queries), BLOCK)) * rounds:
        block = queries[start : start + BLOCK]
        for name, call in candidates.items():
            for query in block[:WARM_UP]:
                call(query)
            times[name] += [watch.own(lambda call=call, query=query: call(query)) for query in block]
    return {name: float(np.median(values)) for name, values in times.items()}


def _figures(times: Mapping[str, float], n: int) -> Iterator[Figure]:
    where: dict[str, Any] = {
        "split": f"the demo's test queries filled by rules, {len(TOOLS)} tools",
        "data": "demo",
        "unit": "milliseconds",
        "n": n,
    }
    for mode, peers in (
        ("none", {"a bare dspy.Module that calls the dspy.Tool": "bare", "the dspy.Tool alone": "tool"}),
        ("result", {"dspy.Predict, the same fields": "predict", "dspy.ReAct, same engine": "react"}),
    ):
        for part in (DECIDING, EXPORTED, ENCODING):
            yield Figure(
                f"synthesis='{mode}', p50 {part}",
                times[f"{mode}, {part}"],
                target=TARGET if mode == "none" else None,
                bound="at most",
                baselines={what: times[name] for what, name in peers.items()},
                note="the policy of the torch router is in it" if part == ENCODING else "",
                **where,
            )
        if mode == "result":
            added = times[f"result, {DECIDING}"] - times["predict"]
            yield Figure(
                f"synthesis='result', p50 {DECIDING}, less a bare dspy.Predict",
                added,
                target=TARGET,
                bound="at most",
                **where,
            )


BENCHMARK = Benchmark("agent", run, target=f"at most {TARGET} ms a call outside encoder, tool and language model")
