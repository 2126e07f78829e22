"""What a clock shows in one city when it shows a given time in another."""

import datetime
import difflib
import re
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import Field

from dspy_router.demo.dates import Day, parse_day

City = Literal[
    "Amsterdam", "Athens", "Auckland", "Bangkok", "Beijing", "Berlin", "Bogota", "Buenos Aires", "Cairo", "Cape Town",
    "Chicago", "Denver", "Dubai", "Dublin", "Helsinki", "Hong Kong", "Honolulu", "Istanbul", "Jakarta", "Johannesburg",
    "Karachi", "Lagos", "Lima", "Lisbon", "London", "Los Angeles", "Madrid", "Manila", "Melbourne", "Mexico City",
    "Montreal", "Moscow", "Mumbai", "Nairobi", "New York", "Oslo", "Paris", "Rome", "San Francisco", "Santiago",
    "Sao Paulo", "Seattle", "Seoul", "Shanghai", "Singapore", "Stockholm", "Sydney", "Tokyo", "Toronto", "Vancouver",
    "Vienna", "Warsaw", "Zurich",
]  # fmt: skip

# Cities without a zone of their own name, and where theirs lies.
_ZONES = {
    "Beijing": "Asia/Shanghai", "Mumbai": "Asia/Kolkata", "Cape Town": "Africa/Johannesburg",
    "San Francisco": "America/Los_Angeles", "Seattle": "America/Los_Angeles", "Montreal": "America/Toronto",
    "Honolulu": "Pacific/Honolulu", "Auckland": "Pacific/Auckland", "Melbourne": "Australia/Melbourne",
    "Sydney": "Australia/Sydney", "Buenos Aires": "America/Argentina/Buenos_Aires",
}  # fmt: skip
_AMERICA = {
    "Bogota", "Chicago", "Denver", "Lima", "Los Angeles", "Mexico City", "New York", "Santiago", "Sao Paulo",
    "Toronto", "Vancouver",
}  # fmt: skip
_AFRICA = {"Cairo", "Johannesburg", "Lagos", "Nairobi"}
_ASIA = {
    "Bangkok", "Dubai", "Hong Kong", "Istanbul", "Jakarta", "Karachi", "Manila", "Seoul", "Shanghai", "Singapore",
    "Tokyo",
}  # fmt: skip

_CLOCK = r"(?:noon|midnight|\d{1,2}(?:[:.]\d{2})?(?: ?[ap]\.?m\b\.?)?)"
_LOCAL_TIME = rf"^(?i:{_CLOCK}(?: o'clock)?(?: time)?(?: in| at)? (?:{'|'.join(get_args(City))})(?: time)?)$"
_PARTS = re.compile(
    rf"(?i:(?P<clock>{_CLOCK})(?: o'clock)?(?: time)?(?: in| at)? (?P<city>{'|'.join(get_args(City))})(?: time)?)"
)
_HANDS = re.compile(r"(\d{1,2})(?:[:.](\d{2}))?(?: ?([ap])\.?m)?")


def convert_time(
    local_time: Annotated[str, Field(pattern=_LOCAL_TIME, description="the time and its city: 9:30 am in London")],
    to_city: Annotated[City, Field(description="the city whose time is wanted")],
    date: Annotated[Day, Field(description="the day in the first city; summer time depends on it")] = "2025-01-15",
) -> dict[str, str]:
    """Convert a clock time in one city to the time zone of another city: what time it is there when it is 3 pm here."""
    parts = _PARTS.fullmatch(local_time.strip())
    if parts is None:
        raise ValueError(f"Expected a time and its city, such as '9:30 am in London'; got {local_time!r:.80}.")
    moment = datetime.datetime.combine(parse_day(date), _parse_clock(parts["clock"]), _zone(parts["city"]))
    there = moment.astimezone(_zone(to_city))
    days = (there.date() - moment.date()).days
    return {"time": f"{there:%H:%M}", "day": {-1: "the day before", 0: "the same day", 1: "the next day"}[days]}


def _parse_clock(text: str) -> datetime.time:
    if text.lower() in {"noon", "midnight"}:
        return datetime.time(12 if text.lower() == "noon" else 0)
    hour, minute, half = _HANDS.match(text.lower()).groups()  # type: ignore[union-attr] - the caller matched it
    if half and not 1 <= int(hour) <= 12:
        raise ValueError(f"Expected an hour from 1 to 12 before am or pm; got {text}.")
    hours = int(hour) % 12 + (12 if half == "p" else 0) if half else int(hour)
    try:
        return datetime.time(hours, int(minute or 0))
    except ValueError as error:
        raise ValueError(f"Expected a time of day from 0:00 to 23:59; got {text}.") from error


def _zone(city: str) -> ZoneInfo:
    names = {name.lower(): name for name in get_args(City)}
    if city.lower() not in names:
        near = difflib.get_close_matches(city.lower(), names, n=1)
        hint = f" Did you mean {names[near[0]]}?" if near else ""
        raise ValueError(f"No time zone is known for {city!r:.40}.{hint} Known: {', '.join(names.values())}.")
    name = names[city.lower()]
    folders = {"America": _AMERICA, "Africa": _AFRICA, "Asia": _ASIA}
    folder = next((folder for folder, members in folders.items() if name in members), "Europe")
    return ZoneInfo(_ZONES.get(name, f"{folder}/{name.replace(' ', '_')}"))
