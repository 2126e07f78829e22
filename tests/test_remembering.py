"""Remembering by identity: once for each object, equal ones apart, errors not kept."""

from __future__ import annotations

import pytest

from dspy_router.program.remembering import once_each


def test_it_works_once_for_each_object():
    asked = []

    @once_each
    def size(value):
        """How many."""
        asked.append(value)
        return len(value)

    schema = {"a": 1}
    assert [size(schema), size(schema), size({"a": 1})] == [1, 1, 1]
    assert asked == [schema, {"a": 1}]  # equal ones are not the same
    assert size.__doc__ == "How many."


def test_an_address_that_is_used_again_is_no_confusion():
    @once_each
    def found(value):
        return value[0]

    assert [found([number]) for number in range(10_000)] == list(range(10_000))


def test_an_error_is_not_kept():
    answers = iter([None, 5])

    @once_each
    def found(value):
        answer = next(answers)
        if answer is None:
            raise KeyError("not yet")
        return answer

    asked = object()
    with pytest.raises(KeyError):
        found(asked)
    assert found(asked) == 5
