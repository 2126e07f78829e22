"""Pictures of a calibration: what is drawn and written on them."""

from __future__ import annotations

import numpy as np
import pytest

from dspy_router.evaluation.calibration_plots import reliability_diagram, risk_coverage_curve
from dspy_router.reliability import Bin

BEFORE = [Bin(0.3, 0.5, 10), Bin(0.6, 0.9, 10)]
AFTER = [Bin(0.5, 0.5, 10), Bin(0.9, 0.9, 10)]


def legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_one_line_a_series_beside_the_diagonal():
    (axes,) = reliability_diagram({"before": BEFORE, "after": AFTER}).axes
    diagonal, before, after = axes.get_lines()
    assert np.array(diagonal.get_data()).tolist() == [[0, 1], [0, 1]]
    assert np.array(before.get_data()).tolist() == [[0.3, 0.6], [0.5, 0.9]]
    assert np.array(after.get_data()).tolist() == [[0.5, 0.9], [0.5, 0.9]]
    assert legend(axes) == ["before", "after"]
    assert axes.get_title() == "n = 20, bins of equal mass"


def test_the_curve_with_what_is_kept_and_the_bounds():
    figure = risk_coverage_curve([(0.5, 0.0), (1.0, 0.1)], kept=(0.5, 0.0), bounds={"all others": 0.05, "pay": 0.005})
    (axes,) = figure.axes
    curve, first, second, point = axes.get_lines()
    assert np.array(curve.get_data()).tolist() == [[50, 100], [0, 10]]
    assert np.unique(first.get_ydata()).tolist() == [5]
    assert np.unique(second.get_ydata()).tolist() == [0.5]
    assert np.array(point.get_data()).tolist() == [[50], [0]]
    assert legend(axes) == ["all others: at most 5 %", "pay: at most 0.5 %", "accepted: 50.0 %"]


def test_a_curve_alone_needs_no_legend():
    (axes,) = risk_coverage_curve([(1.0, 0.1)]).axes
    assert axes.get_legend() is None


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="at least one bin"):
        reliability_diagram({"before": []})
    with pytest.raises(ValueError, match="at least one point"):
        risk_coverage_curve([])
