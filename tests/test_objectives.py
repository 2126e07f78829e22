"""Objectives: what is made of labels and rewards, and that each of them learns a task that is trivial."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from logs import FROM_LOGS, FROM_REWARDS, NAMES, REWARDED, logged, one_try
from routers import CARDS, IDENTITY, choices, hash_router, quick, small

from dspy_router import ToolCard, TrainConfig, fit
from dspy_router.learning import run
from dspy_router.learning.lessons import Lessons
from dspy_router.learning.objectives import Objective, Purpose, choose_objective
from dspy_router.learning.settings import RewardConfig


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def brisk(**settings):
    """Eighty large steps or so."""
    return quick(**{"epochs": 8, "batch_size": 64, "learning_rate": 0.01, **settings})


def read(rows):
    return Lessons.read(rows, NAMES, bare=True)


def test_settings_of_another_objective_are_refused_rather_than_ignored():
    with pytest.raises(
        ValueError, match=r"belong to the objective 'policy_gradient'; .*'soft_expected_reward', with kl"
    ):
        fit(hash_router(), REWARDED, config=quick(reward=RewardConfig(kl=0.1)))


def test_a_reward_beyond_the_bounds_is_refused():
    with pytest.raises(ValueError, match=r"rewards reach from 0 to 1, beyond the bounds \[0, 0.5\]"):
        fit(hash_router(), REWARDED, config=quick(reward=RewardConfig(bounds=(0.0, 0.5))))


class TestChoice:
    @pytest.mark.parametrize(
        ("rows", "objective"),
        [
            (REWARDED, "soft_expected_reward"),
            (one_try(), "soft_expected_reward"),
            (IDENTITY, "soft_expected_reward"),
            (logged(), "doubly_robust"),
            ([*IDENTITY, *logged()], "doubly_robust"),
            ([*REWARDED, *logged()], "soft_expected_reward"),  # some rewards are no draw of anybody's
            ([{**row, "propensity": 1.0} for row in logged()], "soft_expected_reward"),  # nothing was drawn at random
        ],
        ids=["rows", "one try", "labels", "log", "labels and log", "rows and log", "deterministic log"],
    )
    def test_it_fits_what_the_examples_carry(self, rows, objective):
        assert choose_objective(read(rows), RewardConfig()) == objective

    def test_differentiable_tools_ask_for_gumbel_softmax(self):
        assert choose_objective(read([{"query": "x"}]), RewardConfig(), downstream=True) == "gumbel_softmax"

    @pytest.mark.parametrize("objective", [*FROM_REWARDS, *FROM_LOGS])
    def test_a_configured_objective_is_taken(self, objective):
        assert choose_objective(read(logged()), RewardConfig(objective=objective)) == objective

    @pytest.mark.parametrize("objective", FROM_LOGS)
    def test_a_log_is_needed_where_one_is_learned_from(self, objective):
        message = rf"'{objective}' learns from logged choices: .*; 8 have only 'rewards'.*use 'soft_expected_reward'"
        with pytest.raises(ValueError, match=message):
            fit(hash_router(), [*REWARDED, *logged()], config=quick(reward=RewardConfig(objective=objective)))

    def test_a_downstream_loss_is_reached_through_gumbel_softmax_alone(self):
        with pytest.raises(ValueError, match="through 'gumbel_softmax' alone; the objective is 'ips'"):
            fit(
                hash_router(),
                logged(),
                config=quick(reward=RewardConfig(objective="ips")),
                downstream=lambda c, rows: c[:, 0],
            )


LABELLED = {"query": "what hour is it", "tool": "clock"}
HIT_AND_MISS = {"query": "1 plus 2", "rewards": {"add_numbers": 3.0, "clock": -1.0}}


class TestLoss:
    """The loss of a batch by hand; the logits are all alike, so that each of the three options has probability 1/3."""

    def loss(self, rows, *, rewards: Purpose = "soft_expected_reward", **settings):
        config = TrainConfig(smoothing=0.0, reward=RewardConfig(**settings))
        objective = Objective(read(rows), config, torch.device("cpu"), rewards=rewards)
        return objective(torch.arange(len(rows)), torch.zeros(len(rows), 3)).item()

    def test_labels_and_rewards_each_by_their_share(self):
        """One of four rows has a label: 1/4 · ln 3. The others have rewards from −1 to 3, the middle 1, τ = 0.1 · 4:

        −ln((e^5 + e^−5 + 1) / 3), of which 3/4.
        """
        soft = -log((exp(5) + exp(-5) + 1) / 3)
        rows = [LABELLED, *[HIT_AND_MISS] * 3]
        assert self.loss(rows) == pytest.approx(log(3) / 4 + 3 / 4 * soft)
        assert self.loss(rows, weight=0.5) == pytest.approx(log(3) / 4 + 3 / 8 * soft)
        assert self.loss(rows, weight=0.0) == pytest.approx(log(3) / 4)

    def test_bounds_and_level_by_hand(self):
        """Within −1 and 7 the rewards 3 and −1 are 1/2 and 0.

        As 1/2 is the level, it says nothing: −ln((1 + e^−5 + 1) / 3). With the level 3/4 it becomes 1/3, which speaks
        against the tool: −ln((e^(−5/3) + e^−5 + 1) / 3).
        """
        bounds = (-1.0, 7.0)
        assert self.loss([HIT_AND_MISS], bounds=bounds) == pytest.approx(-log((2 + exp(-5)) / 3))
        bent = -log((exp(-5 / 3) + exp(-5) + 1) / 3)
        assert self.loss([HIT_AND_MISS], bounds=bounds, level=0.75) == pytest.approx(bent)

    def test_a_row_with_both_counts_as_both(self):
        """τ = 0.25 · 4 = 1, so −ln((e² + e^−2 + 1) / 3) beside ln 3."""
        soft = -log((exp(2) + exp(-2) + 1) / 3)
        assert self.loss([{**HIT_AND_MISS, "tool": "clock"}], temperature=0.25) == pytest.approx(log(3) + soft)

    @pytest.mark.parametrize("rewards", ["expected_reward", "policy_gradient"])
    def test_what_was_not_tried_is_worth_what_the_worst_was(self, rewards):
        """A row whose only tried tool earned the worst there is tells nothing apart: no gradient."""
        lessons = read([HIT_AND_MISS, {"query": "x", "rewards": {"clock": -1.0}}])
        objective = Objective(lessons, TrainConfig(), torch.device("cpu"), rewards=rewards)
        logits = torch.zeros(1, 3, requires_grad=True)
        objective(torch.tensor([1]), logits).backward()
        assert logits.grad is not None and logits.grad.abs().max() < 1e-6

    def test_a_log_is_weighed_in_whatever_batch_it_is(self):
        """Weights 1/3 : 2/3 and 1/3 : 1/3, rewards 1 and 0, their mean 1/2.

        −(1/2 · 1/2 · ln(1/3) − 1 · 1/2 · ln(1/3)) / 2 = −ln(3) / 8, and half of it beside as many rows whose rewards
        are all alike, so that whatever is drawn there has no advantage.
        """
        rows = [
            {"query": "x", "action": "add_numbers", "reward": 1.0, "propensity": 2 / 3},
            {"query": "y", "action": "clock", "reward": 0.0, "propensity": 1 / 3},
        ]
        neutral = {"query": "z", "rewards": dict.fromkeys((*NAMES, None), 0.5)}
        assert self.loss(rows, rewards="policy_gradient") == pytest.approx(-log(3) / 8)
        assert self.loss([*rows, neutral, neutral], rewards="policy_gradient") == pytest.approx(-log(3) / 16)

    def test_balance_is_among_the_labels(self):
        """Three labels of one tool and one of the other, as ever; rows that only earned something do not count in."""
        labels = torch.tensor([[1.0, 0, 0]] * 4) * 2
        losses = []
        for others in ([], [{"query": "x", "rewards": {"clock": 0.0}}] * 9):
            rows = [{**LABELLED, "tool": tool} for tool in (*NAMES[1:] * 3, NAMES[0])]
            lessons = read([*rows, *others])
            objective = Objective(lessons, TrainConfig(balance=1.0), torch.device("cpu"), rewards="expected_reward")
            losses.append(objective(torch.arange(4), labels).item())
        assert losses[0] == losses[1]


class TestIdentity:
    """Two tools, eight queries, mostly without labels: whoever cannot learn this cannot learn."""

    @pytest.mark.parametrize(
        ("rows", "objective"),
        [
            *((REWARDED, name) for name in FROM_REWARDS),
            *((logged(), name) for name in (*FROM_LOGS, "policy_gradient", "soft_expected_reward", "expected_reward")),
            (logged(rewards=(-1.0, 0.0)), "ips"),
            (one_try(), "soft_expected_reward"),
            *((IDENTITY, name) for name in ("cross_entropy", "contrastive")),
        ],
        ids=[
            *FROM_REWARDS,
            *(f"{name}, log" for name in (*FROM_LOGS, "policy_gradient", "soft_expected_reward", "expected_reward")),
            "ips, negative rewards",
            "soft_expected_reward, one try",
            *("cross_entropy", "contrastive"),
        ],
    )
    def test_every_objective_learns_it(self, rows, objective):
        router = hash_router()
        assert choices(router, IDENTITY) != [row["tool"] for row in IDENTITY]
        ways = {"objective": objective} if rows is IDENTITY else {"reward": RewardConfig(objective=objective)}
        fit(router, rows, config=brisk(**ways))
        assert choices(router, IDENTITY) == [row["tool"] for row in IDENTITY]

    @pytest.mark.parametrize("rows", [REWARDED, logged(), one_try()], ids=["rows", "log", "one try"])
    @pytest.mark.parametrize("kind", ["gru", "transformer"])
    def test_what_fits_is_chosen_and_learned_with_every_kind_of_encoder(self, kind, rows):
        router = small(kind)
        fit(router, rows, config=brisk(encoder_learning_rate=0.005))
        assert choices(router, IDENTITY) == [row["tool"] for row in IDENTITY]

    @pytest.mark.parametrize("rows", [REWARDED, logged(), one_try()], ids=["rows", "log", "one try"])
    def test_with_a_hidden_layer_and_as_it_comes(self, rows):
        router = small("hash")
        fit(router, rows, config=TrainConfig(deep_from=1, batch_size=64))
        assert choices(router, IDENTITY) == [row["tool"] for row in IDENTITY]

    @pytest.mark.parametrize(
        ("rows", "objective"),
        [
            *((REWARDED[4:], name) for name in FROM_REWARDS),
            *(([row for row in logged() if "hour" in row["query"]], name) for name in (*FROM_LOGS, "policy_gradient")),
        ],
        ids=[*FROM_REWARDS, *(f"{name}, log" for name in (*FROM_LOGS, "policy_gradient"))],
    )
    def test_labels_of_one_tool_and_rewards_of_the_other(self, rows, objective):
        """Labels of the adder alone; that the hour is the clock's is in the rewards."""
        router = hash_router()
        fit(router, [*IDENTITY[:4], *rows], config=brisk(reward=RewardConfig(objective=objective)))
        assert choices(router, IDENTITY) == [row["tool"] for row in IDENTITY]

    def test_rewards_of_some_and_a_log_of_others(self):
        router = hash_router()
        rows = [*REWARDED[:4], *(row for row in logged() if "hour" in row["query"])]
        fit(router, rows, config=brisk(reward=RewardConfig(objective="policy_gradient")))
        assert choices(router, IDENTITY) == [row["tool"] for row in IDENTITY]

    @pytest.mark.parametrize("objective", FROM_REWARDS)
    def test_none_may_be_what_earns_most(self, objective):
        rows = [{"query": query, "rewards": {None: 1.0, "clock": 0.2}} for query in ("sing me a song", "tell a joke")]
        router = hash_router()
        fit(router, [*REWARDED, *rows * 3], config=brisk(reward=RewardConfig(objective=objective)))
        assert choices(router, rows) == [None, None]
        assert choices(router, IDENTITY) == [row["tool"] for row in IDENTITY]

    @pytest.mark.parametrize("objective", ["soft_expected_reward", "policy_gradient"])
    def test_the_better_of_two_that_both_earn_something(self, objective):
        rows = [{**row, "rewards": {name: 0.4 + 0.5 * r for name, r in row["rewards"].items()}} for row in REWARDED]
        router = hash_router()
        fit(router, rows, config=brisk(reward=RewardConfig(objective=objective)))
        assert choices(router, IDENTITY) == [row["tool"] for row in IDENTITY]

    @pytest.mark.parametrize("objective", FROM_LOGS)
    @pytest.mark.parametrize("rewards", [(-1.0, 0.0), (7.0, 9.0)], ids=str)
    def test_a_log_does_not_lead_where_it_has_never_been(self, objective, rewards):
        """A third tool that reads like all queries was never tried, nor was none: nothing speaks for them."""
        router = hash_router([*CARDS, ToolCard("hours", "What plus hour in the of.")])
        assert set(choices(router, IDENTITY)) - set(NAMES)
        fit(router, logged(rewards=rewards), config=brisk(reward=RewardConfig(objective=objective)))
        assert set(choices(router, IDENTITY)) <= set(NAMES)


class TestRewardModel:
    """The model behind the doubly robust value."""

    def test_it_learns_from_the_one_choice_that_earned_something(self):
        """One half of the log has but failures to learn from."""
        rows = [{**row, "reward": 0.0} for row in logged()]
        rows[0]["reward"] = 1.0
        report = fit(hash_router(), rows, config=brisk(epochs=2, reward=RewardConfig(objective="doubly_robust")))
        assert len(report.epochs) == 2

    @pytest.mark.parametrize("rows", [logged()[:1], [{**row, "reward": 1.0} for row in logged()]], ids=["one", "alike"])
    def test_labels_teach_where_the_log_does_not(self, rows):
        """A single logged choice, and many that all earned the same: there is nothing to model."""
        router = hash_router()
        fit(router, [*IDENTITY * 4, *rows], config=brisk())
        assert choices(router, IDENTITY) == [row["tool"] for row in IDENTITY]

    def test_it_has_not_seen_the_row_it_predicts(self, monkeypatch):
        """What one choice earned does not change what is predicted for it; for others it does."""
        predictions = []

        class Listening(Objective):
            def __init__(self, *args, **settings):
                super().__init__(*args, **settings)
                predictions.append(settings.get("predicted"))

        monkeypatch.setattr(run, "Objective", Listening)
        rows = [{**row, "query": f"{row['query']} {i}"} for i, row in enumerate(logged())]
        for reward in (0.0, 1.0):
            rows[5]["reward"] = reward
            fit(hash_router(), rows, config=brisk(epochs=2, reward=RewardConfig(objective="doubly_robust")))
        before, after = (one for one in predictions if one is not None)
        assert torch.equal(before[5], after[5])
        assert (before != after).any(1).sum() >= len(rows) // 4
