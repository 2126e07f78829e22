"""Small tools and labelled questions about them, for tests of whole programs."""

from __future__ import annotations

import dspy

from dspy_router import Router


def square_root(number: float) -> float:
    """Square root of a number."""
    return number**0.5


def count_letters(text: str) -> int:
    """Count the letters of a text."""
    return sum(character.isalpha() for character in text)


def opening_hours() -> str:
    """When the shop is open: its opening hours."""
    return "9 to 5"


TOOLS = [square_root, count_letters, opening_hours]

# Question, right tool, answer.
LABELLED = [
    ("what is the square root of 16", "square_root", "4.0"),
    ("take the root of 81 please", "square_root", "9.0"),
    ("which number squared gives 49", "square_root", "7.0"),
    ("extract the root from 25", "square_root", "5.0"),
    ("count the letters of 'abc'", "count_letters", "3"),
    ("how many letters has the word 'house'", "count_letters", "5"),
    ("letters in 'banana'", "count_letters", "6"),
    ("how long is the text 'to be'", "count_letters", "4"),
    ("when is the shop open", "opening_hours", "9 to 5"),
    ("until what hour can I come and buy", "opening_hours", "9 to 5"),
    ("are you open today", "opening_hours", "9 to 5"),
    ("when do you close the doors", "opening_hours", "9 to 5"),
    ("sing me a song", None, None),
    ("who wrote hamlet", None, None),
]


def examples() -> list[dspy.Example]:
    """The labelled questions as examples of a program."""
    return [dspy.Example(question=q, tool=tool, answer=a).with_inputs("question") for q, tool, a in LABELLED]


def small_router() -> Router:
    """A router over the tools that needs no weights from anywhere."""
    return Router.from_tools(TOOLS, encoder="hash")
