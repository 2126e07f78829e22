"""Probabilities by name: in everything a dict that cannot be changed."""

from __future__ import annotations

import copy
import json
import pickle
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.records import Decision
from dspy_router.runtime.decisions import as_decision, as_decisions, choose, choose_all
from dspy_router.runtime.probabilities import Probabilities, columns_of

NAMES = ("clock", "add", "units")
ROW = np.array([0.2, 0.5, 0.1, 0.2])


def made():
    return MappingProxyType(Probabilities(columns_of(NAMES), ROW))


def test_it_reads_as_a_dict():
    plain = {"clock": 0.2, "add": 0.5, "units": 0.1}
    assert made() == plain
    assert plain == made()
    assert dict(made()) == plain == made().copy()
    assert list(made()) == list(plain)
    assert list(made().items()) == list(plain.items())
    assert list(made().values()) == list(plain.values())
    assert list(reversed(made())) == list(reversed(plain))
    assert made() | {"new": 1.0} == {**plain, "new": 1.0}
    assert made().get("add") == 0.5
    assert type(made()["add"]) is float
    assert "none" not in made()
    assert len(made()) == 3
    assert str(plain) in repr(made())
    with pytest.raises(KeyError, match="none"):
        made()["none"]
    with pytest.raises(TypeError):
        made()["add"] = 1.0  # pyright: ignore[reportIndexIssue]


def test_a_decision_with_it_is_one_like_any_other():
    (decision,) = as_decisions(ROW[None], NAMES, choices=[1], kept=[True], allowed=None, threshold=0.5)
    plain = Decision("add", {"clock": 0.2, "add": 0.5, "units": 0.1}, 0.2)
    assert decision == plain
    assert decision.top(2) == plain.top(2)
    assert json.dumps(decision.to_dict()) == json.dumps(plain.to_dict())
    assert pickle.loads(pickle.dumps(decision)) == copy.deepcopy(decision) == plain


def test_later_changes_of_the_rows_are_no_changes_of_the_decision():
    rows = ROW[None].copy()
    (decision,) = as_decisions(rows, NAMES, choices=[1], kept=[True], allowed=None, threshold=0.0)
    rows[0, 1] = 0.0
    assert decision.confidence == 0.5


SHARES = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.3 + 1e-9])


@given(
    st.lists(st.lists(SHARES, min_size=4, max_size=4), max_size=6),
    st.none() | st.sets(st.sampled_from(NAMES)),
    st.sampled_from([0.0, 0.2, 0.9]),
    st.data(),
)
def test_many_rows_are_decided_as_one_by_one(rows, allowed, threshold, data):
    kept = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    table = np.array(rows).reshape(-1, 4)
    choices = choose_all(table, NAMES)
    assert choices == [choose(row, NAMES) for row in rows]
    about = {"allowed": allowed, "threshold": threshold}
    assert as_decisions(table, NAMES, choices=choices, kept=kept, **about) == [
        as_decision(row, NAMES, kept=keep, **about) for row, keep in zip(rows, kept, strict=True)
    ]
