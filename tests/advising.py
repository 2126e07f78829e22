"""A prompt optimizer of a few lines, one that breaks, and a joint optimizer of the coordination task with either."""

from __future__ import annotations

from typing import Any

import dspy
from coordination import RECORD_ADVICE, literal_reader, metric, questions, student
from dspy.teleprompt.teleprompt import Teleprompter

from dspy_router import RouterOptimizer, TrainConfig
from dspy_router.program.joint_optimizer import JointOptimizer

TRAIN, VAL = questions(1)
# For what does not depend on how well the router learns.
FEW = {"trainset": TRAIN[:12], "valset": VAL[:9]}
QUICK = TrainConfig(epochs=4, progress=False)


class Advising(Teleprompter):
    """A prompt optimizer: appends its advice if that is better on the examples it is given, as it sees them."""

    def __init__(self, advice: str = RECORD_ADVICE, *, always: bool = False) -> None:
        self.advice = advice
        self.always = always
        self.tools: list[list[str | None]] = []

    def compile(self, student, *, trainset, teacher=None, valset=None, **kwargs):
        advised = student.deepcopy()
        signature = advised.synthesis.signature
        advised.synthesis.signature = signature.with_instructions(f"{signature.instructions} {self.advice}")
        evaluate = dspy.Evaluate(devset=trainset, metric=metric, num_threads=1, display_progress=False)
        before, after = evaluate(student), evaluate(advised)
        self.tools.append([prediction.decision.tool for _, prediction, _ in before.results])
        return advised if self.always or after.score > before.score else student


class Broken(Advising):
    def compile(self, student, *, trainset, teacher=None, valset=None, **kwargs):
        student.synthesis.signature = student.synthesis.signature.with_instructions("half-way")
        raise ConnectionError("the prompt model is gone")


def joint(prompt: Any = None, **settings: Any) -> JointOptimizer:
    router = settings.pop("router", None) or RouterOptimizer(config=QUICK)
    judge = settings.pop("metric", metric)
    return JointOptimizer(judge, router, prompt=Advising() if prompt is None else prompt, num_threads=1, **settings)


def compile_(optimizer: JointOptimizer, program: Any = None, lm: Any = None, **settings: Any) -> tuple[Any, Any]:
    with dspy.context(lm=lm or literal_reader(0)):
        compiled = optimizer.compile(student() if program is None else program, **{**FEW, **settings})
    return compiled, optimizer.report
