"""The trainer: it learns, the same every time, and changes nothing unless it ends well."""

from __future__ import annotations

import json

import dspy
import pytest
import torch
from routers import (
    CARDS,
    IDENTITY,
    BilinearPolicy,
    Killed,
    choices,
    hash_router,
    kill_after,
    quick,
    small,
)

from dspy_router import Episode, HashEncoder, Router, ToolCard, fit

OBJECTIVES = ["cross_entropy", "contrastive"]
NONE = [{"query": "sing me a song", "tool": None}, {"query": "tell me a joke", "tool": None}]
QUERIES = [row["query"] for row in [*IDENTITY, *NONE]]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


class TestIdentity:
    """Two tools, eight queries: whoever cannot learn this cannot learn."""

    @pytest.mark.parametrize("objective", OBJECTIVES)
    @pytest.mark.parametrize("deep_from", [1, 1000], ids=["deep", "shallow"])
    @pytest.mark.parametrize("kind", ["hash", "gru", "transformer"])
    def test_every_objective_learns_it_with_every_kind_of_encoder(self, objective, kind, deep_from):
        router = small(kind)
        untrained = sum(
            router.probabilities([row["query"]])[0, router.tools.index(row["tool"])].log() for row in IDENTITY
        )
        fit(router, IDENTITY, config=quick(objective=objective, epochs=60, deep_from=deep_from))
        assert choices(router, IDENTITY) == [row["tool"] for row in IDENTITY]
        trained = sum(
            router.probabilities([row["query"]])[0, router.tools.index(row["tool"])].log() for row in IDENTITY
        )
        assert trained > untrained + 2

    @pytest.mark.parametrize("objective", OBJECTIVES)
    def test_what_was_learned_reaches_other_queries(self, objective):
        router = hash_router()
        fit(router, IDENTITY, config=quick(objective=objective, epochs=150))
        unseen = [
            {"query": "thirty plus forty", "tool": "add_numbers"},
            {"query": "the hour, in Madrid", "tool": "clock"},
        ]
        assert choices(router, unseen) == ["add_numbers", "clock"]

    @pytest.mark.parametrize("objective", OBJECTIVES)
    def test_none_is_learned_as_an_option(self, objective):
        router = hash_router()
        fit(router, [*IDENTITY, *NONE * 3], config=quick(objective=objective, epochs=40))
        assert choices(router, NONE) == [None, None]
        assert choices(router, IDENTITY) == [row["tool"] for row in IDENTITY]

    @pytest.mark.parametrize("objective", OBJECTIVES)
    def test_any_of_several_right_tools_will_do(self, objective):
        """No push between the two that are right, away from the third and none."""
        router = hash_router([*CARDS, ToolCard("calculator", "Works out sums, plus and minus.")])
        rows = [{**row, "tool": ["add_numbers", "calculator"]} for row in IDENTITY[:4]] + IDENTITY[4:]
        fit(router, rows, config=quick(objective=objective, epochs=60))
        for row in rows[:4]:
            decision = router.decide(row["query"])
            assert decision.tool in row["tool"]
            assert decision.probabilities["add_numbers"] + decision.probabilities["calculator"] > 0.7
        assert choices(router, rows[4:]) == ["clock"] * 4


def test_eight_examples_are_enough_as_it_comes():
    """An epoch over very few examples goes over them often enough to make some steps."""
    router = hash_router()
    assert choices(router, IDENTITY) != [row["tool"] for row in IDENTITY]
    fit(router, IDENTITY)
    assert choices(router, IDENTITY) == [row["tool"] for row in IDENTITY]


def test_an_epoch_goes_over_few_examples_up_to_ten_times(monkeypatch):
    steps, step = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: steps.append(1) or step(self))
    for batch_size, expected in ((500, 10), (4, 20), (1, 80)):  # 8 examples: 10 passes of one, two, eight batches
        steps.clear()
        fit(hash_router(), IDENTITY, config=quick(epochs=1, batch_size=batch_size))
        assert len(steps) == expected


def test_rare_tools_can_be_made_to_count_alike():
    """One query, nine times of one label and once of the other: 1/10 as it is, 1/2 when balanced."""
    rows = [{"query": "ping", "tool": "add_numbers"}] * 9 + [{"query": "ping", "tool": "clock"}]

    def share(balance):
        router = hash_router()
        fit(router, rows, config=quick(epochs=100, balance=balance, smoothing=0.0, learning_rate=0.01))
        probabilities = router.decide("ping").probabilities
        return probabilities["clock"] / sum(probabilities.values())

    assert share(0.0) == pytest.approx(0.1, abs=0.1)
    assert share(1.0) == pytest.approx(0.5, abs=0.15)


class TestDeterminism:
    @pytest.mark.parametrize("kind", ["hash", "gru", "transformer"])
    def test_same_seed_same_weights(self, kind):
        prints = []
        for seed in (0, 0, 1):
            torch.manual_seed(len(prints))  # what was drawn before must not matter
            router = small(kind)
            fit(router, IDENTITY, config=quick(seed=seed, batch_size=4, deep_from=1))
            prints.append(router.fingerprint)
        assert prints[0] == prints[1] != prints[2]

    def test_it_leaves_torch_s_random_numbers_and_threads_alone(self):
        torch.set_num_threads(2)
        torch.manual_seed(7)
        expected = torch.rand(1)
        torch.manual_seed(7)
        fit(hash_router(), IDENTITY, config=quick())
        assert torch.equal(torch.rand(1), expected)
        assert torch.get_num_threads() == 2

    def test_rows_examples_and_episodes_teach_the_same(self):
        rows = [*IDENTITY, *NONE, {"query": "plus or hour", "tool": ["clock", "add_numbers"]}]
        forms = [
            rows,
            [dspy.Example(question=row["query"], tool=row["tool"]).with_inputs("question") for row in rows],
            [Episode.from_example(row) for row in rows],
            iter(rows),
        ]
        prints = set()
        for examples in forms:
            router = hash_router()
            fit(router, examples, config=quick())
            prints.add(router.fingerprint)
        assert len(prints) == 1


class TestValidation:
    def test_the_best_epoch_is_kept_and_training_stops_early(self):
        """The validation set wants the labels the other way round: whatever is learned makes it worse."""
        turned = [{**row, "tool": "clock" if row["tool"] == "add_numbers" else "add_numbers"} for row in IDENTITY]
        router = hash_router()
        report = fit(router, IDENTITY, val=turned, config=quick(epochs=50, patience=3))
        accuracies = [record.val_accuracy for record in report.epochs]
        best = max(accuracy for accuracy in accuracies if accuracy is not None)
        assert len(report.epochs) == report.best_epoch + 3 < 50
        assert accuracies[report.best_epoch - 1] == best == report.accuracy_after
        right = [choice == row["tool"] for choice, row in zip(choices(router, turned), turned, strict=True)]
        assert sum(right) / len(right) == report.accuracy_after

    @pytest.mark.parametrize("kind", ["hash", "gru"])
    def test_the_kept_weights_are_those_of_the_best_epoch(self, kind):
        """Bit for bit what a run gives that is ended right there; an epoch that only comes later leaves no trace."""
        router = small(kind)
        val = [{"query": "what is 5 plus 6", "tool": "add_numbers"}, {"query": "ping", "tool": "add_numbers"}]
        report = fit(router, IDENTITY, val=val, config=quick(epochs=12, patience=2, learning_rate=0.02))
        states = [record.val_loss for record in report.epochs]
        logs = router.probabilities([row["query"] for row in val])[:, 0].log()
        assert -logs.mean().item() == pytest.approx(states[report.best_epoch - 1], abs=1e-5)

    def test_the_report(self):
        report = fit(hash_router(), IDENTITY, val=IDENTITY, config=quick(epochs=30, patience=30))
        assert report.accuracy_before is not None and report.accuracy_before < 1.0 == report.accuracy_after
        assert [record.epoch for record in report.epochs] == list(range(1, len(report.epochs) + 1))
        assert report.epochs[-1].loss < report.epochs[0].loss
        assert (report.examples, report.resumed_from) == (8, 0)
        assert json.loads(json.dumps(report.to_dict()))["epochs"][0]["epoch"] == 1

    def test_without_a_validation_set_the_last_epoch_counts(self):
        report = fit(hash_router(), IDENTITY, config=quick(epochs=7, patience=1))
        assert (len(report.epochs), report.best_epoch) == (7, 7)
        assert (report.accuracy_before, report.accuracy_after) == (None, None)

    def test_validation_does_not_teach(self):
        plain = fit(hash_router(), IDENTITY, config=quick())
        watched = fit(hash_router(), IDENTITY, val=NONE, config=quick(patience=9))
        assert [record.loss for record in watched.epochs] == [record.loss for record in plain.epochs]


class TestHarm:
    """Whatever ends a run early leaves the router as it was."""

    def test_an_interrupt(self, monkeypatch, tmp_path):
        router = hash_router()
        before, decision = router.fingerprint, router.decide("seven plus twelve")
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_after(patch, 2)
            fit(router, IDENTITY, config=quick(checkpoint=str(tmp_path)))
        assert router.fingerprint == before
        assert router.decide("seven plus twelve") == decision
        assert router.memory is None

    def test_a_diverging_loss(self):
        class Steep(BilinearPolicy):
            def forward(self, states, tools, allowed=None):
                return super().forward(states, tools, allowed).exp()

        router = Router.from_tools(CARDS, encoder=HashEncoder(64), policy=Steep(64))
        before = router.fingerprint
        with pytest.raises(FloatingPointError, match=r"diverged in epoch \d+: the loss is (nan|inf).*than 10\b"):
            fit(router, IDENTITY, config=quick(epochs=50, learning_rate=10, batch_size=2))
        assert router.fingerprint == before
        assert router.decide("the sum of two numbers").tool == "add_numbers"

    def test_weights_that_were_no_numbers_before(self):
        router = hash_router()
        with torch.no_grad():
            router.policy.word_weight.fill_(float("nan"))  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(FloatingPointError, match="the loss is nan"):
            fit(router, IDENTITY, config=quick())


class TestBadInput:
    @pytest.mark.parametrize(
        ("examples", "message"),
        [
            ([], "The training set is empty"),
            (IDENTITY[:4], r"All 4 training examples have the same label \(add_numbers\)"),
            (IDENTITY[:1], "All 1 training examples have the same label"),
            (NONE, r"have the same label \(none\)"),
            ([*IDENTITY, {"query": "x", "tool": "clok"}], r"Example 9 .*'clok'.*Did you mean 'clock'\?"),
            ([*IDENTITY, {"query": "what now"}], r"Example 9 .* has no label.*'what now'"),
            ([*IDENTITY, {"query": " ", "tool": "clock"}], "must not be empty"),
        ],
    )
    @pytest.mark.parametrize("kind", ["hash", "gru"])
    def test_examples_that_cannot_teach(self, kind, examples, message):
        router = small(kind)
        before = router.fingerprint
        with pytest.raises(ValueError, match=message):
            fit(router, examples, config=quick())
        assert router.fingerprint == before

    def test_an_empty_validation_set(self):
        with pytest.raises(ValueError, match="The validation set is empty"):
            fit(hash_router(), IDENTITY, val=[], config=quick())

    def test_what_is_no_example(self):
        with pytest.raises(TypeError, match="An example must be a mapping"):
            fit(hash_router(), [*IDENTITY, ("what hour", "clock")], config=quick())


def test_training_again_on_more_tools():
    router = hash_router()
    fit(router, IDENTITY, config=quick(epochs=30))
    router.add_tools([ToolCard("weather", "Will it rain?")])
    rows = [*IDENTITY, *({"query": f"umbrella on day {i}", "tool": "weather"} for i in range(4))]
    fit(router, rows, config=quick(epochs=30))
    assert choices(router, rows) == [row["tool"] for row in rows]


def test_one_row_a_batch():
    report = fit(hash_router(), IDENTITY, config=quick(batch_size=1, epochs=2))
    assert all(record.loss > 0 for record in report.epochs)


def test_a_batch_larger_than_the_set():
    router = hash_router()
    fit(router, IDENTITY, config=quick(batch_size=500, epochs=60))
    assert choices(router, IDENTITY) == [row["tool"] for row in IDENTITY]
