"""The optimizer of the router without tool labels: the program's own metric teaches, within its budget."""

from __future__ import annotations

import logging
from typing import Any, cast

import dspy
import pytest
from rollout_programs import Counting, agent, hit
from toolbelt import LABELLED

from dspy_router import RoutedAgent, Router, RouterOptimizer, ToolCard, TrainConfig
from dspy_router.learning.trials import ExploreConfig

QUICK = TrainConfig(epochs=8, progress=False)
# Words that say nothing of the tools: only what a call earns can tell which word goes with which tool.
PLACES = ("north", "south", "east", "west", "top", "bottom", "left", "right")


def red() -> str:
    """One way."""
    return "red"


def blue() -> str:
    """Another way."""
    return "blue"


def green() -> str:
    """A third way."""
    return "green"


PAINTS = [red, blue, green]
WANTED = {"fire": "red", "rose": "red", "sky": "blue", "sea": "blue", "grass": "green", "leaf": "green"}


def unlabelled(places=PLACES) -> list[dspy.Example]:
    return [
        dspy.Example(question=f"{thing} {place}", answer=colour).with_inputs("question")
        for place in places
        for thing, colour in WANTED.items()
    ]


def painter(tools: Any = PAINTS) -> Any:
    return agent(tools)


def compiled(metric: Any = hit, student: Any = None, examples: Any = None, **settings: Any) -> tuple[Any, Any]:
    optimizer = RouterOptimizer(metric=metric, config=QUICK, **settings)
    program = optimizer.compile(student or painter(), trainset=examples or unlabelled())
    return program, optimizer.report


def told(optimizer: RouterOptimizer) -> Any:
    assert optimizer.report is not None
    return optimizer.report


def score(program: Any, examples: list[dspy.Example]) -> float:
    return sum(hit(example, program(**example.inputs())) for example in examples) / len(examples)


def test_the_metric_alone_teaches_which_tool_is_right():
    student = painter()
    optimizer = RouterOptimizer(metric=hit, config=QUICK)
    program = optimizer.compile(student, trainset=unlabelled(PLACES[:6]), valset=unlabelled(PLACES[6:]))
    report = told(optimizer)
    assert report.learned_from == "rewards"
    assert report.kept
    assert report.before == pytest.approx(100 * score(student, unlabelled(PLACES[6:])))
    assert report.after == pytest.approx(100 * score(program, unlabelled(PLACES[6:]))) == 100
    assert report.before < 60
    assert report.lm_calls == report.spent.lm_calls == 0
    assert report.exploration.rounds[-1].mean_best == 1.0


def test_labels_teach_beside_the_metric_and_need_no_rollout():
    examples = unlabelled()
    for example in examples[:20]:
        example["tool"] = example.answer
    program, report = compiled(examples=examples)
    assert report.learned_from == "labels and rewards"
    assert score(program, examples) == 1.0
    assert report.exploration.rounds[-1].total < 2 * len(examples[20:])


def test_with_labels_on_all_the_metric_only_judges():
    examples = unlabelled()
    for example in examples:
        example["tool"] = example.answer
    _, report = compiled(examples=examples)
    assert (report.learned_from, report.judged_by, report.exploration) == ("labels", "metric", None)


def test_the_budget_of_rollouts_is_kept():
    student = Counting(tools=PAINTS)
    optimizer = RouterOptimizer(metric=hit, config=QUICK, max_rollouts=10)
    optimizer.compile(student, trainset=unlabelled(PLACES[1:]), valset=unlabelled(PLACES[:1]))
    report = told(optimizer)
    assert report.exploration.tries == 10


def test_a_budget_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"max_rollouts must be a whole number of at least 1, .* got 0"):
        RouterOptimizer(metric=hit, max_rollouts=0)


def test_destructive_tools_are_not_tried_unless_allowed():
    called = []

    def wipe() -> str:
        """Wipe it."""
        called.append(1)
        return "red"

    router = Router.from_tools(
        [ToolCard("wipe", "Wipe it.", destructive=True), *map(ToolCard.from_tool, [blue, green])], encoder="hash"
    )
    student = RoutedAgent("question -> answer", [wipe, blue, green], router=router, synthesis="none")
    compiled(student=student)
    assert not called
    compiled(student=student, allow_destructive=True)
    assert called


def test_costly_tools_are_tried_when_the_others_were():
    calls = []

    def expensive() -> str:
        """Third way at a price."""
        calls.append(1)
        return "green"

    tools = [red, blue, expensive]
    compiled(student=painter(tools), costly=["expensive"])
    # Four of six things want red or blue: on those nobody needs to pay, on the others all else was tried before.
    assert 0 < len(calls) <= 3 * len(unlabelled()) / 6 * 2
    with pytest.raises(ValueError, match=r"no tool 'expensve'; it knows .* Did you mean 'expensive'"):
        compiled(student=painter(tools), costly=["expensve"])


def test_a_constant_metric_is_told_and_changes_nothing(caplog):
    student = painter()
    with caplog.at_level(logging.WARNING):
        program, report = compiled(lambda example, prediction: 0.5, student=student)
    assert not report.kept
    assert "The metric gave 0.5 in all" in report.note
    assert report.note in caplog.text
    assert program.router.fingerprint == student.router.fingerprint


@pytest.mark.parametrize(
    ("answer", "message"),
    [(None, "got NoneType: None"), ("good", "got str: 'good'"), (float("nan"), "must give a finite number; got nan")],
)
def test_a_metric_that_gives_no_number_is_quoted(answer, message):
    with pytest.raises((RuntimeError, ValueError), match=message):
        compiled(lambda example, prediction: answer)


def test_a_metric_that_fails_now_and_then_is_survived():
    def flaky(example, prediction):
        if example.question.endswith("left"):
            raise KeyError("no such row")
        return hit(example, prediction)

    program, report = compiled(flaky, max_errors=100)
    assert report.spent.errors > 0
    assert report.kept
    assert score(program, unlabelled(PLACES[:6])) == 1.0


def test_a_teachers_choice_is_tried_first():
    expert, _ = compiled()
    student = painter()
    optimizer = RouterOptimizer(metric=hit, config=QUICK)
    optimizer.compile(student, trainset=unlabelled(PLACES[:6]), valset=unlabelled(PLACES[6:]), teacher=expert)
    report = told(optimizer)
    assert report.exploration.tries == len(unlabelled(PLACES[:6]))


def test_a_teacher_that_cannot_suggest_is_told_from_the_student():
    optimizer = RouterOptimizer(metric=hit, config=QUICK)
    with pytest.raises(ValueError, match=r"The teacher \(Predict\) must have one router for the student's tools"):
        optimizer.compile(painter(), trainset=unlabelled(), teacher=dspy.Predict("question -> answer"))
    with pytest.raises(TypeError, match=r"The teacher must be a dspy.Module with a router, or None; got list"):
        optimizer.compile(painter(), trainset=unlabelled(), teacher=cast(Any, [painter()]))


def test_rewards_that_the_examples_bring_are_not_earned_again():
    train = unlabelled(PLACES[:6])
    for example in train[:30]:
        example["rewards"] = {example.answer: 1.0}
    optimizer = RouterOptimizer(metric=hit, config=QUICK)
    program = optimizer.compile(Counting(tools=PAINTS), trainset=train, valset=unlabelled(PLACES[6:]))
    assert {example.question for example in train[:30]}.isdisjoint(program.seen)
    assert {example.question for example in train[30:]} <= set(program.seen)


def test_tries_an_example_bound_the_budget_too():
    optimizer = RouterOptimizer(
        metric=hit, config=QUICK, max_rollouts=1000, exploration=ExploreConfig(tries=0.5, rounds=4)
    )
    train = unlabelled(PLACES[:6])
    optimizer.compile(painter(), trainset=train, valset=unlabelled(PLACES[6:]))
    assert told(optimizer).exploration.tries <= 0.5 * len(train)


def test_few_examples_and_an_overlap_are_told(caplog):
    examples = unlabelled(PLACES[:1])[:3]
    with caplog.at_level(logging.WARNING):
        RouterOptimizer(metric=hit, config=QUICK).compile(painter(), trainset=examples[:2], valset=examples)
    assert "2 examples without a label for 3 tools" in caplog.text
    assert "2 of 3 validation examples are in the training set too" in caplog.text


def test_without_labels_there_must_be_a_metric():
    with pytest.raises(ValueError, match=r"has no field 'tool'.* or a metric, which stands in for labels"):
        RouterOptimizer(config=QUICK).compile(painter(), trainset=unlabelled())


def test_graded_scores_and_feedback_are_read():
    def graded(example, prediction):
        return dspy.Prediction(score=1.0 if hit(example, prediction) else 0.25, feedback="well")

    program, report = compiled(graded)
    assert report.after == 100
    assert score(program, unlabelled()) == 1.0


def test_the_exploration_can_be_set():
    _, report = compiled(exploration=ExploreConfig(tries=0.5, rounds=2))
    assert len(report.exploration.rounds) <= 2
    assert report.exploration.tries <= len(unlabelled()) / 2


def test_the_report_is_ready_for_json():
    import json

    _, report = compiled()
    told = json.loads(json.dumps(report.to_dict()))
    assert told["exploration"]["tries"] == report.exploration.tries
    assert told["training"]["epochs"][0]["epoch"] == 1


def test_a_labelled_set_of_the_toolbelt_still_learns_from_labels():
    examples = [
        dspy.Example(question=question, tool=tool, answer=answer).with_inputs("question")
        for question, tool, answer in LABELLED
    ]
    optimizer = RouterOptimizer(config=QUICK)
    optimizer.compile(agent(), trainset=examples)
    assert optimizer.report is not None
    assert optimizer.report.learned_from == "labels"
