"""The benchmark of many tools: its crowd, its ranks, and that a small run goes through."""

from __future__ import annotations

import json

from benchmarks.bm25 import Bm25, fuse
from benchmarks.composed_cards import compose_cards
from benchmarks.many_tools import BENCHMARK
from benchmarks.setting import Setting
from dspy_router import ToolCard


def test_no_two_cards_are_alike_and_the_seed_decides():
    cards = compose_cards(2_000, taken=["VeloraSongFinder"], seed=3)
    assert len({card.name for card in cards}) == len({card.description for card in cards}) == 2_000
    assert "VeloraSongFinder" not in {card.name for card in cards}
    assert compose_cards(50, taken=["VeloraSongFinder"], seed=3) == cards[:50]
    assert compose_cards(50, seed=4) != compose_cards(50, seed=3)


def test_ranks_are_fused_as_in_the_paper():
    # 1/61 + 1/62 for b, 1/61 for a and 1/62 for c; equal ones go by name.
    assert fuse(["b", "a"], ["c", "b"]) == ["b", "c", "a"]
    assert fuse(["b"], ["a"]) == ["a", "b"]


def test_bm25_finds_the_card_with_the_rare_word():
    bm25 = Bm25([ToolCard("one", "find a song"), ToolCard("two", "find a zebra"), ToolCard("three", "find a film")])
    assert bm25.ranked(["the zebra", "some song"])[0][0] == 1
    assert bm25.ranked(["some song"])[0][0] == 0


def test_a_quick_run_measures_every_figure(tmp_path):
    folder = tmp_path / "toole"
    folder.mkdir()
    names = ["weather_report", "song_search", "recipe_book"]
    cards = [{"name": name, "description": f"A {name.replace('_', ' ')}."} for name in names]
    rows = [{"query": f"{name.replace('_', ' ')} number {i}", "tool": name} for name in names for i in range(8)]
    for part, content in (("tools", cards), ("train", rows), ("val", rows[::2])):
        (folder / f"{part}.jsonl").write_text("\n".join(map(json.dumps, content)))
    figures = list(BENCHMARK.run(Setting(tmp_path, tmp_path / "out", quick=True)))
    found = {figure.what: figure for figure in figures}
    assert found["recall@10 of the index against a look at every tool"].value > 0.9
    assert found["untrained, the right tool within the first 5 of 3,000, tools alone"].value > 0.9
    assert sum(figure.unit == "milliseconds" for figure in figures) == 2
