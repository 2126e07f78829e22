"""A training run that was killed goes on where it was and ends as if it had not been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from routers import CARDS, IDENTITY, Killed, hash_router, kill_after, quick, small

from dspy_router import Router, fit

NONE = [{"query": "sing me a song", "tool": None}, {"query": "tell me a joke", "tool": None}]
QUERIES = [row["query"] for row in [*IDENTITY, *NONE]]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


class TestResuming:
    @pytest.mark.parametrize(
        ("kind", "neighbours"), [("hash", 0), ("hash", 3), ("gru", 0), ("gru", 3), ("transformer", 0)]
    )
    @pytest.mark.parametrize("val", [None, [*NONE, *IDENTITY[:3]]], ids=["plain", "validated"])
    @pytest.mark.parametrize("after", [1, 3])
    def test_a_killed_run_ends_as_if_it_had_not_been(self, kind, neighbours, val, after, tmp_path, monkeypatch):
        examples = [*IDENTITY, *NONE]
        settings = {"epochs": 5, "patience": 5, "batch_size": 4, "deep_from": 1, "neighbours": neighbours}
        config = quick(**settings, checkpoint=str(tmp_path))
        uninterrupted = small(kind)
        fit(uninterrupted, examples, val=val, config=quick(**settings))
        router = small(kind)
        before = router.fingerprint
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_after(patch, after)
            fit(router, examples, val=val, config=config)
        assert router.fingerprint == before
        torch.rand(3)  # another process has drawn other numbers
        report = fit(router, examples, val=val, config=config)
        assert (report.resumed_from, len(report.epochs)) == (after, 5)
        assert router.fingerprint == uninterrupted.fingerprint
        assert torch.equal(router.probabilities(QUERIES), uninterrupted.probabilities(QUERIES))

    def test_a_run_that_ended_leaves_no_checkpoint(self, tmp_path):
        config = quick(checkpoint=str(tmp_path))
        assert fit(hash_router(), IDENTITY, config=config).resumed_from == 0
        assert fit(hash_router(), IDENTITY, config=config).resumed_from == 0
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("change", ["settings", "data", "router"])
    def test_another_run_does_not_take_the_checkpoint(self, change, tmp_path, monkeypatch):
        config = quick(checkpoint=str(tmp_path))
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_after(patch, 2)
            fit(hash_router(), IDENTITY, config=config)
        router = hash_router(CARDS[::-1] if change == "router" else CARDS)
        rows = IDENTITY[:-1] if change == "data" else IDENTITY
        other = quick(checkpoint=str(tmp_path), smoothing=0.2) if change == "settings" else config
        with pytest.raises(ValueError, match="belongs to a run with other settings, data or another router"):
            fit(router, rows, config=other)

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["hash", "gru"])
    def test_a_process_that_was_really_killed(self, kind, tmp_path):
        """Killed at whatever moment it is in, then run again in a new process and to its end."""
        command = [sys.executable, "-c", SCRIPT, kind, str(tmp_path / "run"), str(tmp_path / "router")]
        here = Path(__file__).parent
        environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"}
        process = subprocess.Popen(command, env=environment)
        deadline = time.monotonic() + 120
        while not (tmp_path / "run" / "checkpoint.pt").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -signal.SIGKILL  # else it was over before it could be killed
        assert not (tmp_path / "router").exists()
        again = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300)
        assert int(again.stdout) > 0
        uninterrupted = small(kind)
        fit(uninterrupted, IDENTITY, val=IDENTITY, config=quick(epochs=EPOCHS, patience=EPOCHS, batch_size=2))
        assert Router.load(tmp_path / "router").fingerprint == uninterrupted.fingerprint


EPOCHS = 120
SCRIPT = """
import sys, torch
from routers import IDENTITY
from routers import quick, small
from test_resuming import EPOCHS, fit
torch.set_num_threads(1)
kind, run, folder = sys.argv[1:]
router = small(kind)
config = quick(epochs=EPOCHS, patience=EPOCHS, batch_size=2, checkpoint=run)
report = fit(router, IDENTITY, val=IDENTITY, config=config)
router.save(folder)
print(report.resumed_from)
"""
