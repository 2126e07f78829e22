"""Finds the numbers in a text, in digits and in words."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import replace
from itertools import pairwise

from dspy_router.program.filling.mentions import Mention, outermost

_SMALL_WORDS = (
    "zero one two three four five six seven eight nine ten "
    "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: number for number, word in enumerate(_SMALL_WORDS.split())}
_TENS = {word: 10 * number for number, word in enumerate(_TENS_WORDS.split(), 2)}
_MULTIPLES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12}
_MULTIPLE = rf"(?P<multiple>{'|'.join(_MULTIPLES)})s?"

_DIGITS = re.compile(
    r"(?P<sign>(?<![\w)\].])[-−])?(?<![\w.])(?P<whole>\d{1,3}(?:,\d{3})+(?!,?\d)|\d+|(?=\.\d))(?P<fraction>\.\d+)?"
    rf"(?P<exponent>[eE][-+]?\d+(?!\w))?(?P<suffix>[A-Za-zµ°]+(?![\w]))?(?:\s+{_MULTIPLE}\b)?",
)
_WORDS = re.compile(
    rf"\b(?P<small>{'|'.join(_SMALL)}|(?P<tens>{'|'.join(_TENS)})(?:[-\s](?P<unit>{'|'.join(list(_SMALL)[1:10])}))?"
    rf"|an?(?=\s+(?:{'|'.join(_MULTIPLES)})))\b(?:\s+{_MULTIPLE}\b)?",
    re.IGNORECASE,
)
# "that one", "one of them": the word stands for a thing. Before a thing's name it is a number; elsewhere who knows.
_ONE_BEFORE = re.compile(r"\b(which|that|this|the|each|any|every|no|another|last|next|other|some)\s+$", re.IGNORECASE)
_ONE_AFTER = re.compile(r"\s+(of|another)\b", re.IGNORECASE)
_THING_AFTER = re.compile(
    r"[\s-]+(?!(?:a|an|and|are|as|at|by|can|do|for|from|has|i|in|is|it|may|on|or|should|that|the|to|was|will|with|you)\b)[a-z]",
    re.IGNORECASE,
)
_MAGNITUDES = frozenset({"k", "K", "M", "B", "bn", "mn", "T"})
_PERCENT = re.compile(r"\s?(%|percent\b|per cent\b|pct\b)", re.IGNORECASE)
# What follows or surrounds a number and makes it part of something longer: a fraction, a range, a formula, a version.
_JOINED = re.compile(r"(?:[-–−*×÷/+^]|\s+[-–−+]\s+|\s*[*×÷/^]\s*)(?=[-−(]?\.?\d)|\.\d|\w")
_DECIMAL_COMMA = re.compile(r"(?<![\w,.])(?!\d{1,3},\d{3}\b)\d+,\d+(?!\d|[,.]\d)")  # 1,5: one number or two?
_LONGEST_LITERAL = 300  # digits; no tool means longer ones
_FRACTIONS = re.compile(r"\bhalf\b|[¼½¾⅐-⅞]|\band a quarter\b", re.IGNORECASE)
_AND_MORE = re.compile(r"[\s-]+(and\s+)?$", re.IGNORECASE)


def numbers(text: str, units: Collection[str] = ()) -> list[Mention]:
    """Numbers in digits or words: `1,234.5`, `-3`, `20km`, `12%`, `2 million`, `twenty-one`, `a dozen`.

    Args:
        text: Where to look.
        units: Words that are units here, so that `5K` may be five kelvin where it is else five thousand or five kelvin.
    """
    found = [_digits(match, text, units) for match in _DIGITS.finditer(text) if match["whole"] or match["fraction"]]
    found += [mention for match in _WORDS.finditer(text) if (mention := _words(match, text))]
    for pattern in (_FRACTIONS, _DECIMAL_COMMA):
        found += [Mention(match.start(), match.end(), readable=False) for match in pattern.finditer(text)]
    found = outermost(found)
    for index, (left, right) in enumerate(pairwise(found)):
        # "two hundred and five" is one number, but which words belong to it is no longer plain: leave it unread.
        between = text[left.end : right.start]
        words = text[left.end - 1].isalpha() and text[right.start].isalpha()
        multiple = re.search(_MULTIPLE + "$", text[left.start : left.end], re.IGNORECASE)
        if words and (between.strip("- ") == "" or (multiple and _AND_MORE.fullmatch(between))):
            found[index] = replace(left, readable=False, value=None)
    return found


def _digits(match: re.Match[str], text: str, units: Collection[str]) -> Mention:
    end = match.end()
    suffix, multiple = match["suffix"], match["multiple"]
    readable = not _JOINED.match(text, match.end("suffix") if suffix else end)
    if suffix and suffix not in units and (suffix in _MAGNITUDES or multiple):
        readable = False
    if not suffix and not multiple and re.match(r"[A-Za-z_]", text[end : end + 1]):
        readable = False  # 0x1F, 3x4
    percent = _PERCENT.match(text, end)
    literal = (match["whole"] or "0").replace(",", "") + (match["fraction"] or "") + (match["exponent"] or "")
    value: float = float(literal)
    readable = readable and math.isfinite(value) and len(literal) < _LONGEST_LITERAL
    if readable and not (match["fraction"] or match["exponent"]):
        value = int(literal)
    value = -value if match["sign"] else value
    if multiple:
        value = _tidy(value * _MULTIPLES[multiple.lower()])
    # A unit stuck to the number is a word of its own.
    end = percent.end() if percent else match.start("suffix") if suffix else end
    grouped = "," in (match["whole"] or "")
    return Mention(match.start(), end, value if readable else None, readable, percent=bool(percent), grouped=grouped)


def _words(match: re.Match[str], text: str) -> Mention | None:
    small, multiple = match["small"].lower(), match["multiple"]
    if small == "one" and (
        _ONE_BEFORE.search(text, max(0, match.start() - 12), match.start()) or _ONE_AFTER.match(text, match.end())
    ):
        return None
    if small == "one" and not multiple and not _THING_AFTER.match(text, match.end()):
        return Mention(match.start(), match.end(), readable=False)
    if match["tens"]:
        value = _TENS[match["tens"].lower()] + (_SMALL[match["unit"].lower()] if match["unit"] else 0)
    else:
        value = _SMALL.get(small, 1)
    if multiple:
        value *= _MULTIPLES[multiple.lower()]
    percent = _PERCENT.match(text, match.end())
    return Mention(match.start(), percent.end() if percent else match.end(), value, percent=bool(percent))


def _tidy(value: float) -> float:
    return int(value) if isinstance(value, float) and value.is_integer() else value
