"""An encoder's window: how much of a text it reads, and how many texts were longer."""

from __future__ import annotations

import logging
import threading

logger = logging.getLogger(__name__)

_lock = threading.Lock()  # no window's own: encoders are copied and pickled


class Window:
    """Counts the texts that were cut, and says so at the first, the tenth, the hundredth and so on.

    Attributes:
        size: Most tokens of a text that are read.
        truncated: How many texts so far were longer.
    """

    def __init__(self, size: int) -> None:
        self.size, self.truncated = size, 0

    def note(self, cut: int) -> None:
        """Take note of so many texts that were cut."""
        if not cut:
            return
        with _lock:
            before = self.truncated
            self.truncated = now = before + cut
        if before == 0 or len(str(now)) > len(str(before)):
            logger.warning(
                "%d of the texts so far were longer than the encoder's window of %d tokens; what lies beyond it was "
                "not read.",
                now,
                self.size,
            )
