"""A program to compare that knows its answers, fails when told to and counts what it was asked."""

from __future__ import annotations

import threading

import dspy
from toolbelt import LABELLED, examples

from dspy_router import compare

N = len(LABELLED)
ANSWERS = {question: answer for question, _, answer in LABELLED}
QUESTIONS = list(ANSWERS)


class Known(dspy.Module):
    """Answers from memory, asks a language model so and so often on the way, and remembers what it was asked."""

    def __init__(self, wrong=(), *, calls=0, fails=(), act=None):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")
        self._wrong, self._calls, self._fails, self._act = set(wrong), calls, set(fails), act
        self._asked = []
        self._lock = threading.Lock()

    @property
    def asked(self):
        return self._asked

    def forward(self, question):
        with self._lock:
            self._asked.append(question)
            number = len(self._asked)
        if self._act is not None:
            self._act(number)
        for _ in range(self._calls):
            self.ask(question=question)
        if question in self._fails:
            raise ValueError(f"cannot do {question!r}")
        return dspy.Prediction(answer="wrong" if question in self._wrong else ANSWERS[question])


def is_right(example, prediction) -> bool:
    return prediction.answer == example.answer


def other_metric(example, prediction) -> bool:
    return True


def quiet(programs, metric=is_right, devset=None, **settings):
    return compare(programs, examples() if devset is None else devset, metric, progress=False, **settings)
