"""Shadow, audit, exploration and log: what is acted on, what is recorded beside it, and that no log costs an answer."""

from __future__ import annotations

import copy
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import dspy
import pytest
import torch
from dspy.utils.exceptions import LMRateLimitError
from scripted import scripted_lm
from toolbelt import TOOLS

from dspy_router import RoutedAgent, Router, RouterOptimizer, ToolCard, TrainConfig
from dspy_router.data.log import DecisionLog
from dspy_router.program.oversight import rehearsing
from dspy_router.program.route import forced
from dspy_router.program.synthesis import read_signature
from dspy_router.records import Decision, Episode

ROOT = "what is the square root of 16"
# The untrained router finds all but the opening hours possible here.
LETTERS = "square letters"
SHOP = {"tool_calls": [{"name": "opening_hours", "args": {}}]}


def agent(signature: Any = "question -> answer", **settings: Any) -> Any:
    return RoutedAgent(signature, TOOLS, **{"encoder": "hash", "synthesis": "none", **settings})


def lm_that_calls(call: dict[str, Any]) -> Any:
    """A model that makes one call, whatever is asked, and then submits."""
    submit = {"tool_calls": [{"name": "submit", "args": {"answer": "done"}}]}
    script = lambda prompt: {"next_thought": "Hm.", "tool_calls": submit if "tool_call_results" in prompt else call}  # noqa: E731
    return scripted_lm(script=script)


class Recorder:
    """A log in memory."""

    def __init__(self, error: Exception | None = None) -> None:
        self.rows: list[tuple[Episode, Decision | None, str]] = []
        self.error = error

    def record(self, episode: Episode, *, shadow: Decision | None = None, router: str = "") -> None:
        if self.error is not None:
            raise self.error
        self.rows.append((episode, shadow, router))


class TestShadow:
    def test_the_model_acts_and_the_routers_choice_stands_beside_it(self):
        program = agent(shadow=True, fallback_tools=1, log=(log := Recorder()))
        with dspy.context(lm=lm_that_calls(SHOP)):
            prediction = program(question=ROOT)
        assert (prediction.answer, [step.tool for step in prediction.steps]) == ("done", ["opening_hours"])
        assert (prediction.decision.tool, prediction.decision.source) == ("opening_hours", "lm")
        assert prediction.shadow == program.choose(question=ROOT)
        assert (prediction.shadow.tool, prediction.shadow.accepted) == ("square_root", True)
        ((episode, shadow, _),) = log.rows
        assert (episode.decisions, shadow) == ((prediction.decision,), prediction.shadow)

    def test_a_choice_that_is_not_known_is_nobodys(self):
        program = agent(shadow=True, fallback=dspy.Predict("question -> answer"))
        with dspy.context(lm=scripted_lm({"answer": "fine"})):
            prediction = program(question=ROOT)
        assert (prediction.answer, prediction.steps) == ("fine", ())
        assert (prediction.decision.source, prediction.decision.accepted) == ("router", False)
        assert prediction.shadow.accepted

    def test_the_router_acts_only_where_it_is_told_to(self):
        class Limited(dspy.Module):
            def forward(self, question: str) -> dspy.Prediction:
                raise LMRateLimitError("slow down")

        with pytest.raises(LMRateLimitError):
            agent(shadow=True, fallback=Limited())(question=ROOT)
        prediction = agent(shadow=True, fallback=Limited(), on_error="best_effort")(question=ROOT)
        assert (prediction.answer, prediction.decision.error) == ("4.0", "LMRateLimitError: slow down")

    def test_it_needs_somebody_to_act_and_a_name_of_its_own(self):
        with pytest.raises(ValueError, match=r"With shadow=True the fallback acts.*got fallback=None"):
            agent(shadow=True, fallback=None)
        with pytest.raises(ValueError, match="field 'shadow' of its own"):
            agent("question -> shadow", shadow=True)


class TestAudit:
    def test_a_share_of_all_is_checked_sure_or_not(self):
        for threshold in (0.0, 1.0):
            program = agent(audit=0.5, seed=1, threshold=threshold)
            with dspy.context(lm=lm_that_calls(SHOP)):
                predictions = [program(question=ROOT) for _ in range(60)]
            audited = [one for one in predictions if one.decision.audited]
            assert 15 < len(audited) < 45
            assert all("shadow" in one and one.decision.source == "lm" for one in audited)
            others = {one.decision.source for one in predictions if not one.decision.audited}
            assert others == {"router" if threshold == 0 else "lm"}

    def test_a_forced_decision_is_not(self):
        with forced("opening_hours"):
            assert not agent(audit=1.0)(question=ROOT).decision.audited

    def test_misuse_is_told(self):
        with pytest.raises(ValueError, match="audit must be a share"):
            agent(audit=2)
        with pytest.raises(ValueError, match=r"With audit=0\.1 the fallback acts"):
            agent(audit=0.1, fallback=None)


def exploring(epsilon: float = 0.5, **settings: Any) -> Any:
    cards = [ToolCard.from_tool(tool) for tool in map(dspy.Tool, TOOLS)]
    tried = [ToolCard(**{**card.to_dict(), "read_only": card.name != "count_letters"}) for card in cards]
    router = Router.from_tools(tried, encoder="hash")
    return RoutedAgent("question -> answer", TOOLS, router=router, synthesis="none", explore=epsilon, **settings)


class TestExplore:
    """With "square letters" the decision is for `count_letters` (0.65), which is not read-only here; `square_root`
    (0.34) is, and so is `opening_hours`, which hardly ever comes.
    """

    @pytest.fixture(autouse=True)
    def lm(self):
        with dspy.context(lm=lm_that_calls(SHOP)):
            yield

    def test_choices_come_as_often_as_their_propensity_says(self):
        program, n = exploring(seed=0), 300
        predictions = [program(question=LETTERS) for _ in range(n)]
        said = {one.decision.tool: one.decision.propensity for one in predictions}
        assert said["count_letters"] == pytest.approx(0.5)
        own = program.choose(question=LETTERS)
        root, none = own.probabilities["square_root"], own.none_probability
        safe = root + own.probabilities["opening_hours"] + none
        assert said["square_root"] == pytest.approx(0.5 * root / safe)
        assert said[None] == pytest.approx(0.5 * none / safe)
        for tool, count in Counter(one.decision.tool for one in predictions).items():
            deviation = (said[tool] * (1 - said[tool]) / n) ** 0.5
            assert count / n == pytest.approx(said[tool], abs=4 * deviation)
        for one in predictions:
            assert [step.tool for step in one.steps] == ([one.decision.tool] if one.decision.tool else [])

    def test_a_seed_repeats_the_draws_and_a_copy_begins_anew(self):
        def drawn(program: Any) -> list[Any]:
            return [program(question=LETTERS).decision.tool for _ in range(60)]

        program = exploring(seed=3)
        first = drawn(program)
        assert drawn(exploring(seed=3)) == drawn(program.deepcopy()) == first
        free = exploring()
        assert drawn(free) != drawn(free.deepcopy())  # the same by a chance of about 2⁻⁶⁰

    def test_what_is_unsure_is_handed_over_and_not_drawn(self):
        program = exploring(1.0)
        program.router.threshold = 1.0
        decisions = [program(question=LETTERS).decision for _ in range(10)]
        assert {(one.source, one.propensity) for one in decisions} == {("lm", 1.0)}

    def test_a_none_that_is_drawn_is_answered_without_a_tool_and_one_that_is_meant_by_the_module(self):
        """So the propensity is that of what was done: whatever the module calls was not drawn."""
        fallback = dspy.ReActV2(read_signature("question -> answer"), TOOLS)
        program = exploring(1.0, fallback=fallback, seed=0)
        drawn = [program(question=LETTERS) for _ in range(80)]
        nones = [one for one in drawn if one.decision.tool is None]
        assert nones
        assert all(one.answer is None and one.decision.propensity < 1 for one in nones)
        decided = program.choose(question=LETTERS)
        none = replace(decided, tool=None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Router, "decide", lambda *_, **__: none)
            decisions = [program(question=LETTERS).decision for _ in range(20)]
        assert {(one.tool, one.source, one.propensity) for one in decisions} == {("opening_hours", "lm", 1.0)}

    def test_a_forced_decision_is_not_drawn(self):
        program = exploring(1.0)
        with forced("count_letters"):
            decisions = [program(question=LETTERS).decision for _ in range(10)]
        assert {(one.tool, one.propensity) for one in decisions} == {("count_letters", 1.0)}

    def test_choose_draws_nothing(self):
        program = exploring(1.0)
        assert {program.choose(question=LETTERS).tool for _ in range(20)} == {"count_letters"}

    def test_there_must_be_something_to_try(self):
        with pytest.raises(ValueError, match=r"none of these is known to be such: square_root.*read_only=True"):
            agent(explore=0.1)
        with pytest.raises(ValueError, match="explore must be a share"):
            agent(explore=-1)


class TestLog:
    def test_every_answer_is_a_row_under_the_id_that_the_caller_gets(self, tmp_path):
        program = agent("question, past: dspy.History -> answer", log=tmp_path / "decisions.db")
        past = dspy.History(messages=[{"question": "hello?", "answer": "hi!"}])
        prediction = program(question=ROOT, past=past)
        assert isinstance(program.log, DecisionLog)
        program.log.reward(prediction.decision.id, 1.0)
        (episode,) = program.log.episodes()
        assert dict(episode.inputs) == {"question": ROOT}
        assert (episode.text, episode.reward) == (ROOT, 1.0)
        assert episode.decisions[0].id == prediction.decision.id
        assert [(step.tool, step.result) for step in episode.steps] == [("square_root", 4.0)]
        program.log.close()

    def test_the_shadow_is_a_row_as_well(self, tmp_path):
        program = agent(log=DecisionLog(tmp_path / "decisions.db", mode="sync"), shadow=True)
        with dspy.context(lm=lm_that_calls(SHOP)):
            program(question=ROOT)
        (episode,) = program.log.episodes()
        assert (episode.decisions[0].tool, episode.decisions[0].source) == ("opening_hours", "lm")
        program.log.close()

    def test_the_router_is_told_and_told_anew_when_it_changes(self):
        program = agent(log=(log := Recorder()))
        fingerprints = []
        for change in (None, None, self.raise_threshold, self.train, None):
            if change is not None:
                change(program.router)
            program(question=ROOT)
            fingerprints.append(program.router.fingerprint)
        assert [router for *_, router in log.rows] == fingerprints
        assert len(set(fingerprints)) == 3

    @staticmethod
    def raise_threshold(router: Router) -> None:
        router.threshold = 0.01

    @staticmethod
    def train(router: Router) -> None:
        assert isinstance(router.policy, torch.nn.Module)
        with torch.no_grad():
            for parameter in router.policy.parameters():
                parameter.mul_(1.01)

    def test_without_a_log_there_is_no_id(self):
        assert agent()(question=ROOT).decision.id is None

    def test_a_failed_answer_is_logged_with_its_error(self):
        def limited(prompt: str) -> dict[str, Any]:
            raise RuntimeError("slow down")

        program = agent(synthesis="result", log=(log := Recorder()))
        with dspy.context(lm=scripted_lm(script=limited)), pytest.raises(Exception, match="slow down"):
            program(question=ROOT)
        ((episode, *_),) = log.rows
        (decision,) = episode.decisions
        assert (decision.tool, decision.source, episode.steps[0].result) == ("square_root", "router", 4.0)
        assert (decision.error or "").endswith("slow down")

    @pytest.mark.parametrize("error", [OSError("disk full"), ValueError("no id"), RuntimeError("closed")])
    def test_a_log_that_fails_costs_no_answer(self, error, caplog):
        prediction = agent(log=Recorder(error))(question=ROOT)
        assert (prediction.answer, prediction.decision.id) == ("4.0", None)
        assert "could not be logged" in caplog.text

    async def test_it_is_written_when_awaited_too(self):
        program = agent(log=(log := Recorder()))
        await program.acall(question=ROOT)
        assert len(log.rows) == 1

    def test_copies_share_it_and_files_do_not_carry_it(self, tmp_path):
        program = agent(log=(log := Recorder()))
        for copied in (program.deepcopy(), copy.deepcopy(program), program.reset_copy()):
            copied(question=ROOT)
        assert len(log.rows) == 3
        program.save(tmp_path / "whole", save_program=True)
        loaded: Any = dspy.load(str(tmp_path / "whole"), allow_pickle=True)
        assert loaded.log is None
        assert loaded(question=ROOT).answer == "4.0"
        program.save(tmp_path / "state.json")
        assert set(json.loads((tmp_path / "state.json").read_text())) == {"route", "fill_arguments", "metadata"}

    def test_many_threads_write_it(self):
        program = agent(log=(log := Recorder()))
        pairs = [(program, dspy.Example(question=ROOT).with_inputs("question"))] * 40
        dspy.Parallel(num_threads=4, disable_progress_bar=True)(pairs)
        assert len({episode.decisions[0].id for episode, *_ in log.rows}) == 40

    def test_it_must_be_a_log(self):
        with pytest.raises(TypeError, match="must be a DecisionLog, the path of one or None; got int"):
            agent(log=3)


class TestRehearsal:
    def test_what_is_tried_out_is_neither_logged_nor_drawn_nor_shadowed(self):
        recorder = Recorder()
        program = exploring(1.0, log=recorder, audit=1.0, shadow=True)
        with rehearsing():
            prediction = program(question=LETTERS)  # no language model is configured that could act
        assert (prediction.decision.tool, prediction.decision.propensity) == ("count_letters", 1.0)
        assert "shadow" not in prediction
        assert recorder.rows == []

    def test_optimizers_try_a_program_out_and_hand_it_back_as_it_was(self):
        recorder = Recorder()
        examples = [dspy.Example(question=ROOT, answer="4.0").with_inputs("question") for _ in range(3)]
        examples += [dspy.Example(question="square root of 9", answer="3.0").with_inputs("question")]
        optimizer = RouterOptimizer(
            metric=lambda example, prediction, trace=None: prediction.answer == example.answer,
            config=TrainConfig(epochs=1, progress=False),
        )
        compiled: Any = optimizer.compile(agent(log=recorder), trainset=examples)
        assert recorder.rows == []
        compiled(question=ROOT)
        assert len(recorder.rows) == 1
