"""Plots: what is drawn and written on them, how they are saved, and that nothing of the user's is touched."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from dspy_router.evaluation.credit import CreditSplit
from dspy_router.evaluation.plots import credit_split, learning_curve, per_tool_reward, save

BEFORE = CreditSplit(8, score=0.4, maximum=1.0, routing_regret=0.3, synthesis_shortfall=0.2, failures=0.1)
AFTER = CreditSplit(8, score=0.9, maximum=1.0, routing_regret=0.0, synthesis_shortfall=0.1, failures=0.0)


def legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def ticks(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


class TestLearningCurve:
    def test_one_line_a_series_and_one_a_level(self):
        figure = learning_curve(
            {"best reward": [(3, 0.5), (9, 0.8)], "other": [(3, 0.4)]}, levels={"before": 0.3}, y_label="metric"
        )
        (axes,) = figure.axes
        best, other, before = axes.get_lines()
        assert np.array(best.get_data()).tolist() == [[3, 9], [0.5, 0.8]]
        assert np.array(other.get_data()).tolist() == [[3], [0.4]]
        assert np.unique(before.get_ydata()).tolist() == [0.3]
        assert legend(axes) == ["best reward", "other", "before"]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("rollouts", "metric")

    def test_steps_are_named(self):
        figure = learning_curve({"val": [(0, 0.5), (1, 0.8)]}, steps=["start", "turn 1: " + "very " * 20 + "long"])
        names = ticks(figure.axes[0].xaxis)
        assert names[0] == "start"
        assert len(names[1]) == 40 and names[1].endswith("…")

    def test_nothing_to_draw(self):
        with pytest.raises(ValueError, match="at least one point"):
            learning_curve({"val": []})


class TestCreditSplit:
    def test_the_parts_of_each_bar_stand_on_each_other_and_reach_the_maximum(self):
        (axes,) = credit_split({"start": BEFORE, "turn 1": AFTER}).axes
        score, routing, failures, shortfall = axes.containers
        assert [bar.get_height() for bar in score] == pytest.approx([0.4, 0.9])
        for lower, upper in ((score, routing), (routing, failures), (failures, shortfall)):
            assert [bar.get_y() for bar in upper] == pytest.approx([bar.get_y() + bar.get_height() for bar in lower])
        assert [bar.get_y() + bar.get_height() for bar in shortfall] == pytest.approx([1.0, 1.0])
        assert [bar.get_height() for bar in routing] == pytest.approx([0.3, 0.0])

    def test_who_is_who_is_written_on_it(self):
        (axes,) = credit_split({"start": BEFORE, "turn 1": AFTER}).axes
        assert legend(axes) == ["earned", "lost by routing", "lost by failed calls", "lost after the tool"]
        assert ticks(axes.xaxis) == ["start", "turn 1"]
        assert "n = 8" in axes.get_ylabel()

    def test_nothing_to_draw(self):
        with pytest.raises(ValueError, match="at least one CreditSplit"):
            credit_split({})


class TestPerToolReward:
    def test_the_best_stands_at_the_top_with_its_tries(self):
        (axes,) = per_tool_reward({"clock": [0.0, 1.0], "sum": [1.0, 1.0, 0.4], None: [0.2], "never": []}).axes
        (bars,) = axes.containers
        drawn = {label: (bar.get_width(), bar.get_y()) for label, bar in zip(ticks(axes.yaxis), bars, strict=True)}
        assert {name: width for name, (width, _) in drawn.items()} == pytest.approx(
            {"sum": 0.8, "clock": 0.5, "(none)": 0.2}
        )
        assert drawn["sum"][1] > drawn["clock"][1] > drawn["(none)"][1]
        assert [text.get_text() for text in axes.texts] == ["0.80, n = 3", "0.50, n = 2", "0.20, n = 1"]

    def test_of_many_tools_those_tried_most_are_drawn_and_the_rest_is_counted(self):
        rewards: dict[str | None, list[float]] = {f"tool {number}": [0.5] * (number + 1) for number in range(12)}
        (axes,) = per_tool_reward(rewards, most=10).axes
        assert {"tool 0", "tool 1"}.isdisjoint(ticks(axes.yaxis))
        assert axes.get_title() == "the 10 tools tried most; 2 others are left out"

    def test_nothing_to_draw(self):
        with pytest.raises(ValueError, match="at least one tool that was tried"):
            per_tool_reward({"clock": []})


class TestSave:
    @pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
    def test_the_ending_says_the_format(self, tmp_path, ending, start):
        path = save(credit_split({"start": BEFORE}), tmp_path / "new" / f"credit.{ending}")
        assert path.read_bytes().startswith(start)
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    def test_an_unknown_ending_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"in the format 'docx'; expected one of .*png"):
            save(credit_split({"start": BEFORE}), tmp_path / "x.docx")
        assert not list(tmp_path.iterdir())

    def test_what_fails_leaves_the_old_file_and_nothing_beside_it(self, tmp_path, monkeypatch):
        figure = credit_split({"start": BEFORE})
        path = save(figure, tmp_path / "credit.svg")
        old = path.read_bytes()

        def write_half(file, **options):
            file.write_bytes(b"half")
            raise OSError("disk full")

        monkeypatch.setattr(figure, "savefig", write_half)
        with pytest.raises(OSError, match="disk full"):
            save(figure, path)
        assert path.read_bytes() == old
        assert list(tmp_path.iterdir()) == [path]


def run_fresh(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_matplotlib_the_error_names_the_extra():
    code = """
import sys
sys.modules["matplotlib"] = None
from dspy_router.evaluation.plots import learning_curve
learning_curve({"val": [(0, 1)]})
"""
    assert "Plots need matplotlib: pip install 'dspy-router[plot]'" in run_fresh(code).stderr


def test_pyplot_and_its_backend_are_left_alone(tmp_path):
    code = f"""
import sys
from dspy_router.evaluation.plots import learning_curve, save
save(learning_curve({{"val": [(0, 1)]}}), {str(tmp_path / "x.png")!r})
print("matplotlib.pyplot" in sys.modules)
"""
    assert run_fresh(code).stdout.split() == ["False"]
