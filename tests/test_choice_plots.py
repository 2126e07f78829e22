"""Pictures of choices: what is drawn and written on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dspy_router.evaluation.choice_plots import confusion_matrix, embedding_map, word_influences


def ticks(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


class TestConfusionMatrix:
    def test_rows_are_what_was_right_and_columns_what_was_chosen(self):
        (axes,) = confusion_matrix(["a", "a", "b", None], ["a", "b", "b", "a"]).axes
        assert ticks(axes.xaxis) == ticks(axes.yaxis) == ["a", "b", "(none)"]
        # Of the two queries for a one was given a and one none; of the two for b one a and one b.
        shares = np.asarray(axes.images[0].get_array())
        np.testing.assert_allclose(shares, [[0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0, 0]])
        written = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
        assert written == {(0, 0): "1", (0, 2): "1", (1, 0): "1", (1, 1): "1"}
        assert axes.get_title() == "2 of 4 on the diagonal"

    def test_tools_come_in_the_order_asked_for_and_only_if_they_occur(self):
        (axes,) = confusion_matrix(["a", "b"], ["a", "b"], tools=["c", "b", "a"]).axes
        assert ticks(axes.yaxis) == ["b", "a"]

    @pytest.mark.parametrize(("choices", "labels"), [([], []), (["a"], ["a", "b"])])
    def test_nothing_to_draw(self, choices, labels):
        with pytest.raises(ValueError, match="one label for each choice"):
            confusion_matrix(choices, labels)


class TestEmbeddingMap:
    @pytest.fixture
    def clouds(self):
        """Ten queries around each of two directions, and three of no tool."""
        draws = np.random.default_rng(0)
        centres = np.repeat(np.eye(8)[:2], 10, axis=0)
        vectors = np.vstack([centres + 0.05 * draws.normal(size=(20, 8)), draws.normal(size=(3, 8))])
        return vectors, ["a"] * 10 + ["b"] * 10 + [None] * 3

    def test_a_tool_lies_among_its_queries(self, clouds):
        vectors, labels = clouds
        (axes,) = embedding_map(vectors, labels, {"a": np.eye(8)[0], "b": np.eye(8)[1]}).axes
        drawn = {cloud.get_label(): np.asarray(cloud.get_offsets()) for cloud in axes.collections}
        assert {name: len(points) for name, points in drawn.items()} == {"a": 10, "b": 10, "(none)": 3}
        crosses = {
            text.get_text(): np.ravel(line.get_xydata()) for text, line in zip(axes.texts, axes.lines, strict=True)
        }
        for name, other in (("a", "b"), ("b", "a")):
            near, far = (np.linalg.norm(drawn[of] - crosses[name], axis=1).mean() for of in (name, other))
            assert near < far

    def test_the_same_seed_gives_the_same_map(self, clouds):
        first, second = (np.asarray(embedding_map(*clouds).axes[0].collections[0].get_offsets()) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    def test_nothing_to_draw(self):
        with pytest.raises(ValueError, match="at least three queries"):
            embedding_map(np.eye(2), ["a", "b"])


class TestWordInfluences:
    def test_words_stand_in_the_order_of_the_text_with_their_side(self):
        (axes,) = word_influences([("weekday", 2.0), ("of", -0.5)], choice="weekday_of").axes
        bars: Any = axes.patches
        assert [bar.get_width() for bar in bars] == [2.0, -0.5]
        assert ticks(axes.yaxis) == ["weekday", "of"] and bars[0].get_y() > bars[1].get_y()
        assert bars[0].get_facecolor() != bars[1].get_facecolor()
        assert "weekday_of" in axes.get_xlabel()

    def test_of_a_long_text_the_words_that_moved_it_most(self):
        words = [(f"word{number}", float(number % 30)) for number in range(40)]
        (axes,) = word_influences(words).axes
        shown = ticks(axes.yaxis)
        assert len(shown) == 20 and "word29" in shown and "word30" not in shown
        assert shown == sorted(shown, key=lambda word: int(word.removeprefix("word")))
        assert "(none)" in axes.get_xlabel()

    def test_nothing_to_draw(self):
        with pytest.raises(ValueError, match="at least one word"):
            word_influences([])
