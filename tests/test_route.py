"""The router as a DSPy parameter: it survives every save, copy and reset of DSPy, bit by bit."""

from __future__ import annotations

import copy
import json
from typing import Any, cast

import dspy
import pytest
import torch
from dspy.predict.parameter import Parameter
from dspy.utils.callback import BaseCallback
from scripted import scripted_lm
from toolbelt import LABELLED, TOOLS, examples, small_router

from dspy_router import HashEncoder, RoutedAgent, Router, TrainConfig, fit
from dspy_router.program.route import Route

QUESTIONS = [question for question, _, _ in LABELLED]


class Larger(dspy.Module):
    """A program around an agent, as a user writes it."""

    def __init__(self):
        super().__init__()
        self.rewrite = dspy.Predict("question -> better_question")
        self.agents: dict[str, RoutedAgent] = {
            "tools": RoutedAgent("question -> answer", TOOLS, router=small_router(), synthesis="none")
        }

    def forward(self, question: str) -> dspy.Prediction:
        return self.agents["tools"](question=question)


def agent(**settings: Any) -> Any:
    return RoutedAgent("question -> answer", TOOLS, router=small_router(), **settings)


@pytest.fixture(scope="module")
def trained() -> Router:
    router = small_router()
    fit(router, examples(), config=TrainConfig(epochs=4, progress=False))
    return router


def decisions(router: Router) -> list:
    return router.decide_batch(QUESTIONS)


def test_training_changes_decisions(trained):
    """Or the tests below would compare nothing."""
    assert decisions(trained) != decisions(small_router())


def test_consult_decides_as_the_router_does(trained):
    route = Route(trained)
    assert route.consult(QUESTIONS[0]) == trained.decide(QUESTIONS[0])
    assert route.consult({"question": QUESTIONS[0]}) == trained.decide(QUESTIONS[0])
    assert route.consult(QUESTIONS[0], ["opening_hours"]).tool != "square_root"


async def test_it_decides_when_awaited(trained):
    assert (await Route(trained).acall(text=QUESTIONS[0])).decision == trained.decide(QUESTIONS[0])


def test_it_wraps_routers_only():
    with pytest.raises(TypeError, match=r"wraps a dspy_router\.Router; got str"):
        Route("router")  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["json", "pkl"])
def test_a_saved_agent_decides_bit_by_bit_as_before(trained, tmp_path, suffix):
    program = agent()
    program.route.router = trained
    program.save(tmp_path / f"agent.{suffix}")
    fresh = agent()
    fresh.load(tmp_path / f"agent.{suffix}", allow_pickle=True)
    assert decisions(fresh.router) == decisions(trained)
    assert fresh.router.fingerprint == trained.fingerprint


def test_a_saved_larger_program_decides_bit_by_bit_as_before(trained, tmp_path):
    program = Larger()
    program.agents["tools"].route.router = trained
    program.save(tmp_path / "larger.json")
    fresh = Larger()
    fresh.load(tmp_path / "larger.json")
    assert decisions(fresh.agents["tools"].router) == decisions(trained)


def test_a_whole_program_decides_bit_by_bit_as_before(trained, tmp_path):
    program = Larger()
    program.agents["tools"].route.router = trained
    program.save(tmp_path / "larger", save_program=True)
    loaded: Any = dspy.load(str(tmp_path / "larger"), allow_pickle=True)
    assert decisions(loaded.agents["tools"].router) == decisions(trained)
    assert loaded(question="the square root of 16").answer == "4.0"


def test_a_compiled_agent_in_a_larger_program_is_saved_and_yet_frozen(trained, tmp_path):
    """DSPy leaves compiled sub-modules out of a larger program's parameters, for optimizers and for saves alike."""
    program = Larger()
    inner = program.agents["tools"]
    inner.route.router, inner._compiled = trained, True
    assert [name for name, _ in program.named_predictors()] == ["rewrite"]
    assert [name for name, _ in inner.named_predictors()] == ["fill_arguments"]
    program.save(tmp_path / "larger.json")
    for compiled in (False, True):
        fresh = Larger()
        fresh.agents["tools"]._compiled = compiled
        fresh.load(tmp_path / "larger.json")
        assert decisions(fresh.agents["tools"].router) == decisions(trained)


def test_copies_have_their_own_policy_and_share_the_frozen_encoder(trained):
    program = agent()
    program.route.router = trained
    twin = program.deepcopy()
    assert decisions(twin.router) == decisions(trained)
    assert twin.router.encoder is trained.encoder
    before = decisions(trained)
    with torch.no_grad():
        for parameter in cast(torch.nn.Module, twin.router.policy).parameters():
            parameter.add_(1.0)
    assert decisions(trained) == before
    assert decisions(twin.router) != before


def test_a_reset_copy_keeps_the_weights(trained):
    program = agent()
    program.route.router = trained
    assert decisions(program.reset_copy().router) == decisions(trained)


def test_a_user_may_copy_a_program_that_is_no_module(trained):
    assert decisions(copy.deepcopy({"route": Route(trained)})["route"].router) == decisions(trained)


def test_it_is_a_parameter_but_no_predictor():
    program = agent()
    assert [name for name, _ in program.named_predictors()] == ["synthesis", "fill_arguments"]
    assert [name for name, one in program.named_parameters() if isinstance(one, Route)] == ["route"]
    assert isinstance(program.route, Parameter)


def test_set_lm_and_get_lm_work():
    program, lm = agent(), scripted_lm()
    assert program.get_lm() is None
    program.set_lm(lm)
    assert program.get_lm() is lm
    assert program.deepcopy().get_lm().model == lm.model


def test_callbacks_see_the_router():
    seen = []

    class Watch(BaseCallback):
        def on_module_start(self, call_id, instance, inputs):
            if isinstance(instance, Route):
                seen.append(inputs["kwargs"]["text"])

        def on_module_end(self, call_id, outputs, exception=None):
            seen.append((outputs or {}).get("decision"))

    with dspy.context(callbacks=[Watch()]):
        decision = Route(small_router()).consult("the root of 16")
    assert seen == ["the root of 16", decision]


class TestDamagedStates:
    @pytest.fixture
    def state(self):
        return json.loads(json.dumps(agent().dump_state()))

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda route: route.update(version=99), "format 99; this version of dspy-router reads format 1"),
            (lambda route: route.pop("files"), "holds no router"),
            (
                lambda route: route["files"].update({"router.json": "%%%"}),
                "'router.json' of its router cannot be decoded",
            ),
            (lambda route: route["files"].update({"router.json": "e30="}), "the saved program is incomplete"),
            (lambda route: route["files"].pop("policy.safetensors"), "policy.safetensors is missing"),
            (lambda route: route.update(tools=["other"]), "other tools"),
        ],
    )
    def test_are_refused_and_change_nothing(self, state, damage, message):
        program = agent()
        before, prompt = program.router, program.synthesis.signature
        state["synthesis"]["signature"]["instructions"] = "Changed."
        damage(state["route"])
        with pytest.raises(ValueError, match=message):
            program.load_state(state)
        assert program.router is before
        assert program.synthesis.signature.instructions == prompt.instructions

    def test_a_router_for_other_tools_is_refused(self, state):
        other = RoutedAgent("question -> answer", TOOLS[:2], encoder="hash")
        with pytest.raises(ValueError, match="opening_hours"):
            other.load_state(state)
        assert other.router.tools == ("square_root", "count_letters")


class OwnEncoder:
    """An encoder of the user's own, which no file can hold."""

    dim = 8
    fingerprint = "own"

    def __call__(self, texts):
        return HashEncoder(dim=8)(texts)


def test_an_own_encoder_is_taken_from_the_program_that_loads():
    saved = RoutedAgent("question -> answer", TOOLS, encoder=OwnEncoder())
    fresh = RoutedAgent("question -> answer", TOOLS, encoder=OwnEncoder())
    encoder = fresh.router.encoder
    fresh.load_state(json.loads(json.dumps(saved.dump_state())))
    assert fresh.router.encoder is encoder
    assert decisions(fresh.router) == decisions(saved.router)
