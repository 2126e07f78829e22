"""Training on rewards: through differentiable tools, validated, the same every time, and what is kept of it."""

from __future__ import annotations

from math import log

import dspy
import pytest
import torch
from logs import FROM_LOGS, FROM_REWARDS, REWARDED, logged, one_try
from routers import IDENTITY, Killed, choices, hash_router, kill_after, quick, small

from dspy_router import Episode, fit
from dspy_router.learning.settings import RewardConfig

QUERIES = [row["query"] for row in IDENTITY]
RIGHT = [row["tool"] for row in IDENTITY]
BARE = [{"query": query} for query in QUERIES]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def brisk(objective=None, /, *, epochs=8, rewards=None, **settings):
    reward = RewardConfig(objective=objective, **(rewards or {}))
    return quick(**{"epochs": epochs, "batch_size": 64, "learning_rate": 0.01, "reward": reward, **settings})


class TestDownstream:
    """Tools that are torch functions: one doubles, the other negates; what comes after them is compared to a target."""

    numbers = torch.tensor([1.0, 2.0, 0.5, 1.5, 3.0, 1.0, 2.0, 0.7])
    outputs = torch.stack([2 * numbers, -numbers, torch.zeros(8)], dim=1)
    targets = torch.tensor([2.0, 4.0, 1.0, 3.0, -3.0, -1.0, -2.0, -0.7])  # the right tool's output, row by row

    def downstream(self, choices, rows):
        return ((choices * self.outputs[rows]).sum(1) - self.targets[rows]) ** 2

    @pytest.mark.parametrize("kind", ["hash", "gru"])
    def test_its_loss_trains_the_choice_through_the_tool_call(self, kind):
        router = small(kind)
        assert choices(router, IDENTITY) != RIGHT
        report = fit(router, BARE, config=brisk(), downstream=self.downstream)
        assert choices(router, IDENTITY) == RIGHT
        assert report.epochs[-1].loss < report.epochs[0].loss

    def test_each_choice_is_of_one_option(self):
        seen = []

        def downstream(choices, rows):
            seen.append((choices.detach(), rows))
            return self.downstream(choices, rows)

        fit(hash_router(), BARE, config=brisk(epochs=1, batch_size=3), downstream=downstream)
        for one, rows in seen:
            assert one.shape == (len(rows), 3)
            assert torch.allclose(one.max(1).values, torch.ones(len(rows)))
            assert torch.allclose(one.sum(1), torch.ones(len(rows)))
        assert sorted(torch.cat([rows for _, rows in seen[:3]]).tolist()) == list(range(8))

    def test_a_model_after_the_tools_may_learn_along(self):
        """The tool's output must be scaled by 5, which only the model after it can learn."""
        scale = torch.nn.Parameter(torch.tensor(1.0))
        optimizer = torch.optim.SGD([scale], lr=0.01)

        def downstream(choices, rows):
            optimizer.step()  # by the gradient of the last batch
            optimizer.zero_grad()
            return (scale * (choices * self.outputs[rows]).sum(1) - 5 * self.targets[rows]) ** 2

        router = hash_router()
        fit(router, BARE, config=brisk(epochs=20), downstream=downstream)
        assert choices(router, IDENTITY) == RIGHT
        assert scale.item() == pytest.approx(5, abs=0.5)

    def test_labels_may_stand_beside_it(self):
        """Labels for songs, of which the outputs tell nothing: both tools and none return 0 for them."""
        songs = [{"query": f"sing me a song of {name}", "tool": None} for name in ("Lima", "Oslo", "plus")]
        outputs, targets = torch.cat([self.outputs, torch.zeros(3, 3)]), torch.cat([self.targets, torch.zeros(3)])
        router = hash_router()
        fit(
            router,
            [*BARE, *songs],
            config=brisk(),
            downstream=lambda choices, rows: ((choices * outputs[rows]).sum(1) - targets[rows]) ** 2,
        )
        assert choices(router, [*IDENTITY, *songs]) == [*RIGHT, None, None, None]

    def test_few_examples_get_no_hidden_layer(self):
        """Nothing says how many of the tools are right somewhere; all of them may be."""
        router = hash_router()
        fit(router, BARE, config=brisk(epochs=1), downstream=self.downstream)
        assert not router.policy.deep  # pyright: ignore[reportAttributeAccessIssue]


class TestPolicyGradient:
    def trained(self, **rewards):
        router = hash_router()
        fit(router, REWARDED, config=brisk("policy_gradient", rewards=rewards))
        return router.probabilities(QUERIES)

    def test_the_leash_keeps_the_policy_near_its_start(self):
        """By the mean total variation on the queries."""
        start = hash_router().probabilities(QUERIES)
        free, held, tight = ((self.trained(kl=kl) - start).abs().sum(1).mean().item() / 2 for kl in (0.0, 0.3, 10.0))
        assert tight < held < free
        assert tight < free / 4

    def test_the_entropy_bonus_keeps_it_unsure(self):
        plain, bonus = (
            -(probabilities * probabilities.log()).sum(1).mean().item()
            for probabilities in (self.trained(), self.trained(entropy=1.0))
        )
        assert plain < bonus / 2 < log(3) / 2

    def test_a_log_is_learned_row_by_row_too(self):
        """A batch of one has no mean of its own to compare with."""
        router = hash_router()
        fit(router, logged(), config=brisk("policy_gradient", epochs=5, batch_size=1, learning_rate=0.005))
        assert choices(router, IDENTITY) == RIGHT


class TestUnits:
    """Rewards come in whatever units the metric has."""

    @pytest.mark.parametrize("objective", ["soft_expected_reward", "snips"])
    def test_where_zero_lies_does_not_matter(self, objective):
        results = []
        for shift in (0.0, -8.0):
            rewards = (shift, 1 + shift)
            router = hash_router()
            fit(router, logged(rewards=rewards), config=brisk(objective))
            results.append(router.probabilities(QUERIES))
        assert torch.allclose(*results, atol=1e-2)

    def test_nor_does_how_large_they_are_to_the_soft_expected_reward(self):
        results = []
        for scale in (1.0, 1024.0):
            router = hash_router()
            fit(router, logged(rewards=(0.0, scale)), config=brisk("soft_expected_reward"))
            results.append(router.probabilities(QUERIES))
        assert torch.allclose(*results, atol=1e-4)

    def test_rewards_that_are_all_alike_teach_nothing(self):
        router = hash_router()
        before = router.fingerprint
        rows = [{"query": query, "rewards": {"clock": 1.0, "add_numbers": 1.0}} for query in QUERIES]
        with pytest.raises(ValueError, match="All 16 rewards of the training set are 1: there is nothing to learn"):
            fit(router, rows, config=brisk())
        assert router.fingerprint == before


class TestValidation:
    @pytest.mark.parametrize("shift", [0.0, -10.0])
    def test_the_best_epoch_by_rewards_is_kept(self, shift):
        """The router knows what the validation set pays for, and unlearns it: it earns less there with every epoch."""
        turned = [
            {"query": row["query"], "rewards": {name: shift + 1 - r for name, r in row["rewards"].items()}}
            for row in REWARDED
        ]
        router = hash_router()
        fit(router, turned, config=brisk())
        report = fit(router, REWARDED, val=turned, config=brisk(epochs=20, patience=10))
        earned = [record.val_accuracy for record in report.epochs if record.val_accuracy is not None]
        assert len(earned) == report.best_epoch + 10 < 20
        assert earned[-1] < max(earned) == earned[report.best_epoch - 1] == report.accuracy_after
        paid = [row["rewards"].get(tool, shift) for row, tool in zip(turned, choices(router, turned), strict=True)]
        assert sum(paid) / len(paid) == pytest.approx(report.accuracy_after)

    def test_labels_may_judge_what_rewards_have_taught(self):
        report = fit(hash_router(), REWARDED, val=IDENTITY, config=brisk())
        assert report.accuracy_before is not None and report.accuracy_before < 1.0 == report.accuracy_after

    def test_a_choice_that_was_not_tried_there_earns_what_the_worst_did(self):
        """Four choose the adder, of which the set knows nothing; the clock's four earn 0.5 each. The worst is 0.1."""
        router = hash_router()
        fit(router, IDENTITY, config=quick(epochs=40))
        val = [{"query": query, "rewards": {"clock": 0.5}} for query in QUERIES]
        val.append({"query": "which hour", "rewards": {"clock": 0.1}})
        report = fit(router, IDENTITY, val=val, config=quick(epochs=1, learning_rate=0.0))
        assert report.accuracy_after == pytest.approx((4 * 0.1 + 4 * 0.5 + 0.1) / 9)


class TestDeterminism:
    @pytest.mark.parametrize("objective", [*FROM_REWARDS, *FROM_LOGS])
    def test_same_seed_same_weights(self, objective):
        rows = logged() if objective in FROM_LOGS else REWARDED
        prints = []
        for seed in (0, 0, 1):
            torch.manual_seed(len(prints))  # what was drawn before must not matter
            router = hash_router()
            fit(router, rows, config=brisk(objective, epochs=2, batch_size=4, seed=seed))
            prints.append(router.fingerprint)
        assert prints[0] == prints[1] != prints[2]

    @pytest.mark.parametrize("rows", [REWARDED, logged()], ids=["rows", "log"])
    def test_rows_examples_and_episodes_teach_the_same(self, rows):
        forms = [
            rows,
            [{**row, "rewards": list(row["rewards"].items())} if "rewards" in row else row for row in rows],
            [dspy.Example(**row).with_inputs("query") for row in rows],
            map(Episode.from_example, rows),
        ]
        prints = set()
        for examples in forms:
            router = hash_router()
            fit(router, examples, config=brisk(epochs=1))
            prints.add(router.fingerprint)
        assert len(prints) == 1

    @pytest.mark.parametrize(
        ("rows", "objective", "rewards", "val"),
        [
            (one_try(), "soft_expected_reward", {}, one_try(1)),
            (REWARDED, "policy_gradient", {"kl": 0.1, "entropy": 0.01}, None),
            (REWARDED, "gumbel_softmax", {}, one_try(1)),
            (logged(), "doubly_robust", {}, None),
            ([*IDENTITY, *logged()], "snips", {}, one_try(1)),
        ],
        ids=["one try", "policy gradient", "gumbel", "doubly robust", "labels and snips"],
    )
    def test_a_killed_run_ends_as_if_it_had_not_been(self, rows, objective, rewards, val, tmp_path, monkeypatch):
        settings = {"epochs": 4, "patience": 4, "batch_size": 16, "rewards": rewards}
        uninterrupted, router = hash_router(), hash_router()
        fit(uninterrupted, rows, val=val, config=brisk(objective, **settings))
        resumable = brisk(objective, **settings, checkpoint=str(tmp_path))
        with monkeypatch.context() as patch, pytest.raises(Killed):
            # The reward model of the doubly robust value has no checkpoints of its own.
            kill_after(patch, 2)
            fit(router, rows, val=val, config=resumable)
        torch.rand(3)  # another process has drawn other numbers
        report = fit(router, rows, val=val, config=resumable)
        assert (report.resumed_from, len(report.epochs)) == (2, 4)
        assert router.fingerprint == uninterrupted.fingerprint

    @pytest.mark.parametrize("change", ["rewards", "objective", "downstream"])
    def test_another_run_does_not_take_the_checkpoint(self, change, tmp_path, monkeypatch):
        config = brisk(checkpoint=str(tmp_path))
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_after(patch, 1)
            fit(hash_router(), REWARDED, config=config)
        rows = one_try() if change == "rewards" else REWARDED
        other = brisk("expected_reward", checkpoint=str(tmp_path)) if change == "objective" else config
        downstream = (lambda choices, rows: choices[:, 0]) if change == "downstream" else None
        with pytest.raises(ValueError, match="belongs to a run with other settings, data or another router"):
            fit(hash_router(), rows, config=other, downstream=downstream)


class TestWhatIsKept:
    """The queries that a router explains itself by, and asks as neighbours, are those whose right tool is known."""

    def test_failures_are_not_remembered(self):
        router = hash_router()
        fit(router, one_try(), config=brisk())
        known = [(row["query"], tuple(row["rewards"])) for row in one_try() if 1.0 in row["rewards"].values()]
        assert router.memory is not None
        assert list(zip(router.memory.texts, router.memory.labels, strict=True)) == known
        assert 0 < len(known) < len(IDENTITY)

    def test_neighbours_are_asked_of_what_they_earned_most_with(self):
        router = hash_router()
        fit(router, one_try(), config=brisk(neighbours=2, learning_rate=0.0))  # nothing is learned but the neighbours
        known = [row for row in one_try() if 1.0 in row["rewards"].values()]
        assert choices(hash_router(), known) != [next(iter(row["rewards"])) for row in known]
        assert choices(router, known) == [next(iter(row["rewards"])) for row in known]

    def test_where_nothing_is_known_to_be_right_there_are_none(self):
        router = hash_router()
        fit(
            router,
            BARE,
            config=brisk(epochs=1, neighbours=2),
            downstream=lambda choices, rows: choices[:, 0],
        )
        assert router.memory is not None and router.memory.texts == ()
        assert not router.explain(QUERIES[0]).neighbours
