"""The probabilities of a decision by the tools' names, out of a row of numbers."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Probabilities(Mapping[str, float]):
    """Probabilities by name, read-only; the dict is only made for who wants to see all of them.

    Who only acts on a decision looks at one or two. A dict of 200 tools takes longer to make than all the rest of the
    record, and eight times the memory of the row.
    """

    __slots__ = ("_columns", "_made", "_row")

    def __init__(self, columns: Mapping[str, int], row: NDArray[np.float64]) -> None:
        """Take the column of each name in the row; both are kept, and must not be changed."""
        self._columns, self._row = columns, row
        self._made: dict[str, float] | None = None

    def __getitem__(self, name: str) -> float:
        return self._row.item(self._columns[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._dict())

    def __or__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        return self._dict() | dict(other)

    def __repr__(self) -> str:
        return repr(self._dict())

    def items(self) -> ItemsView[str, float]:
        return self._dict().items()

    def values(self) -> ValuesView[float]:
        return self._dict().values()

    def copy(self) -> dict[str, float]:
        """A dict of them, as `dict.copy` makes one."""
        return dict(self._dict())

    def _dict(self) -> dict[str, float]:
        if self._made is None:
            row = self._row.tolist()
            self._made = {name: row[column] for name, column in self._columns.items()}
        return self._made


@lru_cache(maxsize=32)
def columns_of(names: tuple[str, ...]) -> Mapping[str, int]:
    """The column of each name."""
    return {name: column for column, name in enumerate(names)}
