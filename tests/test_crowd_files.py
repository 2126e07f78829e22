"""A router with an index as files: mapped when read, and refused by name when something is amiss."""

from __future__ import annotations

import copy
import logging
import mmap
import shutil

import numpy as np
import pytest
from crowds import CARDS, EXHAUSTIVE, FRESH, QUERIES, crowd_of, crowded, index_of

from dspy_router import Router
from dspy_router.routing.many import nearest
from dspy_router.routing.many.files import ARRAYS, INDEX, crowd_files, read_crowd
from dspy_router.runtime.folder import read_folder


@pytest.fixture(scope="module")
def router():
    return crowded()


@pytest.fixture
def folder(router, tmp_path):
    router.save(tmp_path / "router")
    return tmp_path / "router"


def changed(router):
    """One whose tools have come and gone, some of them not in the index yet."""
    router = copy.deepcopy(router)
    router.add_tools(FRESH)
    router.remove_tools([card.name for card in (*CARDS[:5], *FRESH[:3])])
    return router


def source_of(array):
    """What the memory of an array belongs to."""
    return source_of(array.base) if isinstance(array, np.ndarray) else array


class TestRoundTrip:
    @pytest.mark.parametrize("make", [copy.deepcopy, changed])
    def test_what_was_saved_is_loaded_bit_for_bit(self, router, make, tmp_path):
        router = make(router)
        router.save(tmp_path / "router")
        again = Router.load(tmp_path / "router")
        assert again.fingerprint == router.fingerprint
        assert again.decide_batch(QUERIES) == router.decide_batch(QUERIES)
        assert (again.cards, again.index) == (router.cards, router.index)
        for one in (again, router):  # and it is a whole router, not a picture of one
            one.add_tools(CARDS[:2] if make is changed else FRESH[:2])
            one.remove_tools([CARDS[100].name])
        assert again.decide_batch(QUERIES) == router.decide_batch(QUERIES)

    def test_what_lies_in_the_folder_is_mapped_not_read(self, folder):
        loaded = Router.load(folder)
        for array in (crowd_of(loaded).segments[0].views, crowd_of(loaded).segments[0].points):
            assert isinstance(source_of(array).obj, mmap.mmap)
        before = loaded.decide_batch(QUERIES)
        loaded.save(folder)  # over the very files that it looks into
        assert loaded.decide_batch(QUERIES) == before == Router.load(folder).decide_batch(QUERIES)

    def test_a_loaded_one_can_grow_into_its_index(self, folder, monkeypatch):
        monkeypatch.setattr("dspy_router.routing.many.crowd._MOST_FRESH", 10)
        loaded = Router.load(folder)
        loaded.add_tools(FRESH)
        assert len(index_of(loaded)) == 340
        assert loaded.decide(FRESH[30].description).tool == FRESH[30].name

    def test_a_router_without_an_index_is_saved_as_ever(self, tmp_path):
        small = crowded(CARDS[:20])
        small.save(tmp_path)
        assert not (tmp_path / INDEX).exists()
        again = Router.load(tmp_path)
        assert again.index == small.index
        again.add_tools(CARDS[20:60])
        assert again.crowd is not None


class TestDamage:
    @pytest.mark.parametrize("name", [INDEX, ARRAYS])
    def test_a_missing_file_is_named(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(ValueError, match=f"its file {name} is missing"):
            Router.load(folder)

    @pytest.mark.parametrize("name", [INDEX, ARRAYS])
    @pytest.mark.parametrize("length", [0, 100, -1])
    def test_a_truncated_file_is_named(self, folder, name, length):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:length])
        with pytest.raises(ValueError, match=f"{name} is not what was saved"):
            Router.load(folder)

    def test_the_index_of_other_tools_is_refused(self, folder, tmp_path):
        crowded(CARDS[1:]).save(tmp_path / "other")
        shutil.copy(tmp_path / "other" / INDEX, folder / INDEX)
        with pytest.raises(ValueError, match=rf"{INDEX} is not what was saved.*belongs to a router of other tools"):
            Router.load(folder)

    def test_an_index_that_somebody_signed_with_other_tools_is_refused_too(self, router):
        files, entry = crowd_files(router.crowd)
        other = crowded(CARDS[1:]).to_files()
        names = list(router.tools)
        with pytest.raises(ValueError, match="is one of other tools: it holds 299 points of length 64, expected 300"):
            read_crowd({**files, INDEX: other[INDEX]}, entry, names, "a test")
        with pytest.raises(ValueError, match="holds other tools than its cards"):
            read_crowd(files, entry, names[::-1], "a test")
        with pytest.raises(ValueError, match=f"{INDEX} is no index"):
            read_crowd({**files, INDEX: b"not an index at all" * 10}, entry, names, "a test")

    def test_where_usearch_is_not_installed_every_tool_is_looked_at_and_that_is_said(
        self, folder, router, monkeypatch, caplog
    ):
        monkeypatch.setattr(nearest.importlib.util, "find_spec", lambda name: None)
        with caplog.at_level(logging.WARNING):
            loaded = Router.load(folder)
        assert "pip install dspy-router[many]" in caplog.text
        assert [one.tool for one in loaded.decide_batch(QUERIES)] == [one.tool for one in router.decide_batch(QUERIES)]

    def test_an_index_is_made_for_a_router_that_was_saved_where_usearch_was_not_installed(self, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(nearest.importlib.util, "find_spec", lambda name: None)
            crowded(**EXHAUSTIVE).save(tmp_path)
        loaded = Router.load(tmp_path)
        assert len(index_of(loaded)) == len(CARDS)

    def test_files_in_memory_do_as_well(self, router, folder):
        assert Router.from_files(router.to_files()).decide_batch(QUERIES) == router.decide_batch(QUERIES)
        assert set(read_folder(folder)) == set(router.to_files())
