"""The pictures of costs: what is drawn is what was given, and nothing is drawn of nothing."""

from __future__ import annotations

import numpy as np
import pytest

from dspy_router.evaluation.cost_plots import quality_by_calls, token_growth

LOOP, OURS = [(1, 900.0), (2, 1500.0)], [(1, 280.0), (2, 280.0)]


def test_marks_and_lines_of_a_program_share_a_colour_and_one_entry_of_the_legend():
    figure = token_growth({"loop": LOOP, "ours": OURS}, computed={"loop": LOOP, "chain": LOOP})
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_legend_handles_labels()[1] == ["loop", "ours", "chain"]
    colours = [
        line.get_color() for line in axes.get_lines() if np.asarray(line.get_ydata()).tolist() == [900.0, 1500.0]
    ]
    assert colours[0] == colours[1] != colours[2]  # line and marks of the loop, then the chain


def test_numbers_of_tools_are_written_out_where_they_were_measured():
    figure = token_growth({"ours": [(5, 280.0), (500, 280.0)]}, log_x=True)
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "500"]


@pytest.mark.parametrize(
    ("series", "complaint"), [({}, "nothing to draw"), ({"ours": []}, "nothing to draw"), ({"x": [(1, 0)]}, "got 0")]
)
def test_tokens_that_cannot_be_drawn_are_refused(series, complaint):
    with pytest.raises(ValueError, match=complaint):
        token_growth(series)


def test_quality_is_drawn_in_percent_with_the_point_that_was_chosen():
    figure = quality_by_calls({"model": [(0.0, 0.7), (1.0, 0.9)]}, chosen={"model": (0.5, 0.92)})
    curve, point = figure.axes[0].get_lines()
    assert np.asarray(curve.get_xdata()).tolist() == [0, 100]
    assert np.asarray(point.get_ydata()).tolist() == [92]
    with pytest.raises(ValueError, match="nothing to draw"):
        quality_by_calls({"model": []})
