"""The language model that a run may use, and how often it was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import LMError

# A name as `dspy.LM` takes it, a model, or None: no language model at all.
LanguageModel = str | dspy.BaseLM | None


class CallCount(BaseCallback):
    """Counts the calls of language models.

    Attributes:
        calls: How many there were so far.
    """

    def __init__(self) -> None:
        """Start at zero."""
        super().__init__()
        self.calls = 0
        self._lock = threading.Lock()

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        with self._lock:
            self.calls += 1


@contextmanager
def language_model(lm: LanguageModel) -> Iterator[CallCount]:
    """Run what follows with this language model, whatever else is configured, and count its calls.

    Args:
        lm: Its name, itself, or None for none, so that whoever asks for one fails.

    Raises:
        RuntimeError: If the language model cannot be reached, or refuses.
    """
    count = CallCount()
    model = dspy.LM(lm) if isinstance(lm, str) else lm
    try:
        with dspy.context(lm=model, callbacks=[*dspy.settings.callbacks, count]):
            yield count
    except LMError as error:
        raise RuntimeError(f"The language model did not answer. {error}") from error
