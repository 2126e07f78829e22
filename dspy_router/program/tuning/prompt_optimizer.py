"""An optimizer of prompts by its name in DSPy and its options as a configuration can say them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

import dspy
from dspy.teleprompt.teleprompt import Teleprompter

from dspy_router.program.tuning.rewards import read_score

# Options for which DSPy wants a language model itself; a configuration can only name one.
_MODELS = ("prompt_model", "task_model", "reflection_lm")


def prompt_optimizer(name: str, options: Mapping[str, Any], metric: Callable[..., Any]) -> Teleprompter:
    """Make an optimizer of DSPy.

    Args:
        name: Its class in `dspy`, such as `MIPROv2`.
        options: Its keyword arguments; a language model may be given by name.
        metric: The program's metric, called with an example and a prediction, and with what else the optimizer tells
            if it takes more.

    Raises:
        ValueError: If there is no such optimizer, or it does not take these options.
    """
    kinds = {key: kind for key, kind in vars(dspy).items() if _is_optimizer(kind)}
    if name not in kinds:
        near = get_close_matches(name, kinds, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(sorted(kinds))}."
        raise ValueError(f"DSPy has no optimizer '{name}'; {hint}")
    given = {
        key: dspy.LM(value) if key in _MODELS and isinstance(value, str) else value for key, value in options.items()
    }
    parameters = inspect.signature(kinds[name]).parameters
    if "metric" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        given.setdefault("metric", _for_feedback(metric) if name == "GEPA" else _for_score(metric))
    try:
        return kinds[name](**given)
    except (TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"prompt: {name} cannot be made with the options {sorted(options)}: {error}") from error


def _is_optimizer(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Teleprompter) and kind is not Teleprompter


def _for_score(metric: Callable[..., Any]) -> Callable[..., float]:
    """The metric as most optimizers call it: with the trace while they collect examples, and for a number."""
    most = _arguments(metric)

    def judge(example: Any, prediction: Any, trace: Any = None) -> float:
        return read_score(metric(*(example, prediction, trace)[:most]))[0]

    return judge


def _for_feedback(metric: Callable[..., Any]) -> Callable[..., Any]:
    """The metric as GEPA calls it: with the predictor that it wants feedback on."""
    most = _arguments(metric)

    def judge(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        score, feedback = read_score(metric(*(gold, pred, trace, pred_name, pred_trace)[:most]))
        return dspy.Prediction(score=score, feedback=feedback) if feedback else score

    return judge


def _arguments(metric: Callable[..., Any]) -> int:
    """How many of (example, prediction, trace, predictor, its trace) a metric takes by position."""
    for count in (5, 3):
        try:
            inspect.signature(metric).bind(*[None] * count)
        except TypeError:
            continue
        except ValueError:  # a builtin does not tell
            break
        return count
    return 2
