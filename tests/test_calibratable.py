"""A router's calibration: what it changes, when it is stale, what is refused, and where it goes along."""

from __future__ import annotations

import copy
import logging
import pickle

import pytest
import torch
from routers import quick
from uncertain import rows, trained

from dspy_router import Router, StaleCalibration, ToolCard, evaluate, fit
from dspy_router.routing.storage import FORMAT_VERSION

EXAMPLES = rows(300, seed=2)
TEXTS = [row["query"] for row in rows(40, seed=3)]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def router() -> Router:
    return trained()


class TestWhatItChanges:
    def test_confidence_but_never_the_choice(self, router):
        before = router.decide_batch(TEXTS)
        report = router.calibrate(EXAMPLES)
        after = router.decide_batch(TEXTS)
        assert [one.tool for one in after] == [one.tool for one in before]
        assert [one.confidence for one in after] != pytest.approx([one.confidence for one in before], abs=1e-3)
        for one in after:
            assert sum(one.probabilities.values()) + one.none_probability == pytest.approx(1.0)
            assert one.top(1)[0][1] == pytest.approx(one.confidence)
            assert one.accepted
        assert report.after.calibration_error < report.before.calibration_error
        assert evaluate(router, rows(300, seed=4)).calibration_error < report.before.calibration_error

    def test_what_is_accepted(self, router):
        report = router.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9)
        decisions = router.decide_batch([row["query"] for row in EXAMPLES])
        accepted = [one.accepted for one in decisions]
        assert sum(accepted) / len(accepted) == pytest.approx(report.coverage)
        assert 0 < report.coverage < 1
        least = min(one.confidence for one in decisions if one.accepted)
        assert least >= max(one.confidence for one in decisions if not one.accepted) - 1e-9
        unseen = evaluate(router, rows(600, seed=5), latency_sample=0)
        assert unseen.accepted_accuracy is not None and unseen.accepted_accuracy > 0.88

    def test_the_threshold_holds_beside_it(self, router):
        router.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9)
        router.threshold = 1.0
        assert not any(one.accepted for one in router.decide_batch(TEXTS))

    def test_where_nothing_can_be_certified_nothing_is_accepted(self, router):
        report = router.calibrate(EXAMPLES, max_risk=0.02, confidence=0.9)
        assert report.certified is False
        assert (report.coverage, report.wrong_kept) == (0.0, None)
        assert not any(one.accepted for one in router.decide_batch(TEXTS))

    def test_one_decision_is_as_in_a_batch_and_with_fewer_tools_allowed(self, router):
        router.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9)
        batch = router.decide_batch(TEXTS)
        for text, one in zip(TEXTS[:10], batch, strict=False):
            alone = router.decide(text)
            assert (alone.tool, alone.accepted) == (one.tool, one.accepted)
            assert alone.confidence == pytest.approx(one.confidence, abs=1e-5)
        only = router.decide(TEXTS[0], allowed=["clock"])
        assert set(only.probabilities) == {"clock"}
        assert only.probabilities["clock"] + only.none_probability == pytest.approx(1.0)

    def test_a_stricter_bar_for_one_tool(self, router):
        both = router.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9, per_tool={"clock": 0.001})
        decisions = router.decide_batch(TEXTS)
        assert not any(one.accepted for one in decisions if one.tool == "clock")
        assert any(one.accepted for one in decisions if one.tool != "clock")
        clock, others = both.certificates
        assert (clock.tool, clock.certified, others.tool) == ("clock", False, None)
        assert clock.confidence == others.confidence == pytest.approx(0.95)  # two together hold with 0.9
        assert clock.examples + others.examples == len(EXAMPLES)

    def test_the_policys_own_distribution_stays_to_be_had(self, router):
        before = router.probabilities(TEXTS)
        router.calibrate(EXAMPLES)
        assert torch.equal(router.probabilities(TEXTS), before)


def train_again(router):
    fit(router, rows(60, seed=6), config=quick(epochs=1))


def add_a_tool(router):
    router.add_tools([ToolCard("units", "Convert units.")])


def remove_a_tool(router):
    router.remove_tools("clock")


def change_a_weight(router):
    with torch.no_grad():
        next(router.policy.parameters()).add_(0.5)


CHANGES = {
    train_again: "the policy's weights",
    add_a_tool: "added: units",
    remove_a_tool: "removed: clock",
    change_a_weight: "the policy's weights",
}


class TestStale:
    @pytest.mark.parametrize("change", CHANGES)
    def test_deciding_under_a_guarantee_is_refused(self, router, change):
        router.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9)
        calibration = router.calibration
        assert router.stale is None
        change(router)
        assert router.calibration is calibration  # it is still there, for whoever wants to know what was promised
        for decide in (router.decide, router.explain, lambda text: evaluate(router, [{"query": text, "tool": None}])):
            with pytest.raises(StaleCalibration, match=f"{CHANGES[change]}.*calibrate again|{CHANGES[change]}"):
                decide(TEXTS[0])
        router.calibration = None
        assert router.decide(TEXTS[0]).accepted

    def test_calibrating_again_is_a_way_out(self, router):
        router.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9)
        train_again(router)
        router.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9)
        assert router.stale is None
        router.decide(TEXTS[0])

    def test_a_bar_by_cost_is_refused_as_well(self, router):
        router.calibrate(EXAMPLES, costs=(10, 1))
        change_a_weight(router)
        with pytest.raises(StaleCalibration):
            router.decide(TEXTS[0])

    def test_without_a_bar_probabilities_are_the_policys_own_and_one_warning_says_so(self, router, caplog):
        router.calibrate(EXAMPLES)
        change_a_weight(router)
        with caplog.at_level(logging.WARNING):
            decisions = [router.decide(text) for text in TEXTS[:3]]
        own = router.uncalibrated().decide_batch(TEXTS[:3])
        assert [one.confidence for one in decisions] == pytest.approx([one.confidence for one in own], abs=1e-6)
        (record,) = [record for record in caplog.records if "stale" in record.message]
        assert "the policy's weights" in record.message

    def test_the_threshold_does_not_make_it_stale(self, router):
        router.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9)
        router.threshold = 0.5
        assert router.stale is None

    def test_uncalibrated_shares_everything_else(self, router):
        router.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9)
        plain = router.uncalibrated()
        assert (plain.calibration, plain.policy, plain.encoder) == (None, router.policy, router.encoder)
        assert router.calibration is not None

    def test_training_and_validation_work_on_a_stale_router(self, router):
        router.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9)
        train_again(router)
        report = fit(router, rows(60, seed=7), val=rows(30, seed=8), config=quick(epochs=1))
        assert report.accuracy_after is not None


class TestGoesAlong:
    def ways(self, router, tmp_path):
        router.save(tmp_path / "router")
        yield Router.load(tmp_path / "router")
        yield copy.deepcopy(router)
        yield pickle.loads(pickle.dumps(router))

    @pytest.mark.parametrize("settings", [{}, {"max_risk": 0.1, "confidence": 0.9}, {"costs": (10, 1)}])
    def test_into_files_copies_and_pickles(self, router, tmp_path, settings):
        router.calibrate(EXAMPLES, **settings)
        for again in self.ways(router, tmp_path):
            assert again.stale is None
            assert again.fingerprint == router.fingerprint
            assert again.decide_batch(TEXTS) == router.decide_batch(TEXTS)

    def test_a_stale_one_stays_stale(self, router, tmp_path):
        router.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9)
        change_a_weight(router)
        for again in self.ways(router, tmp_path):
            with pytest.raises(StaleCalibration):
                again.decide(TEXTS[0])

    def test_the_fingerprint_tells_it(self, router):
        before = router.fingerprint
        router.calibrate(EXAMPLES)
        assert router.fingerprint != before
        router.calibration = None
        assert router.fingerprint == before

    def test_a_folder_of_before_loads(self, router, tmp_path):
        """Format 1 knew neither calibration nor texts: a folder without them is a router without them."""
        import hashlib
        import json

        from safetensors.torch import load, save

        files = router.to_files()
        index = json.loads(files["router.json"])
        tensors = load(files["tools.safetensors"])
        del tensors["seen"], index["calibration"], index["digest"]
        files["tools.safetensors"] = save(tensors)
        index["format"] = FORMAT_VERSION - 1
        index["digests"]["tools.safetensors"] = hashlib.sha256(files["tools.safetensors"]).hexdigest()
        body = json.dumps(index, ensure_ascii=False, sort_keys=True)
        index["digest"] = hashlib.sha256(body.encode()).hexdigest()
        files["router.json"] = json.dumps(index).encode()
        again = Router.from_files(files)
        assert (again.calibration, len(again.seen)) == (None, 0)
        assert again.decide_batch(TEXTS) == router.decide_batch(TEXTS)


class TestSeen:
    def test_training_examples_are_refused_by_count_and_name(self, router):
        with pytest.raises(ValueError, match=r"trained on 2 of the 302 calibration examples, the first of them '"):
            router.calibrate([*EXAMPLES, *rows(2, seed=1)])
        assert router.calibration is None

    def test_or_dropped(self, router):
        report = router.calibrate([*EXAMPLES, *rows(2, seed=1)], seen="drop")
        assert (report.examples, report.dropped) == (300, 2)

    def test_those_of_every_fit_are_known_and_go_along(self, router, tmp_path):
        fit(router, rows(60, seed=6), config=quick(epochs=1))
        router.save(tmp_path / "router")
        again = Router.load(tmp_path / "router")
        for seed in (1, 6):
            with pytest.raises(ValueError, match="trained on 30 of the 330"):
                again.calibrate([*EXAMPLES, *rows(30, seed=seed)])


def test_what_is_no_calibration_is_refused(router):
    with pytest.raises(TypeError, match="must be a Calibration or None; got float"):
        router.calibration = 0.5
