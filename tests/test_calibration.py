"""A calibration: it never changes the choice, does not know the order of the tools, and survives a file."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.runtime.calibration import Calibration
from dspy_router.runtime.certificate import Certificate, Identity
from dspy_router.runtime.maps import Isotonic, Temperature, VectorScaling

NAMES = ("add", "clock", "units")
IDENTITY = Identity("e", "p", "w", "c")
LEVELS = st.floats(-6, 6)
PAIRS = st.tuples(st.floats(0.01, 5), st.floats(-5, 5))
ROW_MAPS = st.one_of(
    st.builds(Temperature, st.floats(0.05, 20)),
    st.builds(VectorScaling, st.fixed_dictionaries(dict.fromkeys(NAMES, PAIRS)), PAIRS),
)
TOP_MAPS = st.none() | st.lists(st.floats(0.001, 0.999), min_size=2, max_size=5).map(
    lambda values: Isotonic(tuple(np.linspace(-5, 5, len(values))), tuple(sorted(values)))
)


def certificate(tool: str | None, bar: float) -> Certificate:
    return Certificate(tool, 0.05, 0.95, bar, 100, 50, 1)


@given(ROW_MAPS, TOP_MAPS, st.lists(LEVELS, min_size=4, max_size=4), st.permutations(range(3)))
def test_the_choice_stays_and_the_order_of_the_tools_has_no_effect(row_map, top_map, row, order):
    calibration = Calibration("x", IDENTITY, NAMES, row_map, top_map)
    choice = int(np.argmax(row))
    rows, _ = calibration.apply(np.array([row], dtype=np.float64), [choice], NAMES)
    assert rows[0].max() <= rows[0, choice] + 1e-9
    assert rows[0].sum() == pytest.approx(1.0)
    assert (rows >= 0).all()
    columns = [*order, 3]
    turned, _ = calibration.apply(
        np.array([[row[i] for i in columns]], dtype=np.float64),
        [columns.index(choice)],
        [NAMES[i] for i in order],
    )
    assert turned[0] == pytest.approx(rows[0, columns], abs=1e-9)


def test_a_tool_that_is_not_allowed_keeps_probability_0():
    calibration = Calibration("x", IDENTITY, NAMES, Temperature(2.0), Isotonic((-5.0, 5.0), (0.2, 0.9)))
    (row,), _ = calibration.apply(np.array([[-math.inf, 2.0, -math.inf, 1.0]]), [1], NAMES)
    assert row[[0, 2]].tolist() == [0.0, 0.0]
    assert row.sum() == pytest.approx(1.0)


def test_each_tool_has_its_own_bar_or_the_one_of_all_others():
    """The scores, twice the difference of two logits, are about 2 in every row but the last, where it is 1."""
    certificates = (certificate("add", 2.5), certificate(None, 1.5))
    calibration = Calibration("x", IDENTITY, NAMES, certificates=certificates)
    far = -40.0
    logits = [[1.0, 0.0, far, far], [0.0, 1.0, far, far], [far, far, 0.0, 1.0], [far, 0.5, 0.0, far]]
    assert calibration.apply(np.array(logits), [0, 1, 3, 1], NAMES).kept.tolist() == [False, True, True, False]
    assert (calibration.bar("add"), calibration.bar(None), calibration.binding) == (2.5, 1.5, True)


def test_without_bars_everything_is_kept():
    calibration = Calibration("x", IDENTITY, NAMES)
    assert calibration.apply(np.array([[0.0, 0.0, 0.0, 0.0]]), [0], NAMES).kept.all()
    assert not calibration.binding


@pytest.mark.parametrize("bar", [None, math.inf, -math.inf, 1.25])
@pytest.mark.parametrize("row_map", [Temperature(0.7), VectorScaling(dict.fromkeys(NAMES, (1.0, 0.5)), (2.0, 0.0))])
def test_it_survives_json(bar, row_map):
    one = Calibration(
        "x",
        IDENTITY,
        NAMES,
        row_map,
        Isotonic((0.0, 1.0), (0.25, 0.75)),
        certificates=(certificate("add", math.inf), certificate(None, 0.5)),
        cost_bar=bar,
    )
    again = Calibration.from_dict(json.loads(json.dumps(one.to_dict(), allow_nan=False)))
    logits, choices = np.array([[0.5, 0.1, 0.2, 0.3], [0.0, 2.0, 0.0, 0.0]]), [0, 1]
    before, after = one.apply(logits, choices, NAMES), again.apply(logits, choices, NAMES)
    assert np.array_equal(before.rows, after.rows)
    assert np.array_equal(before.kept, after.kept)
    assert again.certificates == one.certificates


def test_a_stale_one_says_what_changed_and_the_two_ways_out():
    message = Calibration("x", IDENTITY, NAMES).stale_message(Identity("e", "q", "w", "d"), ("add", "clock", "new"))
    assert "the policy's weights, the tools or their cards (removed: units; added: new)" in message
    assert "router.calibrate(…)" in message
    assert "router.calibration = None" in message
    assert "encoder" not in message
