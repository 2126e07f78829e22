"""Runs a prompt optimizer of DSPy on a copy of a program while tools are forced, and tells it whose fault is what."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dspy
from dspy.teleprompt.teleprompt import Teleprompter

from dspy_router.evaluation.credit import assign_credit
from dspy_router.program.route import find_route, forced
from dspy_router.program.tuning.rewards import read_score
from dspy_router.records import Step

# What to tell a predictor about an example: (example, prediction, name of the predictor, score of the prediction).
Explain = Callable[[Any, Any, str, float], str]


def tune_prompts(
    optimizer: Teleprompter,
    program: dspy.Module,
    *,
    trainset: Sequence[Any],
    tools: Mapping[str, str | None],
    explain: Explain,
    teacher: Any = None,
) -> dspy.Module:
    """A copy of the program with prompts by this optimizer; weights and language models are the program's own.

    The optimizer gets no validation set: what is judged on one shall not have been optimized on it.

    Args:
        optimizer: Any optimizer of DSPy; it is left as it is, a copy of it works.
        program: The program; it is left as it is.
        trainset: The examples to optimize on.
        tools: The tool to force, by the text that the program's router is asked about.
        explain: What to tell an optimizer that asks for feedback, as GEPA does.
        teacher: Handed on to optimizers that take one.

    Raises:
        Exception: Whatever the optimizer raises.
        TypeError: If it returns no program.
    """
    twin = program.deepcopy()
    twin._compiled = False
    worker = copy.copy(optimizer)
    arguments: dict[str, Any] = {"trainset": list(trainset)}
    if _asks_for_feedback(worker):
        worker.metric_fn = _explained(worker.metric_fn, explain)  # pyright: ignore[reportAttributeAccessIssue]
    elif teacher is not None and "teacher" in inspect.signature(worker.compile).parameters:
        arguments["teacher"] = teacher
    with forced(tools):
        tuned = worker.compile(twin, **arguments)
    if not isinstance(tuned, dspy.Module):
        raise TypeError(f"{type(optimizer).__name__}.compile must return a program; got {type(tuned).__name__}.")
    return _restored(tuned, program)


def _restored(tuned: dspy.Module, program: dspy.Module) -> dspy.Module:
    """The tuned program with all but its prompts as in the original: some optimizers reset or add to a program."""
    find_route(tuned).router = copy.deepcopy(find_route(program).router)
    lms = {name: predictor.lm for name, predictor in program.named_predictors()}
    for name, predictor in tuned.named_predictors():
        predictor.lm = lms.get(name, predictor.lm)
    for name in set(vars(tuned)) - set(vars(program)):
        delattr(tuned, name)  # such as `candidate_programs`, with copies of all that were tried
    tuned._compiled = False
    return tuned


def _asks_for_feedback(optimizer: Any) -> bool:
    """Whether its metric is called as GEPA calls it: with the name of a predictor, for words rather than a number."""
    metric = getattr(optimizer, "metric_fn", None)
    if not callable(metric):
        return False
    try:
        inspect.signature(metric).bind(None, None, None, None, None)
    except (TypeError, ValueError):
        return False
    return True


def _explained(metric: Callable[..., Any], explain: Explain) -> Callable[..., Any]:
    """The metric, with the explanation added to its feedback wherever it is asked for a predictor's."""

    @functools.wraps(metric)
    def judge(gold: Any, pred: Any, *rest: Any, **named: Any) -> Any:
        answer = metric(gold, pred, *rest, **named)
        predictor = named.get("pred_name", rest[1] if len(rest) > 1 else None)
        if predictor is None:
            return answer
        score, feedback = read_score(answer)
        words = [feedback or f"This trajectory got a score of {score:g}.", explain(gold, pred, predictor, score)]
        return dspy.Prediction(score=score, feedback="\n".join(words))

    return judge


def explain_credit(
    rewards: Mapping[str | None, float],
    prediction: Any,
    predictor: str,
    *,
    score: float,
    maximum: float,
) -> str:
    """In words for a prompt optimizer: how much of what is missing is its to mend, and what is not.

    Args:
        rewards: The rewards of the tools that were tried on this example under the prompts it started from.
        prediction: The prediction it is about, with the steps and the decision of a `RoutedAgent` if it tells them.
        predictor: Name of the predictor that the words are for.
        score: What the prediction earned.
        maximum: The most that the metric can give.
    """
    decision = getattr(prediction, "decision", None)
    tool = getattr(decision, "tool", None)
    steps = [step for step in getattr(prediction, "steps", None) or () if isinstance(step, Step)]
    if steps and steps[-1].failed:
        fills = predictor.endswith("fill_arguments")
        whose = "The arguments you wrote are to blame" if fills else "This is no fault of your words"
        return f"The call of the tool '{tool}' failed: {steps[-1].error}. {whose}, unless the tool itself is broken."
    tried = {**rewards, tool: score} if decision is not None else dict(rewards)
    if decision is None or not tried:
        return ""
    credit = assign_credit(tool, tried, maximum=max(maximum, *tried.values()))
    parts = [f"{_named(tool).capitalize()} was chosen for you; the choice is not your task."]
    if credit.routing_regret > 0:
        parts.append(
            f"Of the missing {maximum - score:g}, {credit.routing_regret:g} is the choice's fault: with "
            f"{_named(credit.best)} this example earned {tried[credit.best]:g}."
        )
    if (rest := maximum - max(tried.values())) > 0:
        parts.append(
            f"No tool that was tried earned the last {rest:g}: that is a matter of how the outputs are written from "
            "what the tool returned."
        )
    return " ".join(parts)


def _named(tool: str | None) -> str:
    return "no tool" if tool is None else f"the tool '{tool}'"
