"""What optimizing costs beside the runs of the program."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dspy
from dspy.lm15 import Message, Request, Response, TextPart, Usage

from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import Setting
from dspy_router.demo.optimizing import is_right
from dspy_router.demo.tools import TOOLS, load_queries
from dspy_router.learning.trainer import TrainConfig
from dspy_router.program.agent import RoutedAgent
from dspy_router.program.router_optimizer import RouterOptimizer

CALL_SECONDS, TARGET = 0.05, 0.10
_QUICK_EVERY = 20


class SlowEngine:
    """A scripted stand-in for a language model: says the same after fifty milliseconds, whatever it is asked."""

    supports_function_calling = False

    def complete(self, request: Request) -> Response:
        time.sleep(CALL_SECONDS)
        told = {"answer": "Done.", "arguments": "{}"}
        reply = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in told.items())
        return Response(
            id=None,
            model="scripted",
            message=Message.assistant([TextPart(f"{reply}\n\n[[ ## completed ## ]]")]),
            finish_reason="stop",
            usage=Usage(input_tokens=1, output_tokens=1, total_tokens=2),
        )

    def close(self) -> None:
        """Nothing to close."""

    def __deepcopy__(self, memo: dict[int, Any]) -> SlowEngine:
        return self


def run(setting: Setting) -> Iterator[Figure]:
    """The optimizer's own time in a run whose language model takes 50 ms a call, one call at a time.

    The demo's agent with a scripted model that writes every answer; the metric alone teaches. The time in rollouts has
    the router's decisions and the tools in it as well as the model. More threads shorten rollouts, not the optimizer.
    """
    if not setting.wants("demo"):
        return
    train, test = load_queries("train"), load_queries("test")
    if setting.quick:
        train, test = train[::_QUICK_EVERY], test[::_QUICK_EVERY]
    parts = [[_example(row) for row in rows] for rows in (train, test)]
    lm = dspy.LM("scripted/slow", engine=SlowEngine(), cache=False)
    optimizer = RouterOptimizer(
        metric=is_right, config=setting.adapt(replace(TrainConfig(), progress=False)), num_threads=1
    )
    with dspy.context(lm=lm):
        optimizer.compile(RoutedAgent("query -> answer", TOOLS), trainset=parts[0], valset=parts[1])
    report = optimizer.report
    assert report is not None
    assert report.exploration is not None
    assert report.spent is not None
    own = report.exploration.seconds
    where: dict[str, Any] = {"split": "the demo's training queries", "data": "demo"}
    yield Figure(
        "share of the run that is the optimizer's own",
        own / report.seconds,
        target=TARGET,
        bound="at most",
        note=f"{own:.1f} of {report.seconds:.1f} s; {report.lm_calls} calls of the scripted model in all, "
        f"{report.spent.rollouts} rollouts to explore",
        **where,
    )


def _example(row: dict[str, Any]) -> dspy.Example:
    kept = {key: value for key, value in row.items() if key in ("query", "expected")}
    return dspy.Example(**kept).with_inputs("query")


BENCHMARK = Benchmark("overhead", run, target=f"at most {TARGET:.0%} beside rollouts with 50 ms a call")
