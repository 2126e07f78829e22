"""Finds the literals that a text spells out: dates, times, quoted strings and their like.

A literal that can be read in two ways (`03/04/2024`, `9:30` without am or pm, `1/2`, `next Friday`) is found as well,
but marked unreadable: whoever fills a call must know that something was said there, and must not guess what.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, time
from typing import Any


@dataclass(frozen=True)
class Mention:
    """One literal in a text.

    Attributes:
        start: Where it begins, as an index into the text.
        end: Where it ends, exclusive.
        value: What it means, ready for JSON; None where it cannot be read.
        readable: False if it has several readings, or none.
        percent: A number written as a percentage; `value` is the number before the sign.
        grouped: A number with commas between its thousands, which among other numbers might be a list.
        weak: A word that is a literal only in the right place (`on`, `no`, the unit `in`).
    """

    start: int
    end: int
    value: Any = None
    readable: bool = True
    percent: bool = False
    grouped: bool = False
    weak: bool = False


# --- dates and times -------------------------------------------------------------------------------------

_MONTH_NAMES = "January February March April May June July August September October November December"
_MONTHS = _MONTH_NAMES.split()
_MONTH_NUMBER = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}
_MONTH_NUMBER |= {name[:3].lower(): number for number, name in enumerate(_MONTHS, 1)} | {"sept": 9}
_MONTH = rf"(?P<month>(?:{'|'.join(_MONTHS)})\b|(?:{'|'.join(name[:3] for name in _MONTHS)}|Sept)\b\.?)"
_WEEKDAY = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_OF_WEEKDAY = rf"(?:\b{_WEEKDAY},?\s+)?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})(?!\d)"
_ISO_DATE = re.compile(r"(?<![\w-])(\d{4})-(\d{1,2})-(\d{1,2})(?![\d-])")
_NUMERIC_DATE = re.compile(r"(?<![\w/.-])(\d{1,4})([/.-])(\d{1,2})\2(\d{1,4})(?![\w/-])")
_WRITTEN_DATES = (
    re.compile(rf"{_OF_WEEKDAY}(?:the\s+)?(?<!\w){_DAY}(?:\s+of)?[\s-]+{_MONTH},?[\s-]+{_YEAR}", re.IGNORECASE),
    re.compile(rf"{_OF_WEEKDAY}\b{_MONTH}\s+(?:the\s+)?{_DAY},?\s+{_YEAR}", re.IGNORECASE),
)
_DAY_AND_MONTH = (
    re.compile(rf"(?<!\w){_DAY}(?:\s+of)?[\s-]+{_MONTH}", re.IGNORECASE),
    re.compile(rf"\b{_MONTH}\s+(?:the\s+)?{_DAY}\b", re.IGNORECASE),
)
_OPEN_DATES = (
    *_DAY_AND_MONTH,
    re.compile(rf"\b{_MONTH},?\s+{_YEAR}", re.IGNORECASE),
    re.compile(rf"\b{_MONTH}"),  # with its capital letter only: one may march
    re.compile(r"\b(?:today|tomorrow|yesterday|tonight)\b|\b\w+\s+ago\b", re.IGNORECASE),
    re.compile(r"\b(?:next|last|this|past|coming) (?:week|month|year)\b", re.IGNORECASE),
    re.compile(rf"\b(?:next|last|this|on|by|until|since) {_WEEKDAY}\b(?!,|\s+(?:the\s+)?\d)", re.IGNORECASE),
)
_HALF = r"(?P<half>[ap])\.?m\b\.?"
_CLOCK = re.compile(
    r"(?:(?<![\w:.])|(?<=\dT))(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:\.\d+)?))?(?![\d:])"
    rf"(?:\s*{_HALF})?",
    re.IGNORECASE,
)
_HOUR = re.compile(rf"(?<![\w:.])(?P<hour>\d{{1,2}})\s*{_HALF}", re.IGNORECASE)
_NAMED_TIME = re.compile(r"\b(?P<noon>noon|midday)\b|\bmidnight\b", re.IGNORECASE)
_OPEN_TIME = re.compile(r"\b\w+\s+o['’]?clock\b|\b(?:half|quarter) (?:past|to)\s+\w+", re.IGNORECASE)
_AFTER_DATE = re.compile(r"(?:T|,?\s+(?:at\s+)?)", re.IGNORECASE)
_BEFORE_DATE = re.compile(r",?\s+(?:on\s+)?", re.IGNORECASE)
_OFFSET = re.compile(
    r"(?P<zero>Z\b|\s?(?:UTC|GMT)\b(?![+-]))|(?P<offset>[+-]\d{2}:?\d{2})(?!\d)|(?P<name>\s(?:[A-Z]{1,4}T|UTC[+-]\d+)\b)"
)


def dates(text: str) -> list[Mention]:
    """Calendar dates as `YYYY-MM-DD`; a date without a year, or relative to today, is unreadable."""
    return _dates(text, _OPEN_DATES)


def _dates(text: str, unreadable: Iterable[re.Pattern[str]]) -> list[Mention]:
    found = [_date(match, {(match[1], match[2], match[3])}) for match in _ISO_DATE.finditer(text)]
    for match in _NUMERIC_DATE.finditer(text):
        first, second, third = match[1], match[3], match[4]
        if len(first) == 4:
            found.append(_date(match, {(first, second, third)}))
        elif len(third) == 4:
            found.append(_date(match, {(third, second, first), (third, first, second)}))
        elif match[2] != ".":
            found.append(Mention(match.start(), match.end(), readable=False))
    for pattern in _WRITTEN_DATES:
        for match in pattern.finditer(text):
            month = _MONTH_NUMBER[match["month"].lower().rstrip(".")]
            found.append(_date(match, {(match["year"], str(month), match["day"])}))
    for pattern in unreadable:
        found += [Mention(match.start(), match.end(), readable=False) for match in pattern.finditer(text)]
    return outermost(found)


def _date(match: re.Match[str], readings: Iterable[tuple[str, str, str]]) -> Mention:
    valid = set()
    for year, month, day in readings:
        try:
            valid.add(date(int(year), int(month), int(day)).isoformat())
        except ValueError:
            continue
    value = valid.pop() if len(valid) == 1 else None
    return Mention(match.start(), match.end(), value, readable=value is not None)


def times(text: str) -> list[Mention]:
    """Times of day as `HH:MM:SS`; one to twelve without am, pm or a leading zero is unreadable."""
    found = [_time(match) for pattern in (_CLOCK, _HOUR) for match in pattern.finditer(text)]
    found += [
        Mention(match.start(), match.end(), "12:00:00" if match["noon"] else "00:00:00")
        for match in _NAMED_TIME.finditer(text)
    ]
    found += [Mention(match.start(), match.end(), readable=False) for match in _OPEN_TIME.finditer(text)]
    return outermost(found)


def _time(match: re.Match[str]) -> Mention:
    parts = match.groupdict()
    hour, half = int(parts["hour"]), (parts["half"] or "").lower()
    unread = Mention(match.start(), match.end(), readable=False)
    if half:
        if not 1 <= hour <= 12:
            return unread
        hour = hour % 12 + (12 if half == "p" else 0)
    elif 1 <= hour <= 12 and not parts["hour"].startswith("0"):
        return unread
    second = float(parts.get("second") or 0)
    try:
        value = time(hour, int(parts.get("minute") or 0), int(second), round(second % 1 * 1e6))
    except ValueError:
        return unread
    return Mention(match.start(), match.end(), value.isoformat())


def date_times(text: str) -> list[Mention]:
    """Points in time as `YYYY-MM-DDTHH:MM:SS`, with the offset if one is given; a date or time alone is unreadable."""
    days, clocks = dates(text), times(text)
    found = []
    for day in days:
        for clock in clocks:
            if day.end <= clock.start and _AFTER_DATE.fullmatch(text, day.end, clock.start):
                found.append(_date_time(day, clock, day.start, clock.end, text))
            elif clock.end <= day.start and _BEFORE_DATE.fullmatch(text, clock.end, day.start):
                found.append(_date_time(day, clock, clock.start, day.end, text))
    return outermost([*found, *(replace(part, readable=False) for part in (*days, *clocks))])


def _date_time(day: Mention, clock: Mention, start: int, end: int, text: str) -> Mention:
    zone = _OFFSET.match(text, clock.end)
    if not (day.readable and clock.readable) or (zone and zone["name"]):
        return Mention(start, end, readable=False)
    offset = "" if zone is None else "Z" if zone["zero"] else zone["offset"]
    return Mention(start, max(end, zone.end() if zone else end), f"{day.value}T{clock.value}{offset}")


# --- everything else -------------------------------------------------------------------------------------

_QUOTED = re.compile(
    r"\"([^\"]*)\"|“([^“”]*)”|`([^`]*)`|«([^«»]*)»|(?<![\w'])'((?:[^'\n]|(?<=\w)'(?=\w))*)'(?!\w)"
    r"|(?<!\w)‘((?:[^‘’\n]|(?<=\w)’(?=\w))*)’(?!\w)"
)
_SHAPES = {
    "email": re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "uri": re.compile(r"(?<![\w.+-])[a-z][a-z0-9+.-]{1,20}://[^\s<>\"'`”’)\]]*[^\s<>\"'`”’)\].,;:!?]", re.IGNORECASE),
    "uuid": re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE),
    "ipv4": re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)"),
}
_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}
_BOOLEAN = re.compile(rf"\b(?:{'|'.join(_BOOLEANS)})\b", re.IGNORECASE)


def quoted(text: str) -> list[Mention]:
    """Strings in quotes of any kind, without the quotes; an apostrophe inside a word is none."""
    return [
        Mention(match.start(), match.end(), next(group for group in match.groups() if group is not None))
        for match in _QUOTED.finditer(text)
    ]


def booleans(text: str) -> list[Mention]:
    """`true` and `false`; `yes`, `no`, `on` and `off` are weak."""
    words = [(match, match[0].lower()) for match in _BOOLEAN.finditer(text)]
    return [
        Mention(match.start(), match.end(), _BOOLEANS[word], weak=word not in {"true", "false"})
        for match, word in words
    ]


def shaped(pattern: re.Pattern[str], text: str) -> list[Mention]:
    """Every match of a pattern, as a string."""
    return [Mention(match.start(), match.end(), match[0]) for match in pattern.finditer(text) if match[0]]


def _of_shape(name: str) -> Callable[[str], list[Mention]]:
    return lambda text: shaped(_SHAPES[name], text)


# How to find each kind of literal; all keys but `boolean` and `text` are formats of JSON schema.
FINDERS: dict[str, Callable[[str], list[Mention]]] = {
    "boolean": booleans,
    "date": dates,
    "time": times,
    "date-time": date_times,
    "text": quoted,
    **{name: _of_shape(name) for name in _SHAPES},
}


def structures(text: str) -> Iterator[Mention]:
    """Literals made of several parts, whose digits and words are not to be read on their own.

    A month with its year is none: a tool may well ask for both.
    """
    yield from _dates(text, _DAY_AND_MONTH)
    for kind in ("time", *_SHAPES):
        yield from FINDERS[kind](text)


def outermost(mentions: Iterable[Mention]) -> list[Mention]:
    """Without those inside a longer one, and without the second of two at the same place; in the order of the text."""
    kept: list[Mention] = []
    furthest = -1
    # Wherever a mention is covered, one that starts no later and reaches furthest covers it: one sweep is enough.
    for mention in sorted(mentions, key=lambda one: (one.start, -one.end)):
        if mention.end > furthest:
            kept.append(mention)
            furthest = mention.end
    return kept
