"""Trains the router of a DSPy program on examples that name the right tool."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dspy
from dspy.teleprompt.teleprompt import Teleprompter

from dspy_router.evaluation.metrics import evaluate
from dspy_router.learning.trainer import TrainConfig, TrainReport, fit
from dspy_router.program.agent import RoutedAgent, routed_fields
from dspy_router.program.route import Route
from dspy_router.records import Episode

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OptimizerReport:
    """What `RouterOptimizer` did.

    Attributes:
        training: The trainer's own report.
        judged_by: What `before` and `after` are: the program's metric, or the share of right tools.
        before: The score of the program as it was handed over.
        after: The score with the newly trained weights.
        kept: Whether the new weights were kept; False if the score fell.
    """

    training: TrainReport
    judged_by: Literal["metric", "tool accuracy"]
    before: float
    after: float
    kept: bool


class RouterOptimizer(Teleprompter):
    """A DSPy optimizer for the weights of the program's router; prompts stay as they are.

    Every example names the right tool in its label field: a name, a list of names where several are right, or None
    where no tool fits. The program is not marked as compiled, so that optimizers of prompts can follow, on their own or
    in `dspy.BetterTogether`.

    Attributes:
        report: What the last `compile` did; None before.
    """

    def __init__(
        self,
        metric: Callable[..., Any] | None = None,
        *,
        config: TrainConfig | None = None,
        label_field: str = "tool",
        num_threads: int | None = None,
    ) -> None:
        """Set the optimizer up.

        Args:
            metric: Judges the whole program before and after, as in `dspy.Evaluate`; running it may call language
                models. Without one the router is judged by the share of right tools.
            config: How to train; `TrainConfig()` by default.
            label_field: The examples' field with the right tool.
            num_threads: Threads for running the program under the metric.
        """
        super().__init__()
        self.metric = metric
        self.config = config
        self.label_field = label_field
        self.num_threads = num_threads
        self.report: OptimizerReport | None = None

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: Sequence[Any],
        valset: Sequence[Any] | None = None,
        teacher: Any = None,
        **kwargs: Any,
    ) -> Any:
        """A copy of the student with a trained router; the student itself is left alone.

        Args:
            student: A program with exactly one router: a `RoutedAgent`, or a larger program with one inside.
            trainset: `dspy.Example`s, rows or episodes with the right tool.
            valset: The same, to stop training early and to judge its outcome by; by default it is judged on the
                training set.
            teacher: Not used, as the labels teach; DSPy hands one to every optimizer.
            **kwargs: None is known; a misspelt argument is an error.

        Raises:
            TypeError: If there is an argument beyond these.
            ValueError: If the student has no router that may be trained, or several; or an example has no label.
        """
        if kwargs:
            raise TypeError(f"RouterOptimizer.compile takes no {', '.join(map(repr, kwargs))}; see its docstring.")
        program = student.deepcopy()
        route = find_route(program)
        train = read_examples(trainset, program, label_field=self.label_field, source="trainset")
        held_out = read_examples(valset, program, label_field=self.label_field, source="valset") if valset else None
        judge = self._judge(program, route, valset or trainset, held_out or train)
        untrained, before = copy.deepcopy(route.router), judge()
        training = fit(route.router, train, val=held_out, config=self.config)
        after = judge()
        kept = after >= before
        if not kept:
            route.router = untrained
        judged_by = "tool accuracy" if self.metric is None else "metric"
        self.report = OptimizerReport(training, judged_by, before, after, kept)
        outcome = "kept" if kept else "undone"
        logger.info("trained the router: %s %.4f -> %.4f, %s", judged_by, before, after, outcome)
        return program

    def _judge(
        self, program: dspy.Module, route: Route, examples: Sequence[Any], episodes: Sequence[Episode]
    ) -> Callable[[], float]:
        if self.metric is None:
            return lambda: evaluate(route.router, episodes, latency_sample=0).accuracy
        run = dspy.Evaluate(
            devset=list(examples), metric=self.metric, num_threads=self.num_threads, display_progress=False
        )
        return lambda: float(run(program).score)


def find_route(program: dspy.Module) -> Route:
    """The one router of a program that may be trained.

    Raises:
        ValueError: If there is none, or more than one.
    """
    routes = [(name, one) for name, one in program.named_parameters() if isinstance(one, Route)]
    if len(routes) == 1:
        return routes[0][1]
    if routes:
        names = ", ".join(name for name, _ in routes)
        raise ValueError(
            f"The student has {len(routes)} routers ({names}), and the examples' label could be meant for any of them. "
            "Compile each RoutedAgent on its own."
        )
    frozen = any(True for _ in program.named_sub_modules(Route))
    reason = "is inside a sub-module that was compiled already, which DSPy keeps frozen" if frozen else "is missing"
    raise ValueError(
        f"The student has no router to train: it {reason}. Expected a RoutedAgent, or a program with one "
        "RoutedAgent in an attribute."
    )


def read_examples(
    examples: Iterable[Any], program: dspy.Module, *, label_field: str = "tool", source: str = "trainset"
) -> list[Episode]:
    """Examples as labelled episodes whose inputs are what the program's agent hands to its router.

    Args:
        examples: `dspy.Example`s, rows or episodes.
        program: The program with the agent.
        label_field: The examples' field with the right tool.
        source: What to call the examples in messages.

    Raises:
        ValueError: If there are no examples, or one has no label or none of the agent's inputs.
    """
    agent = next((one for _, one in program.named_sub_modules(RoutedAgent)), None)
    fields = routed_fields(agent.signature) if isinstance(agent, RoutedAgent) else None
    episodes = []
    for number, example in enumerate(examples):
        episode = Episode.from_example(example, label_field)
        if not episode.labels:
            raise ValueError(
                f"{source}[{number}] does not say which tool is right: it has no field '{label_field}'. Expected a "
                "tool's name there, a list of names where several are right, or None where no tool fits."
            )
        inputs = episode.inputs if fields is None else _agent_inputs(example, episode, fields, f"{source}[{number}]")
        episodes.append(Episode(inputs, labels=episode.labels))
    if not episodes:
        raise ValueError(f"The {source} is empty; expected examples with an input and a '{label_field}'.")
    return episodes


def _agent_inputs(example: Any, episode: Episode, fields: Sequence[str], source: str) -> dict[str, Any]:
    given = episode.inputs if isinstance(example, Episode) else example
    inputs = {name: given[name] for name in fields if name in given}
    if inputs:
        return inputs
    if len(fields) == 1 and len(episode.inputs) == 1:
        return {fields[0]: next(iter(episode.inputs.values()))}  # rows say "query", whatever the agent calls it
    raise ValueError(
        f"{source} has none of the inputs that the agent's router reads ({', '.join(fields)}); "
        f"it has {', '.join(episode.inputs)}."
    )
