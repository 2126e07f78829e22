"""An agent with an exported router: it decides, explores, logs, copies and saves like any other, and does not train."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import dspy
import pytest
from toolbelt import LABELLED, TOOLS, examples, small_router

from dspy_router import DecisionLog, ExportedRouter, RoutedAgent, Router, RouterOptimizer, ToolCard, TrainConfig, fit
from dspy_router.program.route import Route

QUESTIONS = [question for question, _, _ in LABELLED]


@pytest.fixture(scope="module")
def trained() -> Router:
    router = small_router()
    fit(router, examples(), config=TrainConfig(epochs=4, progress=False))
    return router


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory) -> ExportedRouter:
    folder = tmp_path_factory.mktemp("exported") / "router"
    trained.export(folder, quantize=None)
    return ExportedRouter.load(folder)


def agent(router: Any, **settings: Any) -> RoutedAgent:
    return RoutedAgent("question -> answer", TOOLS, router=router, synthesis="none", fallback=None, **settings)


def test_it_answers_as_with_the_router(trained, exported):
    one, other = agent(trained), agent(exported)
    for question, _, _ in LABELLED:
        before, after = one(question=question), other(question=question)
        assert after.answer == before.answer
        assert after.decision.tool == before.decision.tool
        assert after.decision.confidence == pytest.approx(before.decision.confidence, abs=1e-5)


def test_its_threshold_is_the_routers(exported):
    strict = copy.deepcopy(exported)
    strict.threshold = 1.0
    assert not agent(strict).choose(question=QUESTIONS[0]).accepted
    with pytest.raises(ValueError, match=r"set router\.threshold instead"):
        agent(exported, threshold=0.5)


def test_other_tools_are_refused(exported):
    with pytest.raises(ValueError, match="saved for other tools"):
        RoutedAgent("question -> answer", TOOLS[:1], router=exported)


def opening_hours() -> str:
    """When the shop is open."""
    return "9 to 5"


def address() -> str:
    """Where the shop is."""
    return "Main Street"


def test_it_explores_and_logs(tmp_path):
    tools = [opening_hours, address]
    cards = [replace(ToolCard.from_tool(tool), read_only=True) for tool in tools]
    Router.from_tools(cards, encoder="hash").export(tmp_path / "out", quantize=None)
    router, log = ExportedRouter.load(tmp_path / "out"), DecisionLog(tmp_path / "log.sqlite")
    one = RoutedAgent(
        "question -> answer", tools, router=router, synthesis="none", fallback=None, explore=0.9, seed=1, log=log
    )
    decisions = [one(question=f"where is shop number {number}").decision for number in range(30)]
    assert {decision.tool for decision in decisions} >= {"opening_hours", "address"}
    assert all(0 < decision.propensity < 1 for decision in decisions)
    log.close()
    assert [episode.decisions[0].tool for episode in log.episodes()] == [decision.tool for decision in decisions]


def test_json_carries_it_along(exported, tmp_path):
    """Whatever the program was built with: what decides is what was saved."""
    agent(exported).save(tmp_path / "program.json")
    for router in (small_router(), copy.deepcopy(exported)):
        again = agent(router)
        again.load(tmp_path / "program.json")
        assert isinstance(again.router, ExportedRouter)
        assert again.router.fingerprint == exported.fingerprint
        assert [again.choose(question=one) for one in QUESTIONS] == [exported.decide(one) for one in QUESTIONS]


def test_a_program_with_a_router_replaces_it(trained, exported, tmp_path):
    agent(trained).save(tmp_path / "program.json")
    again = agent(exported)
    again.load(tmp_path / "program.json")
    assert isinstance(again.router, Router)
    assert again.router.fingerprint == trained.fingerprint


def test_a_whole_program(exported, tmp_path):
    agent(exported).save(str(tmp_path / "program"), save_program=True)
    again: Any = dspy.load(str(tmp_path / "program"), allow_pickle=True)
    assert again.router.fingerprint == exported.fingerprint


def test_a_copy_decides_alike(exported):
    copied = agent(exported).deepcopy()
    assert copied.router is not exported
    assert copied.choose(question=QUESTIONS[0]) == exported.decide(QUESTIONS[0])


def test_training_it_is_refused(exported):
    with pytest.raises(TypeError, match=r"only decides; it cannot be trained\. Instead, train the Router"):
        RouterOptimizer().compile(agent(exported), trainset=examples())
    with pytest.raises(TypeError, match="cannot be calibrated"):
        agent(exported).calibrate(examples())


def test_what_is_no_router_is_refused():
    with pytest.raises(TypeError, match=r"wraps a dspy_router\.Router; got str"):
        Route("router")  # type: ignore[arg-type]
