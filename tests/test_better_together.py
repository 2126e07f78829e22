"""The router's optimizer between DSPy's own: turns of router and prompts in `dspy.BetterTogether`."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from coordination import literal_reader, metric, questions, student

from dspy_router import RouterOptimizer, TrainConfig
from dspy_router.program.joint_optimizer import JointOptimizer

TRAIN, VAL = questions(1)


def with_feedback(gold, pred, trace=None, pred_name=None, pred_trace=None):
    return metric(gold, pred)


def mipro(lm: Any) -> Any:
    return dspy.MIPROv2(
        metric,
        prompt_model=lm,
        task_model=lm,
        auto=None,
        num_candidates=2,
        max_bootstrapped_demos=1,
        max_labeled_demos=0,
        num_threads=1,
    )


def gepa(lm: Any) -> Any:
    return dspy.GEPA(with_feedback, max_metric_calls=60, reflection_lm=lm, num_threads=1)


def router(**settings: Any) -> RouterOptimizer:
    return RouterOptimizer(metric, config=TrainConfig(epochs=5, progress=False), num_threads=1, **settings)


def better_together(strategy: str, lm: Any, *, compile_args: Any = None, **optimizers: Any) -> tuple[Any, Any]:
    program = student()
    program.set_lm(lm)
    compiled: Any = dspy.BetterTogether(metric=metric, **optimizers).compile(
        program, trainset=TRAIN, valset=VAL, strategy=strategy, num_threads=1, optimizer_compile_args=compile_args
    )
    return program, compiled


@pytest.mark.parametrize(
    ("make", "compile_args"),
    [(gepa, None), (mipro, {"p": {"num_trials": 2, "minibatch": False, "program_aware_proposer": False}})],
)
def test_router_prompts_and_router_again_take_their_turns(make, compile_args):
    lm, r = literal_reader(0), router()
    with dspy.context(lm=lm):
        program, compiled = better_together("r -> p -> r", lm, r=r, p=make(lm), compile_args=compile_args)
    assert not compiled.flag_compilation_error_occurred
    scores = {one["strategy"]: one["score"] for one in compiled.candidate_programs}
    assert set(scores) == {"", "r", "r -> p", "r -> p -> r"}
    assert scores["r"] > scores[""]
    assert r.report is not None
    assert r.report.learned_from == "rewards"
    assert compiled.router.fingerprint != program.router.fingerprint
    assert all(predictor.lm is not None for predictor in compiled.predictors())


def test_the_joint_optimizer_is_a_step_as_well():
    lm = literal_reader(0)
    joint = JointOptimizer(metric, router(), prompt=gepa(lm), max_turns=1)
    with dspy.context(lm=lm):
        _, compiled = better_together("j", lm, j=joint)
    assert not compiled.flag_compilation_error_occurred
    assert joint.report is not None
    assert compiled.candidate_programs[0]["score"] == pytest.approx(100 * joint.report.after.val)
