"""Optimizes a user's program as a configuration says, and writes down what came of it."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy

from dspy_router.config import OptimizeConfig, parse
from dspy_router.data.datasets import read_rows
from dspy_router.evaluation import plots
from dspy_router.evaluation.credit import CreditSplit, split_credit
from dspy_router.learning.settings import TrainConfig
from dspy_router.learning.trials import ExploreConfig
from dspy_router.program.joint_optimizer import JointOptimizer
from dspy_router.program.language_model import language_model
from dspy_router.program.route import find_route
from dspy_router.program.router_optimizer import OptimizerReport, RouterOptimizer
from dspy_router.program.tuning.joint_report import JointReport
from dspy_router.program.tuning.prompt_optimizer import prompt_optimizer
from dspy_router.program.tuning.rewards import Rollout
from dspy_router.program.tuning.rollouts import Rollouts
from dspy_router.program.tuning.teaching import read_examples
from dspy_router.records import Episode

logger = logging.getLogger(__name__)

Choice = str | None


@dataclass(frozen=True)
class Optimized:
    """What came of an optimization.

    Attributes:
        program: The optimized program.
        report: What the optimizer did.
        credit: How the loss on the training examples splits, by what to call the program.
        rewards: The rewards of the tries under the program's prompts, by tool.
        files: What was written.
    """

    program: dspy.Module
    report: OptimizerReport | JointReport
    credit: Mapping[str, CreditSplit]
    rewards: Mapping[Choice, Sequence[float]]
    files: list[Path] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict: the optimizer's own report, with `credit`, `tools` and `files`; no number for none."""
        tools = {
            "" if tool is None else tool: {"tries": len(rewards), "mean": math.fsum(rewards) / len(rewards)}
            for tool, rewards in self.rewards.items()
        }
        extra = {
            "credit": {name: split.to_dict() for name, split in self.credit.items()},
            "tools": tools,
            "files": [str(path) for path in self.files],
        }
        return _finite({**self.report.to_dict(), **extra})


def optimize(
    config: OptimizeConfig, make_program: Callable[[], Any], metric: Callable[..., Any], *, where: str = "configuration"
) -> Optimized:
    """Optimize a program, and write the program, the report and the plots into the output folder.

    Args:
        config: What to do.
        make_program: Makes the program.
        metric: Judges the program: called with an example and a prediction.
        where: What the configuration was read from, for messages.

    Raises:
        FileNotFoundError: If a file of examples is not there.
        ImportError: If plots are wanted and matplotlib is not installed.
        RuntimeError: If the program or the metric raised too often, or the language model did not answer.
        TypeError: If `make_program` makes no program.
        ValueError: If a setting is unknown or makes no sense, an example lacks an input, or the program has no router.
    """
    # Whatever can be refused is refused before the first run of the program costs anything.
    if config.plots is not None:
        plots.check_format(config.plots)
    train, val = (_read(config, files) for files in (config.data.train, config.data.val))
    rollouts = _rollouts(config, metric)
    router = _router_optimizer(config, metric, rollouts, where=where)
    student = make_program()
    if not isinstance(student, dspy.Module):
        raise TypeError(f"program: '{config.program}' must make a dspy.Module; got {type(student).__name__}.")
    with language_model(config.lm if config.lm is not None else dspy.settings.lm):
        optimizer: RouterOptimizer | JointOptimizer = router
        if config.prompt is not None:  # made here, as some of DSPy's optimizers ask for a language model at once
            prompt = prompt_optimizer(config.prompt.name, config.prompt.options, metric)
            optimizer = JointOptimizer(
                metric, router, prompt=prompt, max_turns=config.turns, maximum=config.maximum, rollouts=rollouts
            )
        program = optimizer.compile(student, trainset=train, valset=val or None)
        known = rollouts.known_many(program, train)
    report = optimizer.report
    if isinstance(report, JointReport):
        turns = {f"turn {turn.number}": turn.after.credit for turn in report.turns}
        credit = {"start": report.before.credit, **turns}
    else:
        credit = _credit(config, student, program, train, known)
    assert report is not None
    done = Optimized(program, report, credit, _rewards(known))
    _write(config, done)
    return done


def _router_optimizer(
    config: OptimizeConfig, metric: Callable[..., Any], rollouts: Rollouts, *, where: str
) -> RouterOptimizer:
    section = config.router
    return RouterOptimizer(
        metric,
        config=parse(TrainConfig, section.train, where=f"{where}, section router.train"),
        label_field=section.label_field,
        num_threads=section.num_threads,
        max_errors=section.max_errors,
        allow_destructive=section.allow_destructive,
        costly=section.costly,
        maximum=config.maximum,
        exploration=parse(ExploreConfig, section.exploration, where=f"{where}, section router.exploration"),
        rollouts=rollouts,
    )


def _rollouts(config: OptimizeConfig, metric: Callable[..., Any]) -> Rollouts:
    if config.rollouts is not None:
        Path(config.rollouts).parent.mkdir(parents=True, exist_ok=True)
    return Rollouts(
        metric,
        path=config.rollouts,
        num_threads=config.router.num_threads,
        max_rollouts=config.router.max_rollouts,
        max_lm_calls=config.router.max_lm_calls,
        max_errors=config.router.max_errors,
        allow_destructive=config.router.allow_destructive,
    )


def _read(config: OptimizeConfig, files: Sequence[str]) -> list[dspy.Example]:
    """The examples of some files."""
    inputs, without = config.data.inputs, set(config.data.without)
    examples = []
    for path in files:
        for number, row in enumerate(read_rows(path), start=1):
            if missing := [name for name in inputs if name not in row]:
                raise ValueError(
                    f"{path}, object {number} lacks the input {', '.join(map(repr, missing))}; it has "
                    f"{', '.join(map(repr, row))}. data.inputs names the fields that are the program's inputs."
                )
            fields = {name: value for name, value in row.items() if name not in without}
            examples.append(dspy.Example(**fields).with_inputs(*inputs))
    return examples


def _credit(
    config: OptimizeConfig,
    student: dspy.Module,
    program: dspy.Module,
    train: Sequence[dspy.Example],
    known: Sequence[Mapping[Choice, Rollout]],
) -> dict[str, CreditSplit]:
    """Before and after, over the examples on which both choices were tried: nothing is run for the sake of this."""
    episodes = read_examples(train, program, label_field=config.router.label_field, labelled=False)
    before, after = (_choices(one, episodes) for one in (student, program))
    rows = [row for row, tried in enumerate(known) if before[row] in tried and after[row] in tried]
    rewards = [{tool: one.score for tool, one in known[row].items() if one.score is not None} for row in rows]
    failed = [{tool for tool, one in known[row].items() if one.failure is not None} for row in rows]
    if not rows or max(score for row in rewards for score in row.values()) > config.maximum:
        return {}
    return {
        name: split_credit([choices[row] for row in rows], rewards, maximum=config.maximum, failed=failed)
        for name, choices in (("before", before), ("after", after))
    }


def _choices(program: dspy.Module, episodes: Sequence[Episode]) -> list[Choice]:
    decisions = find_route(program).router.uncalibrated().decide_batch([episode.text for episode in episodes])
    return [decision.tool if decision.accepted else None for decision in decisions]


def _rewards(known: Sequence[Mapping[Choice, Rollout]]) -> dict[Choice, list[float]]:
    """The rewards of all tries by tool, the tool with most tries first."""
    rewards: dict[Choice, list[float]] = {}
    for tried in known:
        for tool, rollout in tried.items():
            if rollout.score is not None:
                rewards.setdefault(tool, []).append(rollout.score)
    return dict(sorted(rewards.items(), key=lambda pair: -len(pair[1])))


def _write(config: OptimizeConfig, done: Optimized) -> None:
    """Program, plots, report: each whole or not at all, and the report, which names the others, last."""
    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".program.{os.getpid()}.json"  # DSPy goes by the ending
    try:
        done.program.save(partial)
        done.files.append(partial.replace(folder / "program.json"))
    finally:
        partial.unlink(missing_ok=True)
    if config.plots is not None:
        for name, figure in _draw(done).items():
            done.files.append(plots.save(figure, folder / f"{name}.{config.plots}"))
    report = folder / "report.json"
    done.files.append(report)
    partial = report.with_name(f".report.{os.getpid()}.json")
    partial.write_text(json.dumps(done.to_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    partial.replace(report)


def _draw(done: Optimized) -> dict[str, Any]:
    """The figures there is something to draw for."""
    report = done.report
    figures = {"learning_curve": _joint_curve(report) if isinstance(report, JointReport) else _router_curve(report)}
    if done.credit:
        figures["credit_split"] = plots.credit_split(done.credit)
    if done.rewards:
        figures["per_tool_reward"] = plots.per_tool_reward(done.rewards)
    return {name: figure for name, figure in figures.items() if figure is not None}


def _joint_curve(report: JointReport) -> Any:
    standings = [report.before, *(one for turn in report.turns for one in turn.candidates)]
    series = {
        "training examples": [(float(number), one.train) for number, one in enumerate(standings)],
        "validation examples": [(float(number), one.val) for number, one in enumerate(standings)],
    }
    steps = [one.name for one in standings]
    return plots.learning_curve(series, x_label="step", steps=steps, levels={"kept": report.after.val})


def _router_curve(report: OptimizerReport) -> Any:
    if report.exploration is not None:
        rounds = [one for one in report.exploration.rounds if math.isfinite(one.mean_best)]
        series = {"best tool found so far": [(float(one.total), one.mean_best) for one in rounds]}
        levels = {"score before": report.before / 100, "score after": report.after / 100}
        return plots.learning_curve(series, y_label="mean reward", levels=levels) if rounds else None
    if report.training is None or not report.training.epochs:
        return None
    losses = [(float(one.epoch), one.loss) for one in report.training.epochs]
    return plots.learning_curve({"training": losses}, x_label="epoch", y_label="loss")


def _finite(value: Any) -> Any:
    """The same with null for what is no finite number, which JSON cannot say."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
