"""Pictures of a comparison: what is drawn, against what cost, and what is said of what is not known."""

from __future__ import annotations

import numpy as np
import pytest
from measured import LOOP, ROUTED

from dspy_router.evaluation.comparison import Comparison
from dspy_router.evaluation.comparison_plots import context_growth, quality_cost
from dspy_router.evaluation.runs import LMCall, Run

BOTH = Comparison.of(["loop", "routed"], [*LOOP, *ROUTED])


def points(figure) -> dict[str, tuple[float, float]]:
    (axes,) = figure.axes
    found = {}
    for container in axes.containers:
        ((x,), (y,)) = container.lines[0].get_data()
        found[container.get_label()] = (x, y)
    return found


class TestQualityCost:
    def test_a_point_a_program_by_dollars_where_all_prices_are_known(self):
        figure = quality_cost(BOTH, metric="accuracy")
        drawn = points(figure)
        assert drawn["loop"] == pytest.approx((30.0, 0.5))
        assert drawn["routed"] == pytest.approx((1000 * 0.005 / 3, 2 / 3))
        assert "dollars" in figure.axes[0].get_xlabel()
        assert figure.axes[0].get_ylabel().startswith("accuracy")

    def test_by_tokens_where_a_price_is_unknown_and_by_calls_where_these_are_as_well(self):
        free = Run("a", "f", "1", 1.0, calls=(LMCall("m", 0.1, 10, 2),))
        assert points(quality_cost(Comparison.of(["a"], [free])))["a"] == (12, 1.0)
        silent = Run("a", "f", "1", 1.0, calls=(LMCall("m", 0.1), LMCall("m", 0.1)))
        assert points(quality_cost(Comparison.of(["a"], [silent])))["a"] == (2, 1.0)

    def test_a_cost_of_ones_own_choice(self):
        assert points(quality_cost(BOTH, cost="seconds"))["loop"] == pytest.approx((2.0, 0.5))
        silent = Comparison.of(["a"], [Run("a", "f", "1", 1.0, calls=(LMCall("m"),))])
        with pytest.raises(ValueError, match="The price of 'a' is not known; take another cost"):
            quality_cost(silent, cost="price")
        with pytest.raises(ValueError, match="cost must be one of price, tokens"):
            quality_cost(BOTH, cost="money")  # type: ignore[arg-type]

    def test_nothing_to_draw(self):
        with pytest.raises(ValueError, match="at least one program"):
            quality_cost(Comparison.of([], []))


class TestContextGrowth:
    def test_a_line_a_program(self):
        (axes,) = context_growth(BOTH).axes
        loop, routed = (np.array(line.get_data()).tolist() for line in axes.get_lines())
        assert loop == [[1, 2], [200, 200]]
        assert routed == [[1], [50]]

    def test_nothing_to_draw(self):
        with pytest.raises(ValueError, match="no language model reported"):
            context_growth(Comparison.of(["a"], [Run("a", "f", "1", 1.0)]))
