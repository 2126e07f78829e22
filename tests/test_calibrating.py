"""Calibrating: what the report says, and which requests and examples are refused."""

from __future__ import annotations

import json

import pytest
import torch
from uncertain import rows, trained

EXAMPLES = rows(300, seed=2)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def router():
    return trained()


@pytest.fixture(scope="module")
def report(router):
    return router.calibrate(EXAMPLES, max_risk=0.1, confidence=0.9)


class TestReport:
    def test_the_rows_map_with_the_least_held_out_log_loss_is_picked(self, report):
        assert report.method.startswith(min(report.row_losses, key=report.row_losses.get))
        assert report.after.log_loss < report.before.log_loss

    def test_recall_rises_to_one_and_lies_above_its_bound(self, report):
        assert set(report.recall) == {1, 2}  # there are two tools
        assert report.recall[1].share <= report.recall[2].share == 1.0
        assert all(one.at_least < one.share for one in report.recall.values())
        assert report.recall[2].at_least == pytest.approx(0.1 ** (1 / report.recall[2].examples))
        assert report.recall[1].examples == sum(row["tool"] is not None for row in EXAMPLES)

    def test_the_curve_passes_through_what_is_accepted_and_ends_with_everything(self, report):
        risks = dict(report.curve)
        assert report.curve[-1] == (1.0, pytest.approx(1 - report.accuracy))
        assert min(abs(coverage - report.coverage) for coverage in risks) < 0.01

    def test_it_fits_into_json(self, report):
        data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert data["certificates"][0]["certified"] is True
        assert data["certified"] is True
        assert data["after"]["bins"][0].keys() == {"confidence", "right", "size"}
        assert data["costs"] is None

    def test_the_seed_decides(self, router):
        first, again, other = (router.calibrate(EXAMPLES, seed=seed).to_dict() for seed in (0, 0, 1))
        assert first == again != other


class TestCosts:
    def test_a_dear_model_is_never_asked_a_cheap_and_good_one_always(self, router):
        dear = router.calibrate(EXAMPLES, costs=(1, 5))
        assert (dear.coverage, dear.costs.expected) == (1.0, pytest.approx(dear.costs.never_asking))
        cheap = router.calibrate(EXAMPLES, costs=(1e6, 1e-6))
        assert cheap.coverage < 0.5
        assert cheap.costs.always_asking == pytest.approx(1e-6)

    def test_in_between_it_costs_less_than_either(self, router):
        report = router.calibrate(EXAMPLES, costs=(10, 1, 0.01))
        assert report.costs.always_asking == pytest.approx(1.1)
        assert report.costs.expected < min(report.costs.always_asking, report.costs.never_asking)
        assert 0 < report.coverage < 1
        assert report.certified is None


class TestRefused:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"max_risk": 2}, r"max_risk must be a share between 0 and 1.*got 2\. Did you mean 0\.02"),
            ({"max_risk": 0}, r"got 0\.$"),
            ({"max_risk": 1.0}, r"got 1\.0\.$"),
            ({"max_risk": float("nan")}, "got nan"),
            ({"max_risk": True}, "got True"),
            ({"max_risk": 0.1, "confidence": 95}, r"confidence must be.*Did you mean 0\.95"),
            ({"per_tool": {"clock": 5}}, r"per_tool\['clock'\].*Did you mean 0\.05"),
            ({"per_tool": {"clok": 0.05}}, "Did you mean 'clock'"),
            ({"max_risk": 0.05, "per_tool": {"clock": 0.1}}, "stricter bar.*0.1 for 'clock'"),
            ({"max_risk": 0.05, "costs": (1, 1)}, "ask for one of them"),
            ({"costs": (1,)}, "two or three numbers"),
            ({"costs": (0, 1)}, "must cost more than 0"),
            ({"costs": (1, 1, 2)}, r"within \[0, 1\]"),
            ({"costs": 3}, "two or three numbers"),
            ({"seen": "ignore"}, "'refuse' or 'drop'"),
        ],
    )
    def test_requests(self, router, settings, message):
        with pytest.raises(ValueError, match=message):
            router.calibrate(EXAMPLES, **settings)

    @pytest.mark.parametrize(
        ("examples", "settings", "message"),
        [
            ([], {}, "nothing to calibrate on"),
            (EXAMPLES[:19], {}, "at least 20 labelled examples; got 19"),
            (EXAMPLES[:148], {"max_risk": 0.02}, "on 148 examples, even if .* it takes at least 149"),
            (EXAMPLES[:59], {"max_risk": 0.05, "per_tool": {"clock": 0.05}}, "it takes at least 72"),
            ([row for row in EXAMPLES if row["tool"] == "clock"], {}, r"the same label \(clock\)"),
            ([row for row in EXAMPLES if row["tool"] is None], {}, r"the same label \(none\)"),
            ([*EXAMPLES, {"query": "what"}], {}, "Example 301 has 0 labels"),
            ([*EXAMPLES, {"query": "what", "tool": "clok"}], {}, "Did you mean 'clock'"),
            ([*EXAMPLES, {"query": " ", "tool": None}], {}, "must not be empty"),
        ],
    )
    def test_examples(self, router, examples, settings, message):
        router.calibration = None
        with pytest.raises(ValueError, match=message):
            router.calibrate(examples, **settings)
        assert router.calibration is None

    def test_what_is_left_after_dropping_counts(self, router):
        mixed = [*EXAMPLES[:148], *rows(10, seed=1)]
        with pytest.raises(ValueError, match=r"148 examples \(10 that the router was trained on are left out\)"):
            router.calibrate(mixed, max_risk=0.02, seen="drop")

    def test_several_right_tools_are_a_label_like_any_other(self, router):
        both = [{"query": f"time and sum {number}", "tool": ["clock", "add_numbers"]} for number in range(30)]
        assert router.calibrate([*EXAMPLES, *both]).examples == 330
