"""Which tool is forced while prompts are optimized: the best that is known, or what might be better under others."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.program.tuning.forcing import tools_to_force

OPTIONS = ("a", "b", "c", None)


def force(rule, rewards, options=OPTIONS, **settings):
    return tools_to_force(rule, rewards, [options] * len(rewards), **settings)


class TestBest:
    def test_the_best_tried_tool_is_forced(self):
        assert force("best", [{"a": 0.0, "c": 1.0}, {"b": 0.25, "c": 0.5}, {None: 0.5, "a": 0.0}]) == ["c", "c", None]

    def test_of_equals_the_routers_favourite(self):
        assert force("best", [{"c": 1.0, "b": 1.0}, {"a": 0.0, "c": 0.0, "b": 0.5}]) == ["b", "b"]

    def test_where_nothing_works_every_second_has_the_favourite_and_the_rest_is_dealt_out(self):
        """Or a prompt that makes another group of tools useful could not show it."""
        rewards = [{"a": 0.0}, {"a": 0.0, "b": 0.0}, {}, {None: 0.0}] * 6
        tools = force("best", [{"c": 1.0}, *rewards])
        assert tools[0] == "c"
        assert tools[1::2] == ["a"] * 12
        assert Counter(tools[2::2]) == {"b": 7, "c": 3, None: 2}

    def test_the_least_reward_is_what_the_metric_calls_nothing(self):
        """A metric may start at -1, and one whose least is 0.5 has shown nothing with 0.5."""
        assert force("best", [{"a": -1.0, "b": -0.5}, {"a": -1.0}, {"a": -1.0}]) == ["b", "a", "b"]
        assert force("best", [{"c": 0.5}, {"c": 0.5}]) == ["a", "b"]

    def test_the_maximum_is_no_failure_even_where_all_have_it(self):
        assert force("best", [{"c": 1.0}, {"b": 1.0}]) == ["c", "b"]
        assert force("best", [{"c": 100.0}], maximum=100) == ["c"]


class TestOther:
    def test_the_best_known_tool_is_barred_and_the_others_dealt_out(self):
        assert force("other", [{"a": 1.0, "b": 0.0}] * 4) == ["b", "c", "b", None]
        assert force("other", [{"b": 1.0, "a": 0.0}] * 2) == ["a", "c"]

    def test_where_none_is_known_the_favourite_is_barred(self):
        assert force("other", [{"c": 0.0}, {"b": 1.0}, {}]) == ["b", "c", "b"]

    def test_a_probable_tool_is_dealt_more_often_but_an_improbable_one_too(self):
        options = (None, *(f"tool {number}" for number in range(20)))
        dealt = Counter(force("other", [{None: 1.0}] * 360, options=options))
        assert dealt["tool 0"] == pytest.approx(100, abs=2)  # 360 / (1 + 1/2 + … + 1/20)
        assert dealt["tool 9"] == pytest.approx(10, abs=1)
        assert min(dealt[tool] for tool in options[1:]) >= 4

    def test_an_only_tool_stays(self):
        assert force("other", [{"a": 1.0}, {"a": 0.0}], options=("a",)) == ["a", "a"]


ROWS = st.lists(st.dictionaries(st.sampled_from(OPTIONS), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=30)


@given(ROWS, st.permutations(OPTIONS))
def test_what_is_forced_may_be_forced(rewards, options):
    """A tool that may not be run is among the options of neither rule, tried or not."""
    runnable = options[:2]
    tried = [{tool: reward for tool, reward in row.items() if tool in runnable} for row in rewards]
    for rule in ("best", "other"):
        tools = force(rule, tried, options=runnable)
        assert len(tools) == len(rewards)
        assert set(tools) <= set(runnable)


@given(ROWS)
def test_no_example_that_some_tool_solves_is_given_a_worse_one(rewards):
    for tool, row in zip(force("best", rewards), rewards, strict=True):
        if max(row.values(), default=0.0) == 1.0:
            assert row[tool] == 1.0
