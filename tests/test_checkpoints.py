"""Checkpoints: whole or not at all, and only for the run they belong to."""

from __future__ import annotations

import pickle

import pytest
import torch

from dspy_router.learning.checkpoints import Checkpoints

STATE = {"weights": torch.arange(3.0), "epoch": 2, "score": [0.5, -1.0], "best": None}


def test_what_was_saved_is_loaded(tmp_path):
    Checkpoints(tmp_path / "a" / "b", {"seed": 1}).save(STATE)
    state = Checkpoints(tmp_path / "a" / "b", {"seed": 1}).load()
    assert state is not None
    assert torch.equal(state["weights"], STATE["weights"])
    assert (state["epoch"], state["score"], state["best"]) == (2, [0.5, -1.0], None)


def test_none_before_the_first_and_after_the_end(tmp_path):
    checkpoints = Checkpoints(tmp_path, {})
    assert checkpoints.load() is None
    checkpoints.clear()
    checkpoints.save(STATE)
    checkpoints.clear()
    assert checkpoints.load() is None


def test_the_run_is_told_by_its_identity_not_by_the_order_of_keys(tmp_path):
    Checkpoints(tmp_path, {"seed": 1, "data": ["é", None]}).save(STATE)
    assert Checkpoints(tmp_path, {"data": ["é", None], "seed": 1}).load() is not None
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        Checkpoints(tmp_path, {"seed": 2, "data": ["é", None]}).load()


def test_a_kill_while_writing_leaves_the_old_one(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(STATE)

    def half_written(state, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save({**STATE, "epoch": 3})
    state = Checkpoints(tmp_path, {}).load()
    assert state is not None and state["epoch"] == 2


def test_a_damaged_file_is_refused_by_name(tmp_path):
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(STATE)
    checkpoints.path.write_bytes(checkpoints.path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"checkpoint\.pt' cannot be read .* delete it to start anew"):
        checkpoints.load()


class Payload:
    def __reduce__(self):
        return (print, ("code of a stranger ran",))


def test_a_foreign_pickle_runs_no_code(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path, {})
    for foreign in ({"identity": checkpoints.identity, "weights": Payload()}, Payload()):
        with checkpoints.path.open("wb") as file:
            pickle.dump(foreign, file, protocol=2) if isinstance(foreign, Payload) else torch.save(foreign, file)
        with pytest.raises(ValueError, match="cannot be read"):
            checkpoints.load()
    assert capsys.readouterr().out == ""
