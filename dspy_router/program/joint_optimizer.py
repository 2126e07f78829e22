"""Optimizes router and prompts in turns, each against the other's latest, from the program's own metric."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import dspy
from dspy.teleprompt.teleprompt import Teleprompter

from dspy_router.program.oversight import rehearsing
from dspy_router.program.route import find_route
from dspy_router.program.router_optimizer import RouterOptimizer
from dspy_router.program.tuning.fingerprints import qualified_name
from dspy_router.program.tuning.joint_report import JointReport
from dspy_router.program.tuning.joint_search import JointSearch
from dspy_router.program.tuning.rollouts import Rollouts


class JointOptimizer(Teleprompter):
    """A DSPy optimizer for a program's router and prompts together, from one metric and no tool labels.

    A turn trains the router under the present prompts, lets each prompt optimizer work on a copy with tools forced, and
    trains the router anew under the prompts that come of it. Every program on the way is judged on the validation set;
    the best is kept, and of equals the earlier. The turns end when neither part improves any more.

    While the prompts are optimized each training example has the best tool that is known for it forced, so that nobody
    is asked to repair routing by prompting. After a turn whose prompts were no better the next one asks whether other
    prompts would make other tools better, with the best known tools barred; `program/tuning/forcing.py` has the rules.

    Both parts share rollouts: what one has tried under some prompts the other knows.

    As for `RouterOptimizer`, the router must be asked what the examples' inputs say: where a larger program rewrites
    them first, the tool that an example's text is given would not reach its route.

    Attributes:
        report: What the last `compile` did; None before.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        router: RouterOptimizer | None = None,
        *,
        prompt: Teleprompter | Sequence[Teleprompter],
        max_turns: int = 3,
        maximum: float | None = None,
        rollouts: Rollouts | None = None,
        num_threads: int | None = None,
        seed: int | None = None,
    ) -> None:
        """Set the optimizer up.

        Args:
            metric: Judges the whole program, as in `dspy.Evaluate`: a number, a bool, or a `dspy.Prediction` with
                `score` and perhaps `feedback`.
            router: How to train the router, and within which budgets; its metric is replaced by this one. By default
                `RouterOptimizer(metric)`. What judging programs takes is not held against the budgets.
            prompt: One optimizer of prompts, or several that take turns, each with its own metric and budget. One that
                asks for feedback in words, as GEPA does, is told how every loss splits.
            max_turns: Most turns.
            maximum: The most that the metric can give; None takes the router optimizer's, which is 1 by default.
            rollouts: What has been tried before, perhaps kept in a file; budgets are then its own. By default every
                compilation has its own.
            num_threads: Threads for running the program; None takes the router optimizer's.
            seed: Of the router's training; None takes the router optimizer's.

        Raises:
            TypeError: If the metric cannot be called, or an optimizer is none.
            ValueError: If there is no prompt optimizer, `max_turns` is no whole number of at least 1, or the rollouts
                are of another metric.
        """
        super().__init__()
        if not callable(metric):
            raise TypeError(f"The metric must be a function of an example and a prediction; got {metric!r:.80}.")
        if router is not None and not isinstance(router, RouterOptimizer):
            raise TypeError(f"router must be a RouterOptimizer or None; got {type(router).__name__}: {router!r:.80}.")
        if isinstance(max_turns, bool) or not isinstance(max_turns, int) or max_turns < 1:
            raise ValueError(f"max_turns must be a whole number of at least 1; got {max_turns!r}.")
        self.metric = metric
        self.prompts = _as_prompts(prompt)
        self.max_turns = max_turns
        self.router = copy.copy(router) if router is not None else RouterOptimizer(metric)
        self.router.metric = metric
        self.router.maximum = self.router.maximum if maximum is None else maximum
        self.router.num_threads = self.router.num_threads if num_threads is None else num_threads
        if seed is not None:
            self.router.config = replace(self.router.config, seed=seed)
        self.rollouts = rollouts if rollouts is not None else self.router.rollouts
        if self.rollouts is not None and self.rollouts.metric != metric:
            raise ValueError(
                f"The rollouts to share were scored by the metric '{qualified_name(self.rollouts.metric)}', not by "
                f"'{qualified_name(metric)}'. Expected rollouts of the same metric."
            )
        self.report: JointReport | None = None

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: Sequence[Any],
        valset: Sequence[Any] | None = None,
        teacher: Any = None,
        **kwargs: Any,
    ) -> Any:
        """A copy of the student with the best router and prompts found; the student itself is left alone.

        Args:
            student: A program with exactly one router: a `RoutedAgent`, or a larger program with one inside.
            trainset: `dspy.Example`s with inputs, and what the metric needs.
            valset: The same, to compare programs by; without one they are compared on the training set.
            teacher: Handed to the optimizers that take one.
            **kwargs: None is known; a misspelt argument is an error.

        Raises:
            RuntimeError: If the program or the metric raised too often on the student as it is.
            TypeError: If there is an argument beyond these, or an example is no `dspy.Example` with inputs.
            ValueError: If the student has no router that may be trained, or several; there are no examples; or a score
                is above the maximum.
        """
        if kwargs:
            raise TypeError(f"JointOptimizer.compile takes no {', '.join(map(repr, kwargs))}; see its docstring.")
        find_route(student)
        if not trainset:
            raise ValueError("The trainset is empty; expected dspy.Examples with inputs.")
        router = copy.copy(self.router)
        router.rollouts = self.rollouts if self.rollouts is not None else router.new_rollouts()
        search = JointSearch(router, self.prompts, train=trainset, val=valset, teacher=teacher)
        with rehearsing():
            program, self.report = search.run(student, max_turns=self.max_turns)
        return program


def _as_prompts(prompt: Any) -> list[Teleprompter]:
    prompts = list(prompt) if isinstance(prompt, Sequence) else [prompt]
    for one in prompts:
        if not isinstance(one, Teleprompter):
            raise TypeError(
                "prompt must be an optimizer of DSPy such as dspy.GEPA or dspy.MIPROv2, or a list of them; "
                f"got {type(one).__name__}: {one!r:.80}."
            )
        if isinstance(one, RouterOptimizer):
            raise TypeError("prompt must optimize prompts; a RouterOptimizer goes into the argument router.")
    if not prompts:
        raise ValueError("prompt is empty; expected at least one optimizer. For the router alone use RouterOptimizer.")
    return prompts
