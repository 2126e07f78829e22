"""The versions of a router: what was promoted can be gone back to, and nothing is half-replaced."""

from __future__ import annotations

import pytest
from filelock import FileLock
from routers import hash_router

from dspy_router import Router, fit
from dspy_router.learning.settings import TrainConfig
from dspy_router.learning.versions import Versions

ROWS = [{"query": "add the numbers", "tool": "add"}, {"query": "what is the time", "tool": "clock"}]


@pytest.fixture
def folder(tmp_path):
    hash_router().save(tmp_path / "router")
    return tmp_path / "router"


def trained(seed: int) -> Router:
    router = hash_router()
    rows = [{"query": f"{name} please {seed}", "tool": name} for name in router.tools]
    fit(router, rows, config=TrainConfig(epochs=1, progress=False, seed=seed))
    return router


def test_a_promoted_router_is_the_one_in_the_folder(folder):
    first, challenger = Router.load(folder), trained(1)
    version = Versions(folder).promote(challenger, report={"accuracy": 0.9})
    assert Router.load(folder).fingerprint == challenger.fingerprint == version.fingerprint
    versions = Versions(folder)
    assert [one.number for one in versions.all] == [1, 2]
    assert versions.current == 2
    assert versions.all[0].fingerprint == first.fingerprint
    assert versions.all[1].report == {"accuracy": 0.9}


def test_rolling_back_brings_the_earlier_router_again(folder):
    first, second, third = Router.load(folder), trained(1), trained(2)
    versions = Versions(folder)
    versions.promote(second, report={})
    versions.promote(third, report={})
    assert versions.rollback().fingerprint == second.fingerprint == Router.load(folder).fingerprint
    assert versions.rollback().number == 1
    assert Router.load(folder).fingerprint == first.fingerprint
    with pytest.raises(ValueError, match=r"no version of .* before the one in use"):
        versions.rollback()
    assert versions.rollback(to=3).number == versions.current == 3
    assert Router.load(folder).fingerprint == third.fingerprint


def test_a_promotion_after_a_rollback_loses_no_version(folder):
    versions = Versions(folder)
    versions.promote(trained(1), report={})
    versions.rollback()
    versions.promote(trained(2), report={})
    assert [one.number for one in versions.all] == [1, 2, 3]
    assert versions.rollback().number == 2


def test_a_router_saved_by_hand_in_between_is_kept_too(folder):
    versions = Versions(folder)
    versions.promote(trained(1), report={})
    by_hand = trained(2)
    by_hand.save(folder)
    versions.promote(trained(3), report={})
    assert [one.note for one in versions.all] == ["was there first", "learned", "saved by other means", "learned"]
    versions.rollback()
    assert Router.load(folder).fingerprint == by_hand.fingerprint


def test_bad_input_is_refused_and_changes_nothing(folder, tmp_path):
    versions = Versions(folder)
    with pytest.raises(ValueError, match="has no version 7; there are no versions yet"):
        versions.rollback(to=7)
    with pytest.raises(FileNotFoundError, match="no router"):
        Versions(tmp_path / "nothing").promote(trained(1), report={})
    assert not (tmp_path / "nothing.versions").exists()
    versions.promote(trained(1), report={})
    with pytest.raises(ValueError, match="has no version 7; the versions are 1, 2"):
        versions.rollback(to=7)
    (versions.archive / "versions.json").write_text("{")
    with pytest.raises(ValueError, match=r"versions\.json' is damaged"):
        Versions(folder)


def test_two_at_once_are_refused(folder):
    versions = Versions(folder)
    versions.promote(trained(1), report={})
    before = Router.load(folder).fingerprint
    lock = FileLock(versions.archive / ".lock", is_singleton=False)
    with lock, pytest.raises(BlockingIOError, match="Another process is changing the versions"):
        versions.promote(trained(2), report={})
    assert Router.load(folder).fingerprint == before


def test_a_promotion_killed_on_the_way_leaves_the_one_in_use(folder, monkeypatch):
    versions = Versions(folder)
    versions.promote(trained(1), report={})
    before = Router.load(folder).fingerprint

    def killed(files, place):
        raise OSError("disk full")

    monkeypatch.setattr("dspy_router.learning.versions.write_folder", killed)
    with pytest.raises(OSError, match="disk full"):
        versions.promote(trained(2), report={})
    monkeypatch.undo()
    assert Router.load(folder).fingerprint == before
    assert versions.current == 2
    assert versions.promote(trained(3), report={}).number == 3
