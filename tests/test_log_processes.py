"""A decision log and processes: ended, killed, forked, many at once, and one that may write no more."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dspy_router.data.log import DecisionLog

TESTS = Path(__file__).parent


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a program of its own that logs."""
    whole = f"import sys\nfrom episodes import *\nfrom dspy_router.data.log import DecisionLog\n{textwrap.dedent(code)}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (TESTS, TESTS.parent)))}
    command = [sys.executable, "-c", whole, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    process = start(code, *arguments)
    told = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, *told)


def test_a_program_that_just_ends_has_written_everything(tmp_path):
    done = run("log = DecisionLog(sys.argv[1])\nfor n in range(100): log.record(episode(str(n)))", f"{tmp_path}/log")
    assert done.returncode == 0, done.stderr
    assert [one.text for one in DecisionLog.open(tmp_path / "log").episodes()] == [str(n) for n in range(100)]


@pytest.mark.parametrize("mode", ["queue", "sync"])
def test_what_was_acknowledged_survives_a_kill(tmp_path, mode):
    code = """
        log = DecisionLog(sys.argv[1], mode=sys.argv[2])
        for number in range(10 ** 9):
            log.record(episode(str(number)))
            if number % 7 == 0 and log.flush():
                print(number, flush=True)
                if number == 35:
                    import os, signal
                    log.record(episode("in the queue"))
                    os.kill(os.getpid(), signal.SIGKILL)
    """
    done = run(code, f"{tmp_path}/log", mode)
    assert done.returncode == -signal.SIGKILL
    acknowledged = int(done.stdout.split()[-1])
    with DecisionLog(tmp_path / "log") as log:
        texts = [one.text for one in log.episodes()]
    assert texts[: acknowledged + 1] == [str(number) for number in range(acknowledged + 1)]
    check = sqlite3.connect(tmp_path / "log")
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    check.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("how", ["multiprocessing", "os.fork"])
def test_parent_and_forked_child_write_each_row_once(tmp_path, how):
    code = """
        import multiprocessing, os
        log = DecisionLog(sys.argv[1])
        log.record(episode("queued before the fork"))
        def child():
            for number in range(20):
                log.record(episode(f"child {number}"))
            assert sys.argv[2] == "multiprocessing" or log.flush()
        if sys.argv[2] == "multiprocessing":
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            process.join()
            assert process.exitcode == 0
        else:
            pid = os.fork()
            if pid == 0:
                child()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        log.record(episode("parent"))
    """
    done = run(code, f"{tmp_path}/log", how)
    assert done.returncode == 0, done.stderr
    texts = sorted(one.text for one in DecisionLog.open(tmp_path / "log").episodes())
    assert texts == sorted([*(f"child {n}" for n in range(20)), "parent", "queued before the fork"])


def test_processes_begin_one_log_at_once(tmp_path):
    code = "log = DecisionLog(sys.argv[1], mode='sync')\nfor n in range(10): log.record(episode(str(n)))"
    started = [start(code, f"{tmp_path}/log") for _ in range(3)]
    assert [process.communicate(timeout=60)[1] for process in started] == ["", "", ""]
    assert DecisionLog.open(tmp_path / "log").stats().decisions == 30


def test_where_the_file_may_grow_no_more_the_agent_goes_on_and_the_file_stays_whole(tmp_path):
    code = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        queue, sync = DecisionLog(sys.argv[1], capacity=100), DecisionLog(sys.argv[2], mode="sync")
        acknowledged = 0
        for number in range(2_000):
            queue.record(episode("x" * 1000))
        queue.flush(0.2)
        assert queue.dropped > 0 and queue.failures > 0, (queue.dropped, queue.failures)
        try:
            while True:
                sync.record(episode("x" * 1000))
                acknowledged += 1
        except OSError as error:
            print(acknowledged, error)
        queue.close(0.1)
    """
    done = run(code, f"{tmp_path}/queue", f"{tmp_path}/sync")
    assert done.returncode == 0, done.stderr
    acknowledged, _, error = done.stdout.partition(" ")
    assert f"{tmp_path}/sync" in error
    for name in ("queue", "sync"):
        check = sqlite3.connect(tmp_path / name)
        assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        check.close()
    assert DecisionLog.open(tmp_path / "sync").stats().decisions == int(acknowledged) > 0
