"""Counting in a text, and writing it differently."""

import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

Countable = Literal["word", "character", "letter", "digit", "vowel", "consonant", "space", "sentence", "capital letter"]

# Several names for one style, because people use all of them.
Style = Literal[
    "uppercase", "upper case", "all caps", "capitals", "lowercase", "lower case", "title case", "capitalized",
    "snake case", "kebab case", "camel case", "camelCase",
    "reverse", "reversed", "backwards", "sorted", "alphabetical order", "without spaces", "without vowels", "trimmed",
]  # fmt: skip

QuotedText = Annotated[str, Field(description="the text itself, given in quotes")]

_COUNTERS: dict[str, Callable[[str], int]] = {
    "word": lambda text: len(re.findall(r"[\w'’-]*\w[\w'’-]*", text)),
    "character": len,
    "letter": lambda text: sum(map(str.isalpha, text)),
    "digit": lambda text: sum(map(str.isdigit, text)),
    "vowel": lambda text: len(re.findall(r"[aeiou]", text.lower())),
    "consonant": lambda text: len(re.findall(r"[b-df-hj-np-tv-z]", text.lower())),
    "space": lambda text: text.count(" "),
    "sentence": lambda text: len(re.findall(r"[^.!?…]*\w[^.!?…]*", text)),
    "capital letter": lambda text: sum(map(str.isupper, text)),
}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", text))


def _camel(text: str) -> str:
    first, *rest = [word.lower() for word in _words(text)] or [""]
    return first + "".join(map(str.capitalize, rest))


def _snake(text: str) -> str:
    return "_".join(word.lower() for word in _words(text))


def _kebab(text: str) -> str:
    return "-".join(word.lower() for word in _words(text))


def _title(text: str) -> str:
    # str.title would write "It'S": only the first letter of each word is raised.
    return re.sub(r"[^\W\d_][\w'’]*", lambda word: word[0][0].upper() + word[0][1:].lower(), text)


def _reverse(text: str) -> str:
    return text[::-1]


def _sort_words(text: str) -> str:
    return " ".join(sorted(_words(text), key=str.casefold))


_STYLES: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(("uppercase", "upper case", "all caps", "capitals"), str.upper),
    **dict.fromkeys(("lowercase", "lower case"), str.lower),
    **dict.fromkeys(("title case", "capitalized"), _title),
    "snake case": _snake,
    "kebab case": _kebab,
    **dict.fromkeys(("camel case", "camelCase"), _camel),
    **dict.fromkeys(("reverse", "reversed", "backwards"), _reverse),
    **dict.fromkeys(("sorted", "alphabetical order"), _sort_words),
    "without spaces": lambda text: re.sub(r"\s+", "", text),
    "without vowels": lambda text: re.sub(r"[aeiouAEIOU]", "", text),
    "trimmed": lambda text: " ".join(text.split()),
}


def count_text(text: QuotedText, what: Annotated[Countable, Field(description="what to count")]) -> int:
    """Count the words, characters, letters, vowels, digits or sentences of a quoted text."""
    if what not in _COUNTERS:
        raise ValueError(f"Cannot count {what!r:.40}; expected one of {', '.join(_COUNTERS)}.")
    return _COUNTERS[what](text)


def transform_text(text: QuotedText, style: Annotated[Style, Field(description="how to write it")]) -> str:
    """Rewrite a quoted text in uppercase, lowercase, title, snake or camel case, reversed, sorted or without spaces."""
    if style not in _STYLES:
        raise ValueError(f"Cannot write a text {style!r:.40}; expected one of {', '.join(_STYLES)}.")
    return _STYLES[style](text)
