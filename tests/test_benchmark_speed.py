"""The speed benchmark: its figures, the one table made of them, the page of targets and the pictures."""

from __future__ import annotations

import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console
from test_benchmarks import corpus

from benchmarks.children import Saved
from benchmarks.contenders import INT8, LOGISTIC, STUDENT, TORCH, Contender
from benchmarks.figures import Figure
from benchmarks.peers import Bm25Votes
from benchmarks.setting import Setting, label_of
from benchmarks.speed import BENCHMARK, QUICKER, measure
from benchmarks.speed_plots import Point, bars, latency_accuracy, latency_tools
from benchmarks.speed_table import MEASURES, P50, by_candidate, ordered, speed_table
from benchmarks.summary import by_tools, draw, targets_table, write_page

NAMES = {TORCH: True, INT8: True, STUDENT: True, LOGISTIC: False}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The figures of four candidates that are all the same, but for one who is always wrong."""
    folder = tmp_path_factory.mktemp("bm25s")
    tiny = corpus()
    peer = Bm25Votes.fit([one.text for one in tiny.train], [label_of(one) for one in tiny.train])
    peer.save(folder)
    saved = Saved("Bm25Votes", folder)
    some = [Contender(name, ours, peer.decide, peer.right, saved) for name, ours in NAMES.items() if name != LOGISTIC]
    wrong = Contender(LOGISTIC, False, lambda text: "", lambda texts, labels: 0, saved, peer.decide)
    return list(measure([*some, wrong], tiny, quick=True))


@pytest.fixture
def setting(tmp_path):
    one = Setting(tmp_path, tmp_path / "out", seed=3)
    one.out.mkdir()
    return one


def shown(table):
    screen = Console(width=400, record=True)
    screen.print(table)
    return screen.export_text()


class TestFigures:
    def test_each_candidate_has_every_measure(self, measured):
        rows = by_candidate(measured)
        assert {name: set(row) for name, row in rows.items()} == {name: set(MEASURES) for name in NAMES}
        assert [rows[name]["accuracy"].value for name in NAMES] == [1, 1, 1, 0]

    def test_ratios_are_those_of_the_medians_in_the_same_run(self, measured):
        medians = {name: row[P50].value for name, row in by_candidate(measured).items()}
        ratios = {figure.what: figure for figure in measured if figure.unit == "times"}
        assert len(ratios) == 2  # semantic-router is not among the candidates
        for mine in (INT8, STUDENT):
            ratio = ratios[f"{mine}, p50 of {LOGISTIC} divided by its"]
            assert ratio.value == pytest.approx(medians[LOGISTIC] / medians[mine])
            assert ratio.target == QUICKER[mine, LOGISTIC]

    def test_the_quicker_of_two_ways_counts_and_both_are_told(self, measured):
        row = by_candidate(measured)[LOGISTIC][P50]
        assert row.value == min(row.baselines.values())
        assert set(row.baselines) == {"torch's threads, p50", "one thread, p50"}


class TestTable:
    def test_it_has_a_row_each_ours_first_and_the_command_in_all(self, measured, setting):
        table = speed_table(BENCHMARK, measured, setting)
        names = list(table.columns[0].cells)
        assert names[-1] == LOGISTIC
        assert set(names) == set(NAMES)
        command = "python -m benchmarks speed --on tiny --seed 3"
        assert list(table.columns[-1].cells) == [command] * len(NAMES)

    def test_ratios_in_a_row_are_of_its_own_time(self, measured, setting):
        table = speed_table(BENCHMARK, measured, setting)
        row = list(table.columns[0].cells).index(INT8)
        assert list(table.columns[4].cells)[row] == "1.0 ×"

    def test_a_missing_peer_is_named_below(self, measured, setting):
        assert "Without semantic-router, which is not installed" in shown(speed_table(BENCHMARK, measured, setting))

    def test_slices_are_never_shown_as_results(self, measured, setting):
        setting.quick = True
        text = shown(speed_table(BENCHMARK, measured, setting))
        assert "no results" in text
        assert "MISSED" not in text

    def test_candidates_that_were_not_timed_are_left_out(self, measured):
        rows = by_candidate([figure for figure in measured if figure.what != f"{TORCH}: {P50}"])
        assert TORCH not in dict(ordered(rows))


class TestSummary:
    def test_targets_of_all_benchmarks_are_in_one_table(self, setting):
        figures = {
            "one": [Figure("a", 0.5, "val", "tiny", target=0.4), Figure("b", 0.5, "val", "tiny")],
            "two": [Figure("c", 3.0, "val", "tiny", unit="seconds", target=1.0, bound="at most")],
        }
        table = targets_table(figures, setting)
        assert list(table.columns[0].cells) == ["one: tiny: a", "two: tiny: c"]
        assert [str(cell) for cell in table.columns[3].cells] == ["reached", "MISSED"]
        assert list(table.columns[5].cells)[1] == "python -m benchmarks two --on tiny --seed 3"

    def test_the_page_holds_both_tables(self, measured, setting):
        page = write_page({"speed": measured}, setting).read_text(encoding="utf-8")
        lines = [line for line in page.splitlines() if line.startswith("|")]
        assert sum(LOGISTIC in line for line in lines) >= 3  # its row, and the targets that name it
        assert len({line.count("|") for line in lines if "÷ int8" in line or line.startswith(f"| {TORCH}")}) == 1

    def test_pictures_are_drawn_of_what_was_measured(self, measured, setting):
        names = {path.name for path in draw({"speed": measured}, setting.out)}
        assert names == {"latency_accuracy.png", "throughput.png", "memory.png", "cold_start.png"}
        assert all((setting.out / name).stat().st_size > 5_000 for name in names)
        assert draw({"student": []}, setting.out) == []

    def test_times_by_number_of_tools_are_sorted_with_what_was_beside(self):
        figures = [
            Figure(
                "decide among 20,000 tools (the index), p50", 2.0, "v", "toole", "milliseconds", baselines={"all": 9.0}
            ),
            Figure("decide among 200 tools (every tool looked at), p50", 0.5, "v", "toole", "milliseconds"),
            Figure("the same, divided by the index, 20,000 tools", 4.5, "v", "toole", "times"),
        ]
        assert by_tools(figures) == {"dspy-router": [(200, 0.5), (20_000, 2.0)], "all": [(20_000, 9.0)]}


class TestPlots:
    def test_every_name_stands_beside_its_mark_and_over_no_other(self):
        crowd = {
            f"candidate {number} of a long name": Point(1.0 + number / 50, 3.0, 0.95, (0.94, 0.96), number < 2)
            for number in range(5)
        }
        figure = latency_accuracy(crowd)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        notes = [text for text in figure.axes[0].texts if text.get_text()]
        assert {text.get_text().replace("\n", " ") for text in notes} == set(crowd)
        boxes = [text.get_window_extent(canvas.get_renderer()) for text in notes]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))

    def test_bars_stand_in_the_order_given_from_the_top_down(self):
        axes = bars({"a": 10.0, "b": 2000.0}, ours=["a"], x_label="x", form=",.0f", log=True).axes[0]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
        assert [text.get_text() for text in axes.texts] == ["2,000", "10"]

    def test_a_line_each_and_ticks_where_something_was_measured(self):
        axes = latency_tools({"ours": [(200, 0.5), (2000, 0.7)], "exact": [(2000, 5.0)]}, ours=["ours"]).axes[0]
        assert [line.get_label() for line in axes.get_lines()] == ["ours", "exact"]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["200", "2,000"]

    @pytest.mark.parametrize("draw", [latency_accuracy, latency_tools])
    def test_nothing_to_draw_is_refused(self, draw):
        with pytest.raises(ValueError, match="nothing to draw"):
            draw({})
