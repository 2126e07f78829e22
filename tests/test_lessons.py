"""Lessons: labels, rewards and logged choices as columns, in whatever form they come."""

from __future__ import annotations

import json
from math import inf, nan

import numpy as np
import pytest
import torch

from dspy_router import Episode
from dspy_router.learning.lessons import Lessons

TOOLS = ("add", "clock", "units")
ROWS = [
    {"query": "2 + 3", "tool": "add"},
    {"query": "3 miles", "tool": ["units", "add"]},
    {"query": "sing", "tool": None},
    {"query": "hum", "tool": []},
]
REWARDED = [
    {"query": "2 + 3", "rewards": {"add": 1, "clock": 0.25}},
    {"query": "3 miles", "rewards": [["units", 0.9], [None, 0.9]]},
    {"query": "4 miles", "rewards": {"add": 0.1, "clock": 0.2}},
    {"query": "sing", "rewards": {None: 0.75}},
]
LOGGED = [
    {"query": "2 + 3", "action": "add", "reward": 1.0, "propensity": 0.5},
    {"query": "3 miles", "action": None, "reward": -1, "propensity": 0.125},
    {"query": "noon", "action": "clock", "reward": 0.5},
]


def known(rewards: torch.Tensor) -> list[list[float | None]]:
    """Rewards as a table, None where a tool was not tried."""
    return [[None if value != value else round(value, 6) for value in row] for row in rewards.tolist()]


class TestReading:
    def test_labels_become_columns(self):
        data = Lessons.read(ROWS, TOOLS)
        assert data.texts == ["2 + 3", "3 miles", "sing", "hum"]
        assert data.right.int().tolist() == [[1, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
        assert data.labelled.all() and not data.rewarded.any() and not data.logged.any()
        assert len(data) == 4

    def test_rewards_become_columns(self):
        data = Lessons.read(REWARDED, TOOLS)
        assert known(data.rewards) == [
            [1, 0.25, None, None],
            [None, None, 0.9, 0.9],
            [0.1, 0.2, None, None],
            [None, None, None, 0.75],
        ]
        assert data.rewarded.all() and not data.labelled.any() and not data.logged.any()

    def test_logged_choices_become_rewards_of_one_option(self):
        data = Lessons.read(LOGGED, TOOLS)
        assert known(data.rewards) == [[1, None, None, None], [None, None, None, -1], [None, 0.5, None, None]]
        assert data.actions.tolist() == [0, 3, 1]
        assert data.propensities.tolist() == [0.5, 0.125, 1]  # without a word, the choice was no draw
        assert data.logged.all() and data.rewarded.all()

    def test_each_row_may_know_something_else(self):
        data = Lessons.read([ROWS[0], REWARDED[0], LOGGED[0], {**ROWS[0], **LOGGED[0], **REWARDED[1]}], TOOLS)
        assert data.labelled.tolist() == [True, False, False, True]
        assert data.rewarded.tolist() == [False, True, True, True]
        assert data.logged.tolist() == [False, False, True, True]
        assert known(data.rewards)[3] == [1, None, 0.9, 0.9]

    def test_a_logged_choice_without_a_reward_teaches_nothing(self):
        """It was made, but what it earned is not known yet; the label still counts."""
        data = Lessons.read([{"query": "noon", "tool": "clock", "action": "add", "propensity": 0.5}], TOOLS)
        assert data.labelled.all() and not data.rewarded.any() and not data.logged.any()

    def test_rows_and_episodes_read_alike(self):
        rows = [*ROWS, *REWARDED, *LOGGED]
        read, episodes = Lessons.read(rows, TOOLS), Lessons.read(map(Episode.from_example, rows), TOOLS)
        assert read.to_dict() == episodes.to_dict()

    def test_an_example_may_be_bare_where_something_else_teaches(self):
        data = Lessons.read([{"query": "noon"}], TOOLS, bare=True)
        assert not data.labelled.any() and not data.rewarded.any()

    @pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), torch.tensor(0.5), np.array(0.5)], ids=repr)
    def test_a_metric_may_compute_with_arrays(self, number):
        data = Lessons.read([{"query": "x", "rewards": {"add": number, "clock": np.bool_(True), "units": True}}], TOOLS)
        assert known(data.rewards) == [[0.5, 1, 1, None]]


class TestBadInput:
    def test_the_empty_set_is_called_by_its_name(self):
        with pytest.raises(ValueError, match="The validation set is empty: expected at least one example"):
            Lessons.read([], TOOLS, what="validation set")

    @pytest.mark.parametrize(
        "row",
        [
            {"query": "3 miles", "tool": ["add", "unit"]},
            {"query": "3 miles", "rewards": {"add": 0, "unit": 1}},
            {"query": "3 miles", "action": "unit", "reward": 1, "propensity": 0.5},
        ],
        ids=["label", "rewards", "action"],
    )
    def test_an_unknown_tool_is_named_with_its_place_and_the_nearest(self, row):
        with pytest.raises(ValueError, match=r"Example 2 .* names 'unit', .* 3 tools\. Did you mean 'units'\?"):
            Lessons.read([ROWS[0], row], TOOLS)

    @pytest.mark.parametrize(
        "row",
        [
            {},
            {"rewards": {}},
            {"action": "add"},  # nobody says what came of it
            {"action": "add", "reward": None, "propensity": 0.5},
            {"reward": 1.0},  # nobody says of what
        ],
        ids=str,
    )
    def test_neither_label_nor_reward_is_told_with_the_text_and_what_was_expected(self, row):
        with pytest.raises(
            ValueError, match=r"Example 2 .* has no label, and no reward: .*'tool'.*'rewards'.*'3 miles'"
        ):
            Lessons.read([ROWS[0], {"query": "3 miles", **row}], TOOLS)

    @pytest.mark.parametrize("reward", [nan, inf, "0.5", "high", [1]], ids=repr)
    def test_a_reward_is_a_finite_number(self, reward):
        message = r"Example 2 of the training set: the reward of 'clock' must be a finite number, got "
        with pytest.raises(ValueError, match=message):
            Lessons.read([ROWS[0], {"query": "noon", "rewards": {"add": 0.0, "clock": reward}}], TOOLS)
        with pytest.raises(ValueError, match=message):
            Lessons.read([ROWS[0], {"query": "noon", "action": "clock", "reward": reward}], TOOLS)

    def test_a_tool_without_a_reward_was_not_tried(self):
        """As tables have it, with a column for every tool."""
        row = {"query": "noon", "rewards": {"add": 0.0, "clock": None}}
        assert Lessons.read([row], TOOLS).rewards.isfinite().tolist() == [[True, False, False, False]]

    @pytest.mark.parametrize("propensity", [0, 0.0, -0.5, 1.5, nan, inf, "0.5", None], ids=repr)
    def test_a_propensity_is_a_probability_that_is_not_zero(self, propensity):
        row = {"query": "noon", "action": "clock", "reward": 1, "propensity": propensity}
        with pytest.raises(ValueError, match=r"Example 1 .*the propensity must be a probability in \(0, 1\], got "):
            Lessons.read([row], TOOLS)

    def test_a_text_of_nothing(self):
        with pytest.raises(ValueError, match="Example 5 of the training set must not be empty"):
            Lessons.read([*ROWS, {"query": " \n", "rewards": {"add": 1}}], TOOLS)


class TestWhatIsRight:
    def test_the_best_of_the_tried(self):
        """Rewards from 0.1 to 1, the middle is 0.55: ties are all right, and two failures leave nothing known."""
        data = Lessons.read(REWARDED, TOOLS)
        assert data.reward_range == pytest.approx((0.1, 1))
        assert data.best.int().tolist() == [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]]
        assert data.names(TOOLS) == [("add",), ("units",), None, ()]

    def test_a_label_is_believed_before_a_reward(self):
        data = Lessons.read([{**ROWS[0], "rewards": {"add": 0, "clock": 1}}], TOOLS)
        assert data.names(TOOLS) == [("add",)]

    def test_labels_alone(self):
        data = Lessons.read(ROWS, TOOLS)
        assert data.names(TOOLS) == [("add",), ("add", "units"), (), ()]
        assert data.reward_range == (0, 1)

    def test_nothing_is_known_of_bare_examples(self):
        assert Lessons.read([{"query": "noon"}], TOOLS, bare=True).names(TOOLS) == [None]

    def test_negative_rewards_have_a_middle_too(self):
        rows = [{"query": "a", "rewards": {"add": -10, "clock": -4}}, {"query": "b", "rewards": {"units": -9}}]
        assert Lessons.read(rows, TOOLS).names(TOOLS) == [("clock",), None]


class TestContrast:
    """What would teach nothing is refused, and what teaches something is not."""

    def test_one_label(self):
        for rows, name in ((ROWS[:1] * 3, "add"), (ROWS[2:], "none")):
            with pytest.raises(ValueError, match=rf"All \d training examples have the same label \({name}\)"):
                Lessons.read(rows, TOOLS).check_contrast(TOOLS)

    @pytest.mark.parametrize("reward", [0, 1, -2.5])
    def test_one_reward(self, reward):
        rows = [{"query": "a", "rewards": {"add": reward, "clock": reward}}, {"query": "b", "rewards": {None: reward}}]
        with pytest.raises(ValueError, match=rf"All 3 rewards of the training set are {reward:g}: .*nothing to learn"):
            Lessons.read(rows, TOOLS).check_contrast(TOOLS)

    def test_a_constant_log(self):
        with pytest.raises(ValueError, match="All 2 rewards of the training set are 1"):
            Lessons.read(LOGGED[:1] * 2, TOOLS).check_contrast(TOOLS)

    @pytest.mark.parametrize(
        "rows",
        [
            ROWS,
            REWARDED,
            LOGGED,
            [*ROWS[:1] * 2, REWARDED[0]],  # one label, and rewards that differ
            [*ROWS, {"query": "x", "rewards": {"add": 0}}],  # labels that differ, and one reward
        ],
        ids=["labels", "rewards", "log", "one label, rewards", "labels, one reward"],
    )
    def test_something_to_tell_apart(self, rows):
        Lessons.read(rows, TOOLS).check_contrast(TOOLS)


def test_a_selection_keeps_all_that_is_known():
    rows = [*ROWS, *REWARDED, *LOGGED]
    some = Lessons.read(rows, TOOLS).select(torch.tensor([9, 1, 4]))
    assert some.to_dict() == Lessons.read([rows[9], rows[1], rows[4]], TOOLS).to_dict()


def test_as_a_dict_it_is_json_and_tells_all_that_is_known_apart():
    """A checkpoint of another run is told by this dict: no two different sets may give the same."""
    changed = [
        [],
        [("tool", "clock")],
        [("rewards", {"add": 0.5})],
        [("rewards", {"clock": 0.5})],
        [("action", "add"), ("reward", 0.5)],
        [("action", "add"), ("reward", 0.5), ("propensity", 0.5)],
        [("query", "4 + 5")],
    ]
    dicts = [Lessons.read([{**ROWS[0], **dict(change)}], TOOLS).to_dict() for change in changed]
    assert len({json.dumps(one, allow_nan=False) for one in dicts}) == len(changed)
