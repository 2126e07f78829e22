"""Novelty: what P(none) gains by how high the tools' logits rise."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from routers import CARDS, IDENTITY, hash_router

from dspy_router import TrainConfig, fit
from dspy_router.routing.neighbours import NeighbourPolicy
from dspy_router.routing.novelty import LEAST, Novelty, NoveltyPolicy, without_novelty
from dspy_router.routing.policies import ToolSpacePolicy

NAMES = ("add_numbers", "clock")
ALL = Novelty(bias=3.0, energy=1.5, none=0.5, trained=NAMES)
LOGITS = torch.tensor([[2.0, 0.0, 1.0]])


def none_probability(novelty: Novelty, logits: torch.Tensor, names=NAMES) -> float:
    return float(novelty.adjust(logits, names).softmax(1)[0, -1])


class TestNumbers:
    def test_log_odds_by_hand(self):
        """E = ½ · log(e^(2·2) + e^(2·0)) = ½ · log 55.598 = 2.00907; 3 − 1.5 · E + 0.5 · 1 = 0.48639."""
        assert ALL.log_odds(LOGITS).tolist() == pytest.approx([0.48639], abs=1e-5)
        assert none_probability(ALL, LOGITS) == pytest.approx(1 / (1 + math.exp(-0.48639)), abs=1e-5)

    def test_of_trained_tools_only_their_sum_changes(self):
        """P(tools) = 0.88080 and 0.11920 of what none leaves."""
        row = ALL.adjust(LOGITS, NAMES).softmax(1)[0]
        left = 1 - none_probability(ALL, LOGITS)
        assert row.tolist() == pytest.approx([0.88080 * left, 0.11920 * left, 1 - left], abs=1e-5)

    def test_a_tool_training_had_no_query_of_keeps_its_share_of_the_policys_own_none(self):
        """The new tool carries 0.88080 of the choice; level = log(e² + 1) = 2.12693, and with all tools trained none's
        logit were 2.12693 + 0.48639 = 2.61332: 0.11920 · 2.61332 + 0.88080 · 1 = 1.19231.
        """
        novelty = Novelty(3.0, 1.5, 0.5, trained=("clock",))
        assert novelty.adjust(LOGITS, NAMES)[0].tolist() == pytest.approx([2.0, 0.0, 1.19231], abs=1e-4)

    def test_where_no_tool_was_trained_nothing_changes(self):
        assert torch.equal(Novelty(3.0, 1.5, 0.5, trained=()).adjust(LOGITS, NAMES), LOGITS)

    def test_where_no_tool_is_allowed_none_stays_certain(self):
        row = ALL.adjust(torch.tensor([[-math.inf, -math.inf, 1.0]]), NAMES).softmax(1)[0]
        assert row.tolist() == [0.0, 0.0, 1.0]

    def test_a_forbidden_tool_stays_forbidden_and_does_not_speak(self):
        """E = 0.5, the one allowed tool's logit: 3 − 0.75 + 0.5 · 1 = 2.75."""
        row = ALL.adjust(torch.tensor([[-math.inf, 0.5, 1.0]]), NAMES).softmax(1)[0]
        assert row[0] == 0.0
        assert float(row[2]) == pytest.approx(1 / (1 + math.exp(-2.75)), abs=1e-5)

    @given(
        rows=st.lists(st.tuples(*[st.floats(-20, 20)] * 4), min_size=1, max_size=5),
        trained=st.sets(st.sampled_from("abc")),
    )
    def test_tools_keep_their_ratios_and_rows_their_sum(self, rows, trained):
        logits = torch.tensor(rows)
        adjusted = Novelty(3.0, 1.5, 0.5, tuple(trained)).adjust(logits, tuple("abc"))
        assert torch.equal(adjusted[:, :-1], logits[:, :-1])
        assert adjusted.softmax(1).sum(1).tolist() == pytest.approx([1.0] * len(rows), abs=1e-5)

    @given(lift=st.floats(0.01, 10), rows=st.tuples(*[st.floats(-5, 5)] * 3))
    def test_the_higher_the_tools_the_less_likely_none(self, lift, rows):
        low = torch.tensor([rows])
        high = low + torch.tensor([[lift, lift, 0.0]])
        assert none_probability(ALL, high) <= none_probability(ALL, low)


def held_out(tools: int = 40, nones: int = 40, seed: int = 0):
    """Logits of unseen queries: one tool is high where one fits; where none does, all are low, but so is *none*."""
    generator = torch.Generator().manual_seed(seed)
    logits = 0.5 * torch.randn(tools + nones, 3, generator=generator)
    right = torch.zeros(tools + nones, 3, dtype=torch.bool)
    right[torch.arange(tools), torch.arange(tools) % 2] = True
    right[tools:, 2] = True
    logits[right] += 6.0
    logits[tools:, 2] -= 7.0
    return logits, right


class TestFit:
    def test_it_finds_none_where_the_policy_does_not(self):
        logits, right = held_out()
        novelty = Novelty.fit(logits, right, NAMES)
        assert novelty is not None
        assert not (logits[right[:, 2]].argmax(1) == 2).all()
        fresh, labels = held_out(seed=1)
        assert (novelty.adjust(fresh, NAMES).argmax(1) == labels.float().argmax(1)).all()
        assert novelty.trained == NAMES

    def test_its_weights_have_no_slope_left(self):
        """At the optimum of Σ log-loss + ½ Σ weight², Σ (P(none) − is none) = 0 and each weight is its own gradient."""
        logits, right = held_out()
        logits[:5] = logits[40:45]  # some that look like none: the kinds are not quite apart
        novelty = Novelty.fit(logits, right, NAMES)
        assert novelty is not None
        misses = novelty.log_odds(logits.double()).sigmoid() - right[:, 2].double()
        energy = 0.5 * (2 * logits[:, :2].double()).logsumexp(1)
        assert float(misses.sum()) == pytest.approx(0.0, abs=1e-2)
        assert float((misses * energy).sum()) == pytest.approx(novelty.energy, abs=1e-2)

    @pytest.mark.parametrize(("tools", "nones"), [(LEAST - 1, 40), (40, LEAST - 1), (40, 0)])
    def test_too_few_of_a_kind_leave_none_to_the_policy(self, tools, nones):
        assert Novelty.fit(*held_out(tools, nones), NAMES) is None

    def test_where_the_policy_knows_better_it_is_left_alone(self):
        """P(none) is 0.99995 where it is right and 0.00005 where it is not; a prior on the weights forbids as much."""
        _, right = held_out()
        assert Novelty.fit(10.0 * right.float(), right, NAMES) is None

    def test_rows_without_a_label_and_tools_without_rows(self):
        logits, right = held_out()
        more = torch.cat([logits, torch.full((9, 3), 50.0)]), torch.cat([right, torch.zeros(9, 3, dtype=torch.bool)])
        assert Novelty.fit(*more, NAMES) == Novelty.fit(logits, right, NAMES)
        wide = torch.cat([logits[:, :2], torch.full((80, 1), -9.0), logits[:, 2:]], 1)
        labels = torch.cat([right[:, :2], torch.zeros(80, 1, dtype=torch.bool), right[:, 2:]], 1)
        novelty = Novelty.fit(wide, labels, (*NAMES, "never_asked_for"))
        assert novelty is not None
        assert novelty.trained == NAMES

    def test_described_and_read_again(self):
        assert Novelty.from_dict(ALL.to_dict()) == ALL


class TestPolicy:
    @pytest.mark.parametrize("neighbours", [0, 3])
    def test_of_this_shape_with_these_weights_it_decides_the_same(self, neighbours):
        router = hash_router()
        fit(router, IDENTITY, config=TrainConfig(epochs=3, threads=1, neighbours=neighbours))
        assert isinstance(router.policy, ToolSpacePolicy | NeighbourPolicy)
        policy = NoveltyPolicy(router.policy, ALL).eval()
        same = NoveltyPolicy.from_config(policy.config).eval()
        same.load_state_dict(policy.state_dict())
        states = router.read([row["query"] for row in IDENTITY])
        with torch.no_grad():
            logits = policy(states, router.space)
            assert torch.equal(same(states, router.space), logits)
            assert torch.equal(logits, ALL.adjust(router.policy(states, router.space), router.tools))
        assert without_novelty(policy) is router.policy
        assert without_novelty(router.policy) is router.policy

    def test_the_order_of_the_tools_never_changes_a_choice(self):
        shifted = hash_router(CARDS[::-1])
        router = hash_router()
        novelty = Novelty(3.0, 1.5, 0.5, trained=("clock",))
        rows = [
            NoveltyPolicy(cast(ToolSpacePolicy, r.policy), novelty)(r.read(["what time is it"]), r.space)
            for r in (router, shifted)
        ]
        assert rows[0][0].tolist() == pytest.approx(rows[1][0][[1, 0, 2]].tolist(), abs=1e-5)
