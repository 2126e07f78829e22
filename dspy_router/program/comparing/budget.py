"""Keeps a comparison within its dollars: lets a run begin only if what runs like it have cost is still there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dspy_router.evaluation.runs import Run


class UnknownPriceError(ValueError):
    """A budget in dollars cannot be kept, as the price of a call is not known."""


class Budget:
    """Dollars that may be spent, those that are, and those set aside for runs under way. Callers hold a lock.

    What a run will cost is not known before it: the most expensive one of the same program so far is set aside for it.
    So only the first run of a program, and one that costs more than any before it, can take more than there is.

    Attributes:
        limit: Dollars in all; None for no limit.
        spent: Dollars spent; None once a price was not known, which only happens without a limit.
        exhausted: Whether a run was refused.
    """

    def __init__(self, limit: float | None = None) -> None:
        """Set the limit.

        Raises:
            ValueError: If it is no positive number.
        """
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0):
            raise ValueError(f"max_usd must be a positive number of dollars, or None for no limit; got {limit!r}.")
        self.limit = limit
        self.spent: float | None = 0.0
        self.exhausted = False
        self._dearest: dict[str, float] = {}
        self._reserved = 0.0

    def knows(self, program: str) -> bool:
        """Whether a run of the program was paid for already, so that the next one's cost can be foreseen."""
        return program in self._dearest

    def admit(self, program: str) -> float | None:
        """Set dollars aside for a run.

        Returns:
            How many, to be given to `settle`; None if the run may not begin.
        """
        if self.limit is None:
            return 0.0
        expected = self._dearest.get(program, 0.0)
        left = self.limit - (self.spent or 0.0) - self._reserved
        if self.exhausted or left <= 0 or expected > left:
            self.exhausted = True
            return None
        self._reserved += expected
        return expected

    def settle(self, run: Run, reserved: float = 0.0) -> None:
        """Book a run.

        Args:
            run: The run.
            reserved: What was set aside for it.

        Raises:
            UnknownPriceError: If there is a limit and the price of one of its calls is not known.
        """
        self._reserved -= reserved
        if run.bill is None:
            if self.limit is not None:
                raise UnknownPriceError(_unknown(run, self.limit))
            self.spent = None
            return
        self._dearest[run.program] = max(run.bill, self._dearest.get(run.program, 0.0))
        if self.spent is not None:
            self.spent += run.bill

    def book(self, runs: Iterable[Run]) -> None:
        """Book runs of an earlier sitting.

        Raises:
            UnknownPriceError: As `settle`.
        """
        for run in runs:
            self.settle(run)


def check_prices(prices: Any) -> dict[str, tuple[float, float]]:
    """Prices as a dict of pairs.

    Raises:
        ValueError: If a price is not two numbers of at least 0.
    """
    checked = {}
    for model, price in dict(prices or {}).items():
        pair = tuple(price) if isinstance(price, list | tuple) else ()
        numbers = [one for one in pair if isinstance(one, int | float) and not isinstance(one, bool) and one >= 0]
        if len(pair) != 2 or len(numbers) != 2:
            raise ValueError(
                f"The price of '{model}' must be two numbers of at least 0, dollars for a million tokens of prompts "
                f"and of answers, such as (0.15, 0.6); got {price!r}."
            )
        checked[str(model)] = (float(pair[0]), float(pair[1]))
    return checked


def _unknown(run: Run, limit: float) -> str:
    models = dict.fromkeys(call.model for call in run.calls if call.spent and call.dollars is None)
    named = " and ".join(f"'{model}'" for model in models) or "the metric's language model"
    example = next(iter(models), "openai/gpt-4o-mini")
    return (
        f"max_usd={limit:g} cannot be kept: neither DSPy nor LiteLLM knows what a call of {named} costs, or the model "
        f"reported no usage ('{run.program}' asked it). Tell its price in dollars for a million tokens of prompts and "
        f"of answers, prices={{{example!r}: (0.15, 0.60)}}, or leave max_usd out."
    )
