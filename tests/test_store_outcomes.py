"""Rewards and labels that come later: joined by id, once, and never to what is not there."""

from __future__ import annotations

import math
import sqlite3

import pytest
from episodes import decided, episode

from dspy_router.data.log import DecisionLog


@pytest.fixture(params=["queue", "sync"])
def log(request, tmp_path):
    with DecisionLog(tmp_path / "log", mode=request.param) as log:
        log.record(episode("a", decided("add", id="id-of-a")), shadow=decided("clock", id="id-of-shadow"))
        yield log


def known(log):
    assert log.flush()
    (one,) = log.episodes()
    return one.reward, one.labels


def test_what_was_just_decided_can_be_rewarded_though_it_may_still_be_queued(log):
    log.reward("id-of-a", 0.5)
    log.label("id-of-a", None)
    assert known(log) == (0.5, ((),))


@pytest.mark.parametrize("again", [0.5, 1])
def test_a_second_reward_is_refused_unless_it_is_the_same_or_meant_to_replace(log, again):
    log.reward("id-of-a", 0.5)
    if again == 0.5:
        log.reward("id-of-a", again)
    else:
        with pytest.raises(ValueError, match=r"the reward 0.5 already, since 20.* UTC; got 1 for it as well"):
            log.reward("id-of-a", again)
        assert known(log)[0] == 0.5
        log.reward("id-of-a", again, replace=True)
    assert known(log)[0] == again


def test_a_second_label_is_refused_unless_it_is_the_same_or_meant_to_replace(log):
    log.label("id-of-a", ["add", "clock"])
    log.label("id-of-a", ["clock", "add", "clock"])
    with pytest.raises(ValueError, match=r"the label add or clock already, since .*; got no tool for it"):
        log.label("id-of-a", None)
    log.label("id-of-a", None, replace=True)
    assert known(log)[1] == ((),)


def test_of_an_unknown_id_the_nearest_or_the_last_is_named(log):
    with pytest.raises(ValueError, match=r"no decision 'id-of-b' in the log\. Did you mean 'id-of-a'"):
        log.reward("id-of-b", 1)
    with pytest.raises(ValueError, match=r"no decision '12345' in the log\. The most recent one is 'id-of-shadow'"):
        log.label("12345", "add")
    with pytest.raises(ValueError, match="named by its id, a string; got int: 7"):
        log.reward(7, 1)
    assert known(log) == (None, ())


def test_of_an_empty_log_that_is_said(tmp_path):
    with DecisionLog(tmp_path / "empty") as log, pytest.raises(ValueError, match="the log is empty"):
        log.reward("a", 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", None, 10**400])
def test_a_reward_is_a_finite_number(log, value):
    with pytest.raises(ValueError, match="A reward must be a finite number; got"):
        log.reward("id-of-a", value)
    assert known(log)[0] is None


def test_what_nobody_acted_on_earns_nothing_but_its_label_is_that_of_the_acting_one(log):
    with pytest.raises(ValueError, match="beside 'id-of-a'; nobody acted on it"):
        log.reward("id-of-shadow", 1)
    log.label("id-of-shadow", "clock")
    assert known(log) == (None, (("clock",),))


def test_a_tool_that_was_no_option_is_taken_for_a_slip(log):
    with pytest.raises(ValueError, match=r"did not choose among 'clok'\. Did you mean 'clock'"):
        log.label("id-of-a", "clok")
    with pytest.raises(ValueError, match="It had 3 tools to choose from"):
        log.label("id-of-a", "weather")
    with pytest.raises(TypeError, match="A label must be"):
        log.label("id-of-a", 3)
    log.label("id-of-a", "weather", any_tool=True)
    assert known(log)[1] == (("weather",),)


def test_a_reward_that_cannot_be_written_is_an_error(tmp_path):
    with DecisionLog(tmp_path / "log", timeout=0.05) as log:
        log.record(episode("a", decided(id="a")))
        assert log.flush()
        other = sqlite3.connect(log.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OSError, match="is locked"):
            log.reward("a", 1.0)
        other.execute("ROLLBACK")
        other.close()
