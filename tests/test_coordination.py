"""The coordination task's figure: router alone and prompts alone stay low, and both together solve it.

All three begin with the same program, the same examples and a language model of the same seed. The prompt optimizer is
one of DSPy's own. Each part alone is given no less than the joint optimizer spent: the prompt optimizer runs again on
what it made until it has asked the language model as often, the router tries every tool on every example.
"""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from coordination import ADVICE, RECORD_ADVICE, TOOLS, literal_reader, metric, questions, student

from dspy_router import RouterOptimizer, TrainConfig
from dspy_router.learning.trials import ExploreConfig
from dspy_router.program.joint_optimizer import JointOptimizer
from dspy_router.program.tuning.rollouts import Rollouts

LOW, HIGH = 0.65, 0.95
RECORDS = TOOLS[1::2]


def with_feedback(gold, pred, trace=None, pred_name=None, pred_trace=None):
    return metric(gold, pred)


def copro(lm: Any) -> Any:
    return dspy.COPRO(metric=metric, breadth=9, depth=1)


def gepa(lm: Any) -> Any:
    return dspy.GEPA(with_feedback, max_metric_calls=150, reflection_lm=lm, num_threads=1)


def score(program: Any, examples: list[Any]) -> float:
    return dspy.Evaluate(devset=examples, metric=metric, num_threads=1, display_progress=False)(program).score / 100


def router_optimizer(seed: int, **settings: Any) -> RouterOptimizer:
    return RouterOptimizer(metric, config=TrainConfig(seed=seed, progress=False), num_threads=1, **settings)


def router_alone(seed: int) -> float:
    train, val = questions(seed)
    optimizer = router_optimizer(seed, exploration=ExploreConfig(tries=len(TOOLS) + 1))
    with dspy.context(lm=literal_reader(seed)):
        return score(optimizer.compile(student(), trainset=train, valset=val), val)


def prompt_alone(seed: int, make: Any, calls: int) -> float:
    train, val = questions(seed)
    lm, program = literal_reader(seed), student()
    with dspy.context(lm=lm):
        while len(lm.engine.requests) < calls:
            program = make(lm).compile(program, trainset=train)
            vars(program).pop("candidate_programs", None)  # or every round would copy those of all before
        return score(program, val)


def together(seed: int, make: Any, *, lenient: bool = False, **settings: Any) -> tuple[float, Any]:
    train, val = questions(seed)
    lm = literal_reader(seed, lenient=lenient)
    optimizer = JointOptimizer(metric, router_optimizer(seed), prompt=make(lm), **settings)
    with dspy.context(lm=lm):
        return score(optimizer.compile(student(), trainset=train, valset=val), val), optimizer.report


SLOW = [(1, gepa), (2, gepa), (3, gepa), (4, gepa), (0, copro)]


@pytest.mark.parametrize(("seed", "make"), [(0, gepa), *(pytest.param(*one, marks=pytest.mark.slow) for one in SLOW)])
def test_neither_part_alone_solves_it_and_both_together_do(seed, make):
    both, report = together(seed, make)
    alone = {"router": router_alone(seed), "prompts": prompt_alone(seed, make, report.lm_calls)}
    assert report.before.val <= LOW
    assert max(alone.values()) <= LOW, alone
    assert both >= HIGH


def test_nothing_that_either_part_could_find_alone_solves_it():
    """Whatever the search: under the first prompt no tool solves more, and with the first router no advice does."""
    train, val = questions(0)
    rows, program = [*train, *val], student()
    with dspy.context(lm=literal_reader(0)):
        rollouts = Rollouts(metric, num_threads=1, progress=False)
        rollouts.run(program, [(row, tool.name) for row in rows for tool in TOOLS] + [(row, None) for row in rows])
        best = [max(one.score or 0.0 for one in known.values()) for known in rollouts.known_many(program, rows)]
        assert sum(best) / len(rows) == 0.6
        signature = program.synthesis.signature
        for advice in ADVICE:
            program.synthesis.signature = signature.with_instructions(f"{signature.instructions} {advice}")
            assert score(program, rows) <= LOW
        program.synthesis.signature = signature.with_instructions(RECORD_ADVICE)
        rollouts.run(program, [(row, tool.name) for row in rows for tool in TOOLS if tool in RECORDS])
        assert all(1.0 in (one.score for one in known.values()) for known in rollouts.known_many(program, rows))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_prompt_that_helps_one_group_and_spoils_none_is_found_as_well(seed):
    """A lenient reader takes the advice about records without unlearning prose."""
    both, _ = together(seed, gepa, lenient=True)
    assert both >= HIGH
