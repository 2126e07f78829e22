"""What goes wrong in a rollout is counted and reported, fatal only beyond `max_errors`; what destroys is not run."""

from __future__ import annotations

import time
from typing import Any

import dspy
import pytest
from rollout_programs import OPEN, ROOT, Counting, agent, quiet
from scripted import scripted_lm
from toolbelt import LABELLED, count_letters, examples, opening_hours, square_root

from dspy_router import Router


class TestFailures:
    """Counted and reported, and fatal only beyond `max_errors`."""

    def test_a_tool_that_fails_is_an_outcome_with_a_score(self):
        def square_root(number: float) -> float:
            """Square root of a number."""
            raise ArithmeticError("no root today")

        student, runs = Counting(tools=[square_root, count_letters]), quiet(max_errors=0)
        (one,) = runs.run(student, [(ROOT, "square_root")])
        assert one is not None
        assert (one.score, one.failure, one.error) == (0.0, "tool", "ArithmeticError: no root today")
        assert (runs.spent.failed_calls, runs.spent.errors) == (1, 0)

    @pytest.mark.parametrize("lm", [None, scripted_lm({"arguments": "no idea"})])
    def test_arguments_that_cannot_be_filled_are_too(self, lm):
        """With a language model the agent goes on, without one it raises; an example counts either way."""
        runs = quiet(max_errors=0)
        with dspy.context(lm=lm):
            (one,) = runs.run(agent(), [(OPEN, "square_root")])
        assert one is not None
        assert (one.score, one.failure) == (0.0, "arguments")
        assert runs.spent.errors == 0

    def test_a_program_that_raises_has_no_score_and_is_not_tried_again(self):
        student, runs = Counting(), quiet()
        student.trouble = dict.fromkeys((1, 2), LookupError("out of order"))
        outcome: Any = runs.run(student, [(ROOT, "square_root"), (OPEN, "opening_hours")])
        assert [(one.score, one.failure, one.error) for one in outcome] == [
            (None, "program", "LookupError: out of order")
        ] * 2
        assert runs.run(student, [(ROOT, "square_root")]) == outcome[:1]
        assert (len(student.seen), runs.spent.errors) == (2, 2)
        assert runs.known(student, ROOT) == {}
        assert runs.first_error(student) == "LookupError: out of order"

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (None, "TypeError: The metric must give a number.*got NoneType.*on every path"),
            (float("nan"), "ValueError: The metric must give a finite number; got nan"),
            ("good", "TypeError.*got str: 'good'"),
            (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        ],
    )
    def test_more_errors_than_allowed_are_fatal_and_quote_the_first(self, answer, message):
        def metric(example, prediction, trace=None):
            if isinstance(answer, Exception):
                raise answer
            return answer

        runs = quiet(metric, max_errors=2, num_threads=1)
        with pytest.raises(RuntimeError, match=rf"^3 rollouts.*max_errors=2\. The first was: {message}"):
            runs.run(agent(), [(example, "opening_hours") for example in examples()])
        assert runs.spent.rollouts == 3

    def test_a_new_prompt_may_err_anew(self):
        def metric(example, prediction, trace=None):
            raise LookupError

        student, runs = agent(synthesis="result"), quiet(metric, max_errors=1)
        with dspy.context(lm=scripted_lm()):
            runs.run(student, [(ROOT, "square_root")])
            student.synthesis.signature = student.synthesis.signature.with_instructions("Be brief.")
            runs.run(student, [(ROOT, "square_root")])
        assert runs.spent.errors == 2

    def test_an_interrupt_passes_and_nothing_new_is_taken_up(self):
        def metric(example, prediction, trace=None):
            raise KeyboardInterrupt

        class Slow(Counting):
            def forward(self, question: str) -> dspy.Prediction:
                time.sleep(0.2)
                return super().forward(question)

        student = Slow()
        with pytest.raises(KeyboardInterrupt):
            quiet(metric, num_threads=2).run(student, [(example, "opening_hours") for example in examples()])
        time.sleep(0.5)  # what was under way ends
        assert len(student.seen) < len(LABELLED)


class TestDestructive:
    @pytest.fixture
    def student(self):
        cards = [{"name": tool.__name__, "description": tool.__doc__} for tool in (square_root, opening_hours)]
        program = agent([square_root, opening_hours])
        router = Router.from_tools(cards, encoder="hash")
        router.cards = tuple(
            type(card)(card.name, card.description, destructive=card.name == "opening_hours") for card in router.cards
        )
        program.route.router = router
        return program

    def test_tools_are_never_rolled_out(self, student):
        runs = quiet()
        outcome = runs.run(student, [(OPEN, "opening_hours"), (ROOT, "square_root")])
        assert [one is not None for one in outcome] == [False, True]
        assert runs.spent.rollouts == 1

    def test_unless_they_are_allowed(self, student):
        assert None not in quiet(allow_destructive=True).run(student, [(OPEN, "opening_hours")])
