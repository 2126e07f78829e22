"""Literals in a text: dates, times, quotations and the like; two readings are never settled by a guess."""

from __future__ import annotations

import time
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.program.filling.mentions import FINDERS, Mention, booleans, date_times, dates, outermost, quoted, times


def values(mentions):
    return [mention.value for mention in mentions]


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-12",
        "on 12 March 2024.",
        "12th of March, 2024",
        "the 12 Mar 2024",
        "March 12, 2024",
        "March 12th 2024",
        "Tuesday, 12 March 2024",
        "12-Mar-2024",
        "2024/03/12",
        "2024-3-12",
    ],
)
def test_a_date_is_read_however_it_is_written(text):
    assert values(dates(text)) == ["2024-03-12"]


def test_a_numeric_date_is_read_where_only_one_order_makes_sense():
    assert values(dates("25/12/2024")) == ["2024-12-25"]
    assert values(dates("12/25/2024")) == ["2024-12-25"]
    assert values(dates("03/03/2024")) == ["2024-03-03"]


@pytest.mark.parametrize(
    "text",
    [
        "03/04/2024",
        "03.04.2024",
        "1/2/24",
        "2024-02-30",
        "12 March",
        "March 12",
        "March 2024",
        "in March",
        "today",
        "next Friday",
        "three days ago",
        "last month",
    ],
)
def test_an_open_or_impossible_date_is_seen_but_not_read(text):
    assert [mention.readable for mention in dates(text)] == [False]


def test_a_verb_is_no_month():
    assert dates("they march on, as they may") == []


@given(
    st.dates(date(1000, 1, 1), date(9999, 12, 31)), st.sampled_from(["%Y-%m-%d", "%d %B %Y", "%B %d, %Y", "%d %b %Y"])
)
def test_every_date_is_read_back(day, template):
    assert values(dates(f"what was on {day.strftime(template)}?")) == [day.isoformat()]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("at 14:30", "14:30:00"),
        ("09:05", "09:05:00"),
        ("9:30 am", "09:30:00"),
        ("9:30PM", "21:30:00"),
        ("3 p.m.", "15:00:00"),
        ("12 am", "00:00:00"),
        ("12pm", "12:00:00"),
        ("noon", "12:00:00"),
        ("14:30:15", "14:30:15"),
    ],
)
def test_a_time_is_read(text, value):
    assert values(times(text)) == [value]


@pytest.mark.parametrize("text", ["9:30", "12:15", "25:00", "13 pm", "3 o'clock", "half past nine"])
def test_a_time_that_may_be_morning_or_evening_is_left_unread(text):
    assert [mention.readable for mention in times(text)] == [False]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-03-12T14:30:00Z", "2024-03-12T14:30:00Z"),
        ("2024-03-12 14:30+02:00", "2024-03-12T14:30:00+02:00"),
        ("on 12 March 2024 at 3 pm", "2024-03-12T15:00:00"),
        ("3 pm on March 12, 2024", "2024-03-12T15:00:00"),
        ("2024-03-12 14:30 UTC", "2024-03-12T14:30:00Z"),
    ],
)
def test_a_date_and_a_time_make_a_point_in_time(text, value):
    assert values(date_times(text)) == [value]


@pytest.mark.parametrize(
    "text", ["2024-03-12", "14:30", "2024-03-12 9:30", "2024-03-12 14:30 EST", "tomorrow at 14:30"]
)
def test_half_a_point_in_time_is_left_unread(text):
    assert any(not mention.readable for mention in date_times(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('say "hello there"', "hello there"),
        ("say 'hello there'", "hello there"),
        ("say “hello” now", "hello"),
        ("run `a b`", "a b"),
        ("say 'it's fine'", "it's fine"),
        ('""', ""),
    ],
)
def test_a_quotation_is_read(text, value):
    assert values(quoted(text)) == [value]


def test_an_apostrophe_quotes_nothing():
    assert quoted("what's the dogs' and John's food") == []


def test_yes_and_no_are_weak():
    assert [(m.value, m.weak) for m in booleans("true or False, on and no")] == [
        (True, False),
        (False, False),
        (True, True),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("email", "mail ann.b@example.org.", "ann.b@example.org"),
        ("uri", "open https://example.org/a?b=1, please", "https://example.org/a?b=1"),
        ("uuid", "id 123e4567-e89b-12d3-a456-426614174000!", "123e4567-e89b-12d3-a456-426614174000"),
        ("ipv4", "ping 192.168.0.1.", "192.168.0.1"),
    ],
)
def test_literals_of_a_format_end_before_the_punctuation(kind, text, value):
    assert values(FINDERS[kind](text)) == [value]


def test_of_nested_mentions_the_longest_stays():
    outer, inner, after, across = Mention(0, 9), Mention(2, 5), Mention(10, 12), Mention(8, 11)
    assert outermost([inner, after, outer, Mention(0, 9, "again"), across]) == [outer, across, after]


@pytest.mark.parametrize(
    "text",
    [
        "a-" * 50_000,
        "“" * 100_000,
        " 'a" * 33_000,
        "a@" * 50_000,
        "12 March " * 11_000,
        "9" * 100_000,
        "x@" + "y." * 50_000,
    ],
)
@pytest.mark.parametrize("kind", sorted(FINDERS))
def test_a_hundred_kilobytes_take_no_more_than_a_moment(kind, text):
    started = time.perf_counter()
    FINDERS[kind](text)
    assert (
        time.perf_counter() - started < 5
    )  # a pattern that goes back over the text takes a quarter of a minute and more
