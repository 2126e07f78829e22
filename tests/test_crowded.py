"""A router with an index of its tools: it decides as one without, near enough, and says what it did not look at."""

from __future__ import annotations

import copy
import logging
import pickle

import pytest
import torch
from crowds import CARDS, EXHAUSTIVE, FRESH, QUERIES, crowd_of, crowded, exact
from hypothesis import given, settings
from hypothesis import strategies as st
from routers import BilinearPolicy

from dspy_router import HashEncoder, Router
from dspy_router.records import Decision
from dspy_router.routing.many import nearest
from dspy_router.routing.many.crowd import Crowd
from dspy_router.routing.many.settings import IndexConfig
from dspy_router.routing.policies import ToolSpacePolicy


@pytest.fixture(scope="module")
def router():
    return crowded()


def near(mine: Decision, right: Decision, tolerance=1e-5):
    listed = {name: right.probabilities[name] for name in mine.probabilities}
    assert dict(mine.probabilities) == pytest.approx(listed, abs=tolerance)
    assert mine.none_probability == pytest.approx(right.none_probability, abs=tolerance)
    assert (mine.tool, mine.accepted) == (right.tool, right.accepted)


def total(decision):
    return sum(decision.probabilities.values()) + decision.none_probability + decision.tail_probability


class TestDeciding:
    def test_as_many_tools_as_the_threshold_are_looked_at_one_by_one_and_one_more_by_the_index(self):
        few, more = crowded(CARDS[:50]), crowded(CARDS[:51])
        assert few.crowd is None
        assert isinstance(more.crowd, Crowd)
        assert few.decide(QUERIES[0]) == exact(CARDS[:50]).decide(QUERIES[0])

    def test_where_nothing_is_missed_it_decides_as_a_router_without_an_index(self):
        found = crowded(**EXHAUSTIVE).decide_batch(QUERIES)
        for mine, right in zip(found, exact().decide_batch(QUERIES), strict=True):
            near(mine, right)
            others = sum(share for name, share in right.probabilities.items() if name not in mine.probabilities)
            assert mine.tail_probability == pytest.approx(others, abs=1e-5)

    def test_the_most_likely_tools_are_listed_and_all_sums_to_one(self, router):
        for decision in router.decide_batch(QUERIES):
            assert len(decision.probabilities) == 20
            assert decision.tail_probability > 0
            assert total(decision) == pytest.approx(1.0, abs=1e-9)
            assert decision.top(1)[0][0] == decision.tool

    def test_one_by_one_as_in_a_batch(self, router):
        for text, decision in zip(QUERIES, router.decide_batch(QUERIES), strict=True):
            near(router.decide(text), decision)

    def test_probabilities_are_exact_for_every_tool(self, router):
        assert torch.allclose(router.probabilities(QUERIES), exact().probabilities(QUERIES), atol=1e-6)

    @settings(max_examples=10)
    @given(st.permutations(range(120)))
    def test_the_order_of_the_tools_makes_no_difference(self, order):
        cards = CARDS[:120]
        mine, other = crowded(cards), crowded([cards[i] for i in order])
        for one, two in zip(mine.decide_batch(QUERIES), other.decide_batch(QUERIES), strict=True):
            assert one.tool == two.tool
            assert dict(one.probabilities) == pytest.approx(dict(two.probabilities), abs=1e-9)

    def test_where_few_are_allowed_each_of_them_is_looked_at(self, router):
        allowed = [card.name for card in CARDS[7:30]]
        mine, right = (one.decide(QUERIES[0], allowed=allowed) for one in (router, exact()))
        assert set(mine.probabilities) == set(allowed)
        assert mine.tail_probability == pytest.approx(0.0)
        near(mine, right)

    def test_where_many_are_allowed_no_other_is_listed(self, router):
        allowed = {card.name for card in CARDS[:200]}
        mine, right = (one.decide(QUERIES[0], allowed=allowed) for one in (router, exact()))
        assert set(mine.probabilities) < allowed
        near(mine, right)
        assert total(mine) == pytest.approx(1.0)

    def test_where_nothing_is_allowed_it_is_none(self, router):
        assert router.decide(QUERIES[0], allowed=[]) == Decision(None, {}, 1.0)

    def test_a_name_that_is_no_tools_is_refused_with_the_nearest(self, router):
        with pytest.raises(ValueError, match=f"Did you mean '{CARDS[3].name}'"):
            router.decide("x", allowed=[CARDS[3].name + "s"])

    def test_it_explains_itself(self, router):
        explanation = router.explain(QUERIES[0])
        assert explanation.decision.tool == router.decide(QUERIES[0]).tool
        assert explanation.words

    def test_the_cross_check_finds_nothing_amiss_where_nothing_is_missed(self):
        report = crowded(**EXHAUSTIVE).check_index(QUERIES)
        assert (report.recall, report.agreement, report.tools) == (1.0, 1.0, len(CARDS))
        assert max(report.probability, report.tail) < 1e-6

    def test_the_cross_check_sees_what_a_careless_index_misses(self):
        careless = crowded(nearest=1, sharing=0, search_effort=1, listed=10, sample=5)
        report = careless.check_index(QUERIES)
        assert report.recall < 0.5
        assert report.tail > 0.01

    def test_without_an_index_there_is_nothing_to_check(self):
        with pytest.raises(ValueError, match="no index to check"):
            exact().check_index(QUERIES)


class TestChangingTools:
    def test_added_tools_are_reached_at_once(self, router):
        grown = copy.deepcopy(router)
        grown.add_tools(FRESH)
        for card in FRESH[:5]:
            assert grown.decide(card.description).tool == card.name
        assert grown.tools == (*router.tools, *(card.name for card in FRESH))
        assert router.tools == tuple(card.name for card in CARDS)  # the original knows nothing of it

    def test_adding_one_by_one_is_adding_at_once(self):
        slowly, at_once = crowded(), crowded()
        at_once.add_tools(FRESH[:5])
        for card in FRESH[:5]:
            slowly.add_tools([card])
        assert slowly.fingerprint == at_once.fingerprint
        for one, two in zip(slowly.decide_batch(QUERIES), at_once.decide_batch(QUERIES), strict=True):
            near(one, two)

    def test_adding_and_removing_again_restores_every_decision(self, router):
        changed = copy.deepcopy(router)
        before = changed.decide_batch(QUERIES)
        changed.add_tools(FRESH)
        changed.remove_tools([card.name for card in FRESH])
        assert changed.decide_batch(QUERIES) == before

    @pytest.mark.parametrize("fold", [1, 10_000])
    def test_what_is_added_and_removed_decides_like_a_router_made_of_what_is_left(self, monkeypatch, fold):
        monkeypatch.setattr("dspy_router.routing.many.crowd._MOST_FRESH", fold)
        changed = crowded(CARDS[:280], **EXHAUSTIVE)
        for start in range(0, 40, 10):
            changed.add_tools(FRESH[start : start + 10])
        changed.remove_tools([card.name for card in CARDS[:30]])
        changed.add_tools(CARDS[:3])
        assert len(crowd_of(changed).segments) == (6 if fold == 1 else 2)
        made = exact(CARDS[:280])
        made.add_tools(FRESH)
        made.remove_tools([card.name for card in CARDS[:30]])
        made.add_tools(CARDS[:3])
        assert changed.tools == made.tools
        for mine, right in zip(changed.decide_batch(QUERIES), made.decide_batch(QUERIES), strict=True):
            near(mine, right)

    def test_with_most_tools_gone_the_others_are_indexed_anew(self):
        router = crowded(**EXHAUSTIVE)
        router.remove_tools([card.name for card in CARDS[:120]])
        assert len(crowd_of(router).slot_names) == 180
        near(router.decide(QUERIES[0]), exact_without(120).decide(QUERIES[0]))

    def test_with_few_left_each_is_looked_at_again(self):
        router = crowded()
        router.remove_tools([card.name for card in CARDS[40:]])
        right = exact()
        right.remove_tools([card.name for card in CARDS[40:]])
        assert router.crowd is None
        assert router.decide_batch(QUERIES) == right.decide_batch(QUERIES)

    def test_growing_beyond_the_threshold_brings_the_index(self):
        router = crowded(CARDS[:45], **EXHAUSTIVE)
        router.add_tools(CARDS[45:60])
        right = exact(CARDS[:45])
        right.add_tools(CARDS[45:60])
        assert router.crowd is not None
        near(router.decide(QUERIES[0]), right.decide(QUERIES[0]))

    def test_a_name_that_is_taken_changes_nothing(self, router):
        before = router.fingerprint
        with pytest.raises(ValueError, match=f"'{CARDS[0].name}' was given more than once"):
            router.add_tools([*FRESH, CARDS[0]])
        with pytest.raises(ValueError, match=f"'{FRESH[0].name}' was given more than once"):
            router.add_tools([FRESH[0], FRESH[0]])
        assert (router.fingerprint, router.tools) == (before, tuple(card.name for card in CARDS))

    def test_the_fingerprint_tells_tools_and_settings_apart(self, router):
        assert router.fingerprint == crowded().fingerprint != crowded(nearest=41).fingerprint
        assert router.fingerprint != crowded([*CARDS[1:], FRESH[0]]).fingerprint

    def test_weights_that_are_changed_in_place_bring_another_index(self):
        router, right = crowded(**EXHAUSTIVE), exact()
        for one in (router, right):
            with torch.no_grad():
                assert isinstance(one.policy, ToolSpacePolicy)
                one.policy.view_weights.copy_(torch.tensor([0.0, 1.0, 0.0]))
        assert router.check_index(QUERIES).recall == 1.0
        near(router.decide(QUERIES[0]), right.decide(QUERIES[0]))


def exact_without(count):
    router = exact()
    router.remove_tools([card.name for card in CARDS[:count]])
    return router


class TestWhatItCannot:
    def test_without_usearch_every_tool_is_looked_at_and_that_is_said(self, monkeypatch, caplog):
        monkeypatch.setattr(nearest.importlib.util, "find_spec", lambda name: None)
        with caplog.at_level(logging.WARNING):
            router = crowded()
        assert "pip install dspy-router[many]" in caplog.text
        right = exact()
        router.add_tools(FRESH)
        right.add_tools(FRESH)
        for mine, other in zip(router.decide_batch(QUERIES), right.decide_batch(QUERIES), strict=True):
            near(mine, other)

    def test_a_policy_of_ones_own_looks_at_every_tool_and_that_is_said(self, caplog):
        with caplog.at_level(logging.WARNING):
            router = Router.from_tools(
                CARDS, encoder=HashEncoder(64), policy=BilinearPolicy(64), index=IndexConfig(above=50)
            )
        assert "not a BilinearPolicy" in caplog.text
        assert len(router.decide(QUERIES[0]).probabilities) == len(CARDS)

    def test_it_is_not_calibrated(self, router):
        rows = [{"query": card.description, "tool": card.name} for card in CARDS[:40]]
        with pytest.raises(ValueError, match=r"cannot be calibrated.*index=IndexConfig\(above=300\)"):
            router.calibrate(rows)

    def test_it_can_be_pickled(self, router):
        again = pickle.loads(pickle.dumps(router))
        assert again.fingerprint == router.fingerprint
        assert again.decide_batch(QUERIES) == router.decide_batch(QUERIES)

    @pytest.mark.parametrize(("field", "value"), [("nearest", 0), ("above", -1), ("listed", 1.5), ("precision", "f64")])
    def test_settings_out_of_range_are_refused(self, field, value):
        with pytest.raises(ValueError, match=f"{field}|precision"):
            IndexConfig(**{field: value})
