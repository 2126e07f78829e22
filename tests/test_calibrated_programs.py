"""A calibrated router inside a program: calibrated by the agent, carried by saves, set aside by optimizers."""

from __future__ import annotations

import copy

import dspy
import pytest
import torch
from routers import quick
from uncertain import rows, trained

from dspy_router import Rollouts, RoutedAgent, RouterOptimizer, StaleCalibration
from dspy_router.program.route import forced

EXAMPLES = rows(300, seed=2)
QUERY = "hour time clock city"


def add_numbers() -> str:
    return "sum"


def clock() -> str:
    return "noon"


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def new_agent() -> RoutedAgent:
    tools = [add_numbers, clock]
    return RoutedAgent("question -> answer", tools, router=trained(), synthesis="none", fallback=None)


@pytest.fixture
def agent() -> RoutedAgent:
    agent = new_agent()
    agent.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9)
    return agent


def make_stale(agent: RoutedAgent) -> None:
    with torch.no_grad():
        next(agent.router.policy.parameters()).add_(0.1)  # pyright: ignore[reportAttributeAccessIssue]


def test_the_agent_reads_examples_as_its_router_does():
    """A `dspy.Example` with the signature's input, and one whose label goes by another name."""
    agent = new_agent()
    examples = [dspy.Example(question=row["query"], right=row["tool"]).with_inputs("question") for row in EXAMPLES]
    report = agent.calibrate(examples, label_field="right", max_risk=0.1, confidence=0.9)
    other = new_agent()
    assert other.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9).to_dict() == report.to_dict()
    with pytest.raises(ValueError, match="Example 1 has 0 labels"):
        agent.calibrate(examples)


def test_a_stale_guarantee_stops_the_agent(agent):
    assert agent(question=QUERY).decision.tool == "clock"
    make_stale(agent)
    with pytest.raises(StaleCalibration):
        agent(question=QUERY)


def test_saves_carry_it(agent, tmp_path):
    agent.save(tmp_path / "agent.json")
    again = new_agent()
    again.load(tmp_path / "agent.json")
    assert again.router.calibration == agent.router.calibration
    assert again.router.stale is None
    assert again.choose(question=QUERY) == agent.choose(question=QUERY)


def test_what_is_forced_needs_no_guarantee(agent):
    make_stale(agent)
    with forced("add_numbers"):
        assert agent(question=QUERY).decision.tool == "add_numbers"
    with forced({"something else": "clock"}), pytest.raises(StaleCalibration):
        agent(question=QUERY)


def examples(count: int, seed: int) -> list[dspy.Example]:
    made = [dspy.Example(question=row["query"], tool=row["tool"]) for row in rows(count, seed)]
    return [one.with_inputs("question") for one in made]


def right_answer(example, prediction, trace=None) -> float:
    return float(prediction.answer == {"add_numbers": "sum", "clock": "noon", None: None}[example.tool])


@pytest.mark.parametrize("metric", [None, right_answer])
def test_an_optimizer_sets_it_aside_and_gives_it_back_stale(agent, metric):
    calibration = agent.router.calibration
    optimizer = RouterOptimizer(metric, config=quick(epochs=4))
    student = optimizer.compile(agent, trainset=examples(60, 6), valset=examples(30, 7), teacher=None)
    assert agent.router.calibration is calibration and agent.router.stale is None
    assert student.router.calibration is calibration
    assert optimizer.report is not None
    if optimizer.report.kept:
        with pytest.raises(StaleCalibration):
            student(question=QUERY)
        student.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9)
    student(question=QUERY)


def test_a_stale_teacher_still_suggests(agent):
    teacher = copy.deepcopy(agent)
    make_stale(teacher)
    optimizer = RouterOptimizer(right_answer, config=quick(epochs=2))
    rest = [dspy.Example(question=one.question, right=one.tool).with_inputs("question") for one in examples(40, 6)]

    def metric(example, prediction, trace=None):
        return float(prediction.answer == {"add_numbers": "sum", "clock": "noon", None: None}[example.right])

    optimizer.metric = metric
    optimizer.compile(agent, trainset=rest, teacher=teacher)
    assert optimizer.report is not None and optimizer.report.learned_from == "rewards"


def test_rollouts_of_a_stale_program(agent):
    make_stale(agent)
    example = examples(1, 6)[0]
    (done,) = Rollouts(right_answer).run(agent, [(example, example.tool)])
    assert done is not None and done.score == 1.0
