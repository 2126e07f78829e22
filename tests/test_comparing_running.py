"""Running a comparison: gone on from a file, and interrupted."""

from __future__ import annotations

import _thread
import json
import signal
import threading
from typing import Any

import dspy
import pytest
from compared import QUESTIONS, Known, N, other_metric, quiet
from scripted import scripted_lm
from toolbelt import TOOLS, examples, small_router

from dspy_router import RoutedAgent


@pytest.fixture(autouse=True)
def _scripted():
    with dspy.context(lm=scripted_lm()):
        yield


class TestResuming:
    def test_what_is_known_is_not_run_again(self, tmp_path):
        path = tmp_path / "runs.jsonl"
        first, again = Known(QUESTIONS[:2], calls=1), Known(QUESTIONS[:2], calls=1)
        once = quiet({"a": first}, devset=examples()[:6], path=path)
        twice = quiet({"a": again}, path=path)
        assert again.asked and sorted(again.asked) == sorted(QUESTIONS[6:])
        assert twice["a"].n == N
        assert twice["a"].score == pytest.approx((N - 2) / N)
        assert [run for run in twice.runs if run.example in {one.example for one in once.runs}] == list(once.runs)

    def test_another_program_of_that_name_is_run_anew(self, tmp_path):
        path = tmp_path / "runs.jsonl"
        quiet({"a": Known()}, path=path)
        changed: Any = Known()
        changed.ask.signature = changed.ask.signature.with_instructions("Be brief.")
        assert quiet({"a": changed}, path=path)["a"].n == N
        assert len(changed.asked) == N

    def test_a_retrained_router_is_another_program(self, tmp_path):
        path = tmp_path / "runs.jsonl"
        router = small_router()
        agent = RoutedAgent("question -> answer", TOOLS, router=router, synthesis="none", fallback=None)
        quiet({"a": agent}, path=path, devset=examples()[:2])
        router.threshold = 0.5
        quiet({"a": agent}, path=path, devset=examples()[:2])
        assert len({json.loads(line)["fingerprint"] for line in path.read_text().splitlines()}) == 2

    def test_what_raised_gets_another_chance(self, tmp_path):
        path = tmp_path / "runs.jsonl"
        assert quiet({"a": Known(fails=QUESTIONS[:2])}, path=path)["a"].errors == 2
        healed = Known()
        found = quiet({"a": healed}, path=path)["a"]
        assert (found.errors, found.score) == (0, 1.0)
        assert sorted(healed.asked) == sorted(QUESTIONS[:2])

    def test_a_torn_last_line_is_dropped(self, tmp_path):
        path = tmp_path / "runs.jsonl"
        quiet({"a": Known()}, path=path)
        path.write_bytes(path.read_bytes()[:-30])
        again = Known()
        assert quiet({"a": again}, path=path)["a"].n == N
        assert len(again.asked) == 1

    def test_a_damaged_line_and_another_metric_are_named(self, tmp_path):
        path = tmp_path / "runs.jsonl"
        quiet({"a": Known()}, path=path)
        with pytest.raises(ValueError, match=r"line 1 was scored by the metric '.*is_right', not by '.*other_metric'"):
            quiet({"a": Known()}, other_metric, path=path)
        path.write_text("{]\n")
        with pytest.raises(ValueError, match="line 1 is no run"):
            quiet({"a": Known()}, path=path)


class TestInterrupt:
    @pytest.fixture(autouse=True)
    def _ctrl_c_interrupts(self):
        """As at a terminal; what a shell starts in the background ignores it."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    @pytest.mark.parametrize("num_threads", [1, 3])
    def test_what_was_done_is_kept_and_shown_and_gone_on_from(self, num_threads, tmp_path):
        path = tmp_path / "runs.jsonl"

        def interrupt(number):
            if number == 6:
                _thread.interrupt_main()  # as Ctrl-C does
            if number >= 6:
                threading.Event().wait(0.2)  # or a busy machine is through with the rest before it takes notice

        found = quiet({"a": Known(act=interrupt)}, path=path, num_threads=num_threads)
        assert found.stopped == "interrupted"
        assert 3 <= found["a"].n < N
        assert found["a"].score == 1.0
        again = Known()
        whole = quiet({"a": again}, path=path)
        assert (whole["a"].n, whole.stopped) == (N, None)
        assert len(again.asked) <= N - found["a"].n
