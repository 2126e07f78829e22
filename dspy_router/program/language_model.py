"""The language model that a run may use, and what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dspy
from dspy.utils.exceptions import LMError

from dspy_router.program.tuning.spending import Ledger

# A name as `dspy.LM` takes it, a model, or None: no language model at all.
LanguageModel = str | dspy.BaseLM | None


@contextmanager
def language_model(lm: LanguageModel) -> Iterator[Ledger]:
    """Run what follows with this language model, whatever else is configured, and count its calls.

    Args:
        lm: Its name, itself, or None for none, so that whoever asks for one fails.

    Raises:
        RuntimeError: If the language model cannot be reached, or refuses.
    """
    model = dspy.LM(lm) if isinstance(lm, str) else lm
    try:
        with dspy.context(lm=model), Ledger().watching() as ledger:
            yield ledger
    except LMError as error:
        raise RuntimeError(f"The language model did not answer. {error}") from error
