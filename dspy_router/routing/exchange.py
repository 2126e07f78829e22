"""Exchanging a router's parts while other threads decide: a decision is made by the old parts or by the new ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")


class Exchangeable:
    """What of a `Router` is about several threads; the attributes are the router's.

    Deciding takes no lock, so that encoders run side by side. A count of the exchanges tells whether one happened
    meanwhile; then the work is done again. It is odd while an exchange is under way (a sequence lock, as in Linux).
    """

    _lock: threading.Lock
    _exchanges: int = 0

    @contextmanager
    def _exchanging(self) -> Iterator[None]:
        """Within this the parts may be exchanged; quick, as decisions wait for it, and encoders have no place here."""
        with self._lock:
            self._exchanges += 1
            try:
                yield
            finally:
                self._exchanges += 1

    def _undisturbed(self, work: Callable[[], Result]) -> Result:
        """The result of work that saw the parts of one moment; it is repeated until it did."""
        while True:
            before = self._exchanges
            if before % 2:
                with self._lock:
                    continue
            try:
                result = work()
            except Exception:
                if self._exchanges == before:  # else parts of two moments may not have gone together
                    raise
            else:
                if self._exchanges == before:
                    return result
