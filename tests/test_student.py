"""A student in front of an exported router: who decides what, what is certified of it, and what is refused."""

from __future__ import annotations

import copy
import json
import pickle
from itertools import product

import numpy as np
import onnx
import pytest
import torch
from exporting import QUICK, TEXTS, trained
from routers import CARDS, IDENTITY

from dspy_router import ExportedRouter, ExportRefused, HashEncoder, RoutedAgent, Router, distill, fit
from dspy_router.learning.distillation import DistillConfig
from dspy_router.runtime.head import GRAPH
from dspy_router.runtime.student import FOLDER, log_odds

OPENINGS = ["seven plus", "please plus up", "how much is", "what hour in", "hour of", "which hour has", "zzz", "go"]
ENDINGS = ["two", "three", "Oslo", "Rome", "Lima", "forty", "Bonn", "twelve", "plus", "hour", "of", "a"]
FRESH = [f"{opening} {ending} {mark}" for opening, ending, mark in product(OPENINGS, ENDINGS, ["please", "now"])]


@pytest.fixture(scope="module")
def router() -> Router:
    return trained()


@pytest.fixture(scope="module")
def student() -> Router:
    """One that disagrees with the router here and there: it was trained on half of the queries."""
    other = Router.from_tools(CARDS, encoder=HashEncoder(16))
    fit(other, IDENTITY[1::2], config=QUICK)
    return other


@pytest.fixture(scope="module")
def folder(router, student, tmp_path_factory):
    folder = tmp_path_factory.mktemp("front") / "both"
    router.export(folder, quantize=None, student=student, examples=FRESH, agreement=0.8)
    return folder


def test_the_student_decides_what_it_is_sure_of_and_the_router_the_rest(router, student, folder):
    both = ExportedRouter.load(folder)
    assert both.student is not None
    own, behind = student.logits(FRESH).numpy(), router.logits(FRESH).numpy()
    sure = log_odds(own) >= both.student.bar
    assert 0 < sure.sum() < len(FRESH)
    assert both.logits(FRESH) == pytest.approx(np.where(sure[:, None], own, behind), abs=1e-4)
    assert (both.student.asked, both.deferred) == (len(FRESH), int((~sure).sum()))


def test_a_batch_is_as_many_single_ones(folder):
    both = ExportedRouter.load(folder)
    for text, decision in zip(FRESH, both.decide_batch(FRESH), strict=True):
        assert both.decide(text).tool == decision.tool
        assert both.decide(text).confidence == pytest.approx(decision.confidence, abs=1e-6)


def test_only_allowed_tools_whoever_decides(folder):
    both = ExportedRouter.load(folder)
    assert {decision.tool for decision in both.decide_batch(FRESH, allowed=["clock"])} <= {"clock", None}


def test_the_report_says_what_was_found(router, student, tmp_path):
    report = router.export(
        tmp_path / "out", quantize=None, student=student, examples=[*FRESH, IDENTITY[1]["query"]], agreement=0.8
    )
    found = report.student
    assert found is not None
    assert (found.texts, found.seen, found.least, found.confidence) == (len(FRESH), 1, 0.8, 0.95)
    both = ExportedRouter.load(tmp_path / "out")
    both.logits(FRESH)
    assert found.decides == pytest.approx(1 - both.deferred / len(FRESH))
    assert both.student is not None
    kept = log_odds(student.logits(FRESH).numpy()) >= both.student.bar
    same = student.logits(FRESH).argmax(1) == router.logits(FRESH).argmax(1)
    assert found.agreement == pytest.approx(float(same[torch.from_numpy(kept)].float().mean()))
    assert report.to_dict()["student"]["texts"] == len(FRESH)
    assert report.agreement > float(same.float().mean())  # of the whole, which the router mends


@pytest.mark.parametrize("quantize", ["int8", None])
def test_a_student_has_the_precision_of_what_it_stands_before(router, student, tmp_path, quantize):
    settings = {"student": student, "examples": FRESH, "agreement": 0.8, "above": "warn"}
    report = router.export(tmp_path / "out", quantize=quantize, **settings)
    both = ExportedRouter.load(tmp_path / "out")
    assert both.student is not None and report.student is not None
    operators = {node.op_type for node in onnx.load(tmp_path / "out" / FOLDER / GRAPH).graph.node}
    assert ("MatMulIntegerToFloat" in operators) == (quantize == "int8")
    together, deferred = both.logits(FRESH), both.deferred
    np.testing.assert_allclose(together, np.concatenate([both.logits([text]) for text in FRESH]), atol=1e-5)
    assert both.deferred == 2 * deferred  # it keeps in a batch what it keeps one by one


def test_a_distilled_student_goes_in_front(router, tmp_path):
    settings = DistillConfig(
        dim=32, hidden=8, word_dim=8, epochs=4, vocabulary_size=400, held_out=0.0, variations=0, progress=False
    )
    student, _ = distill(router, FRESH[::2], config=settings)
    report = router.export(tmp_path / "out", quantize=None, student=student, examples=FRESH[1::2], agreement=0.8)
    assert report.student is not None
    assert report.student.decides > 0.2


def test_calibrating_is_of_both_together(router, student, tmp_path):
    examples = [{"query": text, "tool": "clock" if "hour" in text else "add_numbers"} for text in FRESH]
    report = router.export(
        tmp_path / "out", quantize=None, student=student, examples=FRESH, agreement=0.8, calibrate_on=examples
    )
    assert report.calibration is not None
    both = ExportedRouter.load(tmp_path / "out")
    assert both.calibration is not None
    plain = both.uncalibrated()
    assert [one.tool for one in both.decide_batch(TEXTS)] == [one.tool for one in plain.decide_batch(TEXTS)]
    own = copy.deepcopy(router)
    own.calibrate(examples, seen="drop")
    with pytest.raises(ExportRefused, match="a student in front of it has others"):
        own.export(tmp_path / "other", quantize=None, student=student, examples=FRESH, agreement=0.8)


class TestFiles:
    def test_copies_and_other_processes_decide_alike(self, folder):
        both = ExportedRouter.load(folder)
        for other in (copy.deepcopy(both), pickle.loads(pickle.dumps(both))):
            assert other.fingerprint == both.fingerprint
            assert other.probabilities(FRESH) == pytest.approx(both.probabilities(FRESH))

    def test_a_saved_program_keeps_it(self, folder, tmp_path):
        def clock(city: str) -> str:
            """The current time in a city."""
            return f"noon in {city}"

        def add_numbers(first: float, second: float) -> float:
            """Sum of two numbers."""
            return first + second

        def make() -> RoutedAgent:
            tools = [add_numbers, clock]
            return RoutedAgent("question -> answer", tools, router=ExportedRouter.load(folder), synthesis="none")

        agent, again = make(), make()
        agent.save(tmp_path / "agent.json")
        again.load(tmp_path / "agent.json")
        assert isinstance(again.route.router, ExportedRouter)
        assert again.route.router.student is not None
        assert again.route.router.fingerprint == agent.route.router.fingerprint

    def test_a_missing_or_swapped_file_is_named(self, folder, student, tmp_path):
        both = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        gone = {name: data for name, data in both.items() if name != "student/policy.onnx"}
        with pytest.raises(ValueError, match=r"its file student/policy\.onnx is missing"):
            ExportedRouter.from_files(gone)
        with pytest.raises(ValueError, match=r"student/policy\.onnx is not what was saved"):
            ExportedRouter.from_files({**both, "student/policy.onnx": both["policy.onnx"]})

    def test_releases_that_know_no_student_refuse_it_and_read_all_others(self, router, folder, tmp_path):
        router.export(tmp_path / "plain", quantize=None)
        formats = [json.loads((one / "exported.json").read_bytes())["format"] for one in (folder, tmp_path / "plain")]
        assert formats == [2, 1]


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "error", "message"),
        [
            ({"examples": None}, ValueError, r"give examples=… \(--texts on the command line\); they need no labels"),
            ({"agreement": 1.0}, ValueError, "agreement must be a share, above 0 and below 1, such as 0.98; got 1.0"),
            ({"agreement": 0.9999}, ExportRefused, "cannot be said of any part of them with 95 % confidence"),
            ({"examples": FRESH[:3]}, ExportRefused, "On 3 texts the student decides"),
            ({"examples": [IDENTITY[1]["query"]]}, ValueError, "was trained on all of the 1 examples"),
            ({"student": "out/student"}, TypeError, "must be a Router, as distill.* gives; got str"),
            (
                {"student": Router.from_tools(CARDS[:1], encoder="hash")},
                ValueError,
                r"other tools than the router: it lacks \['clock'\] and knows besides none",
            ),
            ({"student": Router.from_tools(CARDS[::-1], encoder="hash")}, ValueError, "in another order"),
        ],
    )
    def test_what_cannot_stand_in_front_writes_nothing(self, router, student, tmp_path, settings, error, message):
        with pytest.raises(error, match=message):
            router.export(
                tmp_path / "out",
                **{"quantize": None, "student": student, "examples": FRESH, "agreement": 0.8, **settings},
            )
        assert not list(tmp_path.iterdir())
