"""Functions that work once for each object that they are asked about, and remember what they found."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

Asked = TypeVar("Asked")
Found = TypeVar("Found")

_MOST = 4096


class _Same:
    """An object by its identity; as long as this is kept, no other can come to stand at its address."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value


def once_each(function: Callable[[Asked], Found]) -> Callable[[Asked], Found]:
    """The same function of one object, whose results for the last few thousand objects are kept, errors not.

    Objects are told apart by identity, not equality: a JSON schema cannot be hashed, and `int | float` equals
    `float | int` but does not read a 1 alike. What is changed in place is not looked at again.
    """

    @lru_cache(maxsize=_MOST)
    def found(same: _Same) -> Found:
        return function(same.value)

    @wraps(function)
    def remembered(asked: Asked) -> Found:
        return found(_Same(asked))

    return remembered
