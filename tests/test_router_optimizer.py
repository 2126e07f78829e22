"""The optimizer of the router's weights: a copy learns from the labels, and keeps it only if that helps."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from scripted import scripted_lm
from toolbelt import LABELLED, TOOLS, examples, small_router

from dspy_router import Episode, RoutedAgent, RouterOptimizer, TrainConfig, evaluate
from dspy_router.program.route import find_route
from dspy_router.program.tuning.teaching import read_examples

QUICK = TrainConfig(epochs=8, progress=False)
ROWS = [{"query": question, "tool": tool} for question, tool, _ in LABELLED]


class Larger(dspy.Module):
    def __init__(self, *agents):
        super().__init__()
        self.agents = list(agents)

    def forward(self, question):
        return self.agents[0](question=question)


def agent(signature="question -> answer", **settings):
    return RoutedAgent(signature, TOOLS, router=small_router(), synthesis="none", **settings)


def exact(example, prediction, trace=None):
    return prediction.answer == example.answer


def test_the_copy_learns_and_the_student_stays():
    student, optimizer = agent(), RouterOptimizer(config=QUICK)
    before = student.router.fingerprint
    compiled = optimizer.compile(student, trainset=examples())
    assert student.router.fingerprint == before
    report = optimizer.report
    assert report is not None
    assert (report.judged_by, report.kept) == ("tool accuracy", True)
    assert report.before == evaluate(student.router, ROWS).accuracy
    assert report.after == evaluate(compiled.router, ROWS).accuracy == 1.0
    assert report.after > report.before
    assert report.training is not None
    assert report.training.examples == len(LABELLED)


def test_prompts_can_be_optimized_afterwards():
    """It does not mark the program as compiled, which would freeze it."""
    compiled = RouterOptimizer(config=QUICK).compile(agent(), trainset=examples())
    assert not compiled._compiled
    trained = compiled.router.fingerprint
    again = dspy.BootstrapFewShot(metric=exact).compile(compiled, trainset=examples())
    assert again.router.fingerprint == trained


def test_the_programs_metric_may_judge():
    optimizer = RouterOptimizer(exact, config=QUICK)
    optimizer.compile(agent(), trainset=examples(), valset=examples()[:9])
    report = optimizer.report
    assert report is not None
    assert report.judged_by == "metric"
    assert 0 <= report.before <= report.after <= 100


def test_weights_that_make_it_worse_are_undone():
    """Labels that contradict the program's metric lead the router astray."""
    wrong = {
        "square_root": "count_letters",
        "count_letters": "opening_hours",
        "opening_hours": "square_root",
        None: None,
    }
    misled = [example.copy(tool=wrong[example.tool]) for example in examples()]
    student, optimizer = agent(), RouterOptimizer(exact, config=QUICK)
    student.set_lm(scripted_lm())
    compiled = optimizer.compile(student, trainset=misled, valset=misled)
    assert optimizer.report is not None
    assert optimizer.report.after < optimizer.report.before
    assert not optimizer.report.kept
    assert compiled.router.fingerprint == student.router.fingerprint


def test_same_seed_same_weights():
    first, second = (RouterOptimizer(config=QUICK).compile(agent(), trainset=examples()) for _ in range(2))
    assert first.router.fingerprint == second.router.fingerprint


def test_the_router_of_a_larger_program_is_found():
    student = Larger(agent())
    compiled = RouterOptimizer(config=QUICK).compile(student, trainset=examples())
    assert find_route(compiled).router.fingerprint != find_route(student).router.fingerprint


def test_it_is_a_step_of_better_together():
    student = agent()
    student.set_lm(scripted_lm())
    optimizer = dspy.BetterTogether(
        metric=exact,
        router=RouterOptimizer(config=QUICK),
        prompts=dspy.BootstrapFewShot(metric=exact, max_bootstrapped_demos=1),
    )
    compiled: Any = optimizer.compile(
        student, trainset=examples(), valset=examples(), strategy="router -> prompts -> router", num_threads=1
    )
    assert not compiled.flag_compilation_error_occurred
    assert compiled.candidate_programs[0]["strategy"].startswith("router")
    assert compiled.router.fingerprint != student.router.fingerprint


class TestRefusals:
    @pytest.mark.parametrize(
        ("student", "message"),
        [
            (dspy.Predict("question -> answer"), "no router to train: it is missing"),
            (Larger(agent(), agent()), r"2 routers \(agents\[0\]\.route, agents\[1\]\.route\)"),
        ],
    )
    def test_there_must_be_one_router(self, student, message):
        with pytest.raises(ValueError, match=message):
            RouterOptimizer().compile(student, trainset=examples())

    def test_a_frozen_router_is_left_alone(self):
        inner = agent()
        inner._compiled = True
        with pytest.raises(ValueError, match="compiled already, which DSPy keeps frozen"):
            RouterOptimizer().compile(Larger(inner), trainset=examples())

    @pytest.mark.parametrize(
        ("trainset", "message"),
        [
            ([], "The trainset is empty"),
            (
                [*examples(), dspy.Example(question="when?").with_inputs("question")],
                r"trainset\[14\] .* no field 'tool'",
            ),
            ([{"query": "a", "tool": "square_rot"}, *ROWS], "square_rot"),
            ([{"one": "a", "two": "b", "tool": "square_root"}], "none of the inputs .*question.*; it has one, two"),
            ([row for row in ROWS if row["tool"] == "square_root"], "same label"),
        ],
    )
    def test_examples_must_name_the_right_tools(self, trainset, message):
        with pytest.raises(ValueError, match=message):
            RouterOptimizer(config=QUICK).compile(agent(), trainset=trainset)

    def test_a_misspelt_argument_is_an_error(self):
        with pytest.raises(TypeError, match="takes no 'valest'"):
            RouterOptimizer().compile(agent(), trainset=examples(), valest=examples())


class TestReading:
    def test_the_router_learns_from_what_the_agent_will_read(self):
        """Neither the answer nor the order of the example's fields may get into the text."""
        rows = [dspy.Example(answer="4", place="Rome", question="root of 16?", tool="square_root")]
        (episode,) = read_examples(rows, agent("question, place -> answer"))
        assert episode == Episode({"question": "root of 16?", "place": "Rome"}, labels=(("square_root",),))

    def test_rows_of_a_query_fit_any_single_input(self):
        (episode,) = read_examples(ROWS[:1], agent())
        assert dict(episode.inputs) == {"question": ROWS[0]["query"]}

    def test_episodes_and_other_label_fields_are_read(self):
        episode = Episode({"question": "when?"}, labels=(("opening_hours",),))
        assert read_examples([episode], agent()) == [episode]
        rows = [{"question": "when?", "right": ["opening_hours", "count_letters"]}]
        (read,) = read_examples(rows, agent(), label_field="right")
        assert read.labels == (("opening_hours", "count_letters"),)
