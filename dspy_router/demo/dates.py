"""Days between dates, days of the week, and dates so many days, weeks, months or years away."""

import calendar
import datetime
import re
from typing import Annotated, Literal

from pydantic import Field

# A string that says it is a date: arguments stay JSON values from the rules or the model to the call.
Day = Annotated[str, Field(json_schema_extra={"format": "date"}, description="a date as YYYY-MM-DD")]

_COUNTS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "twelve": 12, "twenty": 20, "thirty": 30, "sixty": 60, "ninety": 90, "a hundred": 100,
}  # fmt: skip
_COUNT = rf"\d{{1,6}}|{'|'.join(sorted(_COUNTS, key=len, reverse=True))}"
Duration = Annotated[
    str, Field(pattern=rf"^(?i:(?:{_COUNT})[ -](?:day|week|month|year)s?)$", description="such as 90 days or two weeks")
]
_DURATION_PARTS = re.compile(rf"({_COUNT})[ -](day|week|month|year)s?", re.IGNORECASE)

# Forwards is the default: "6 months from May 5" and "due 14 days later" need no word for it.
Direction = Literal["after", "before", "earlier", "prior", "back", "minus", "subtract"]
_BACKWARDS = {"before", "earlier", "prior", "back", "minus", "subtract"}


def days_between(
    dates: Annotated[list[Day], Field(min_length=2, max_length=2, description="the two dates, in any order")],
) -> int:
    """Count the days between two dates: how many days from one date until another, how long a stay or a wait lasts."""
    if len(dates) != 2:
        raise ValueError(f"Expected two dates; got {len(dates)}: {dates}.")
    first, second = map(parse_day, dates)
    return abs((second - first).days)


def weekday_of(date: Day) -> str:
    """Tell which day of the week a date falls on, such as Monday, and so whether it is a weekend."""
    return calendar.day_name[parse_day(date).weekday()]


def shift_date(
    date: Day,
    duration: Duration,
    direction: Annotated[Direction, Field(description="after or before the date")] = "after",
) -> str:
    """Find the date some days, weeks, months or years after or before a given date, such as a deadline or due date."""
    day, parts = parse_day(date), _DURATION_PARTS.fullmatch(duration.strip())
    if parts is None:
        raise ValueError(f"Expected a number of days, weeks, months or years, such as '90 days'; got {duration!r:.40}.")
    amount, unit = _COUNTS.get(parts[1].lower()) or int(parts[1]), parts[2].lower()
    signed = -amount if direction in _BACKWARDS else amount
    try:
        if unit in {"day", "week"}:
            return (day + datetime.timedelta(days=signed * (7 if unit == "week" else 1))).isoformat()
        return _shift_months(day, signed * (12 if unit == "year" else 1)).isoformat()
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{duration} {direction} {date} lies outside the years 1 to 9999.") from error


def parse_day(text: str) -> datetime.date:
    """A date written YYYY-MM-DD.

    Raises:
        ValueError: If it is written otherwise or is not in the calendar.
    """
    try:
        return datetime.date.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Expected a date such as 2024-03-12; got {text!r:.40} ({error}).") from error


def _shift_months(day: datetime.date, months: int) -> datetime.date:
    """The same day of another month, or its last day where it is shorter: 31 January + 1 month = 28 February."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return datetime.date(year, month + 1, min(day.day, last))
