"""Processes that write a decision log: some to the end, some until they are killed; they load no torch."""

from __future__ import annotations

import sys
from typing import Any

from dspy_router.data.log import DecisionLog, new_id
from dspy_router.records import Decision, Episode, Step

OPTIONS = 14
PATIENCE = 60.0  # seconds that a row may wait for its place: here nothing is answered, only written


def made_up(number: int, *, process: int = 0) -> Episode:
    """An episode as an agent logs it: one decision over 14 tools, one step."""
    share = 1 / (OPTIONS + 1)
    probabilities = {f"tool_number_{option}": share for option in range(OPTIONS)}
    decision = Decision("tool_number_3", probabilities, share, id=new_id())
    step = Step("tool_number_3", {"city": "Lima", "days": number % 7}, f"{number} degrees, sunny", seconds=0.01)
    query = f"process {process} asks for the {number}th time what the weather will be like in Lima"
    return Episode({"query": query}, (step,), decisions=(decision,))


def _write(path: str, rows: int, process: int) -> None:
    """Record so many decisions as fast as it goes, once the word is given; exits with 1 if one was lost."""
    log = DecisionLog(path, max_wait=PATIENCE, timeout=PATIENCE)
    print("ready", flush=True)
    sys.stdin.read()
    for number in range(rows):
        log.record(made_up(number, process=process))
    if not log.flush(PATIENCE) or log.dropped:
        sys.exit(1)


def _until_killed(path: str, mode: Any, process: int) -> None:
    """Record for ever, and say what is acknowledged."""
    log = DecisionLog(path, mode=mode)
    print(-1, flush=True)
    number = 0
    while True:
        log.record(made_up(number, process=process))
        if mode == "sync" or (number % 50 == 0 and log.flush()):
            print(number, flush=True)
        number += 1


if __name__ == "__main__":
    if sys.argv[1] == "write":
        _write(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        _until_killed(sys.argv[2], sys.argv[1], int(sys.argv[3]))
