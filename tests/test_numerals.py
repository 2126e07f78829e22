"""Numbers in a text: what is read as one, and what is left unread because it has more than one reading."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.program.filling.numerals import numbers


def read(text, units=()):
    return [mention.value for mention in numbers(text, units)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("16", [16]),
        ("is it 16?", [16]),
        ("1,234.5 and 1,234,567", [1234.5, 1234567]),
        ("from -3 to −4", [-3, -4]),
        (".5 or 0.5", [0.5, 0.5]),
        ("6.02e23 2E-3", [6.02e23, 2e-3]),
        ("$20, €5 or 7 £", [20, 5, 7]),
        ("20km at 5°C", [20, 5]),
        ("the 100th prime", [100]),
        ("base-10", [10]),
        ("1,2,3", [1, 2, 3]),
        ("1.5,2.5", [1.5, 2.5]),
        ("x=3,y=4", [3, 4]),
        ("twelve", [12]),
        ("Twenty-one or twenty two", [21, 22]),
        ("a dozen, two dozen", [12, 24]),
        ("2.5 million, three thousand, a hundred", [2500000, 3000, 100]),
        ("two and three", [2, 3]),
        ("one mile", [1]),
    ],
)
def test_reads_numbers_in_digits_and_words(text, values):
    assert read(text) == values


@pytest.mark.parametrize("text", ["covid19", "mp3", "which one?", "that one", "one of them", "no number", "someone"])
def test_a_word_is_no_number(text):
    assert read(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "1/2",
        "3^2",
        "3*4",
        "3 + 4",
        "10 - 4",
        "1-10",
        "1,5",
        "5k",
        "3M",
        "0x1F",
        "3x4",
        "1.2.3",
        "half a mile",
        "3½",
        "two hundred and five",
        "one two three",
        "the median one?",
        "one is able to",
        "9" * 5000,
        "1e999",
    ],
)
def test_what_has_several_readings_is_left_unread(text):
    assert any(not mention.readable for mention in numbers(text))


def test_a_unit_of_the_tool_is_no_magnitude():
    assert read("5K", units={"K"}) == [5]
    assert read("5K") == [None]


def test_a_percentage_is_marked():
    assert [(m.value, m.percent) for m in numbers("12% of 30, five percent")] == [(12, True), (30, False), (5, True)]


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "give me {}.", "({})", "{}, please", "n: {}"]))
def test_every_whole_number_is_read_back(number, template):
    assert read(template.format(number)) == [number]
    if abs(number) >= 1000:
        assert read(template.format(f"{number:,}")) == [number]


@given(st.floats(0, 1e9, allow_nan=False).map(lambda x: round(x, 3)))
def test_every_decimal_number_is_read_back(number):
    assert read(f"about {number:.3f} of it") == [number]
