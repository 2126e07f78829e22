"""How fast the decision log is, what it loses, and what it costs a decision."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.figures import Benchmark, Figure
from benchmarks.log_writers import OPTIONS, made_up
from benchmarks.setting import Setting
from dspy_router.data.log import DecisionLog, new_id
from dspy_router.data.log_reader import LogReader
from dspy_router.demo.tools import TOOLS
from dspy_router.records import Episode, Step
from dspy_router.routing.encoders import HashEncoder, SentenceEncoder
from dspy_router.routing.router import Router

PROCESSES, ROWS, PLAIN_ROWS, KILLS = 8, 20_000, 2_000, 50
ROUNDS, BLOCK, HASH_BLOCK, WARM_UP = 30, 60, 600, 20
QUICK_PROCESSES, QUICK_ROWS, QUICK_KILLS, QUICK_BLOCK = 2, 300, 2, 30
LEAST_ROWS_A_SECOND, MOST_OVERHEAD = 5_000.0, 0.05


def run(setting: Setting) -> Iterator[Figure]:
    """Rows a second from eight processes, rows lost, kills survived, and what logging adds to a decision.

    Every row is an episode of one decision over 14 tools and one step. The kills come at random moments of a process
    that records, and says after each row (`sync`) or each flush (`queue`) what it was told is in the file.
    """
    if not setting.wants("demo"):
        return
    with tempfile.TemporaryDirectory(dir=setting.out if setting.out.is_dir() else None) as folder:
        yield from _throughput(Path(folder), setting)
        for mode in ("sync", "queue"):
            yield _kills(Path(folder), mode, setting)
        yield from _overhead(Path(folder), setting)


def _throughput(folder: Path, setting: Setting) -> Iterator[Figure]:
    count, rows = (QUICK_PROCESSES, QUICK_ROWS) if setting.quick else (PROCESSES, ROWS)
    where: dict[str, Any] = {"split": f"{count} processes × {rows} decisions, {OPTIONS} tools", "data": "demo"}
    path = folder / "throughput"
    DecisionLog(path).close()
    # Not by multiprocessing, which would load this whole program again in each of them.
    command = [sys.executable, "-m", "benchmarks.log_writers", "write", str(path), str(rows)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen([*command, str(number)], **pipes) for number in range(count)]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()  # it is ready
    started = time.perf_counter()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.close()
    failed = sum(worker.wait() != 0 for worker in workers)
    seconds = time.perf_counter() - started
    found = LogReader.open(path).stats()
    texts = {episode.text for episode in LogReader.open(path).episodes()}
    wanted = count * rows
    lost = wanted - len(texts)
    plain = _plain_insert(folder / "plain", QUICK_ROWS if setting.quick else PLAIN_ROWS)
    yield Figure(
        "decisions lost",
        float(lost),
        unit="count",
        target=0.0,
        bound="at most",
        note=f"{found.decisions} rows and {found.steps} steps in the file, integrity {_integrity(path)}, "
        f"{failed} processes failed",
        **where,
    )
    yield Figure(
        "decisions a second in total, from the first record to the last flush",
        wanted / seconds,
        unit="per second",
        target=LEAST_ROWS_A_SECOND,
        baselines={"plain sqlite3, one process, a commit a row, no steps": plain},
        note=f"each with its step; queue mode, record waits for a place; {found.bytes / 1e6:.0f} MB",
        **where,
    )


def _plain_insert(path: Path, rows: int) -> float:
    """Rows a second of the obvious way: one table, a commit for each row, SQLite as it comes."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE decisions (id TEXT PRIMARY KEY, inputs TEXT, tool TEXT, probabilities TEXT)")
        started = time.perf_counter()
        for number in range(rows):
            episode = made_up(number)
            first = episode.decisions[0]
            values = (first.id, json.dumps(dict(episode.inputs)), first.tool, json.dumps(dict(first.probabilities)))
            connection.execute("INSERT INTO decisions VALUES (?, ?, ?, ?)", values)
            connection.commit()
        return rows / (time.perf_counter() - started)


def _kills(folder: Path, mode: str, setting: Setting) -> Figure:
    """Kill a writing process at random moments, each time on the log that the killed ones before it have left."""
    rng = random.Random(setting.seed)
    path = folder / mode
    kills = QUICK_KILLS if setting.quick else KILLS
    damaged, told = 0, []
    for kill in range(kills):
        command = [sys.executable, "-m", "benchmarks.log_writers", mode, str(path), str(kill)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline()]  # it has begun
            time.sleep(rng.uniform(0.0, 0.3))
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.read().split("\n")
        # A number that was cut off in the middle was not told.
        told.append(max((int(line) for line in lines[:-1] if line.strip()), default=-1))
        damaged += _integrity(path) != "ok"
    kept = {episode.text for episode in LogReader.open(path).episodes()}
    missing = sum(
        made_up(number, process=kill).text not in kept for kill, last in enumerate(told) for number in range(last + 1)
    )
    acknowledged = sum(last + 1 for last in told)
    return Figure(
        f"{mode}: acknowledged decisions missing after {kills} kills",
        float(missing),
        unit="count",
        target=0.0,
        bound="at most",
        split=f"{kills} kill -9 at random moments, one log",
        data="demo",
        note=f"{acknowledged} acknowledged; PRAGMA integrity_check failed {damaged} times",
    )


def _integrity(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


def _overhead(folder: Path, setting: Setting) -> Iterator[Figure]:
    """What recording adds to a decision, with the default queue; the time until all is written counts as well.

    Blocks of decisions go with and without the log in turn, and change places after each round, so that a busy moment
    of the machine falls on both alike. The processor's time, that of the writing thread included, says what is added
    also where others are at work; the clock says what a caller waits, and is as restless as the machine.
    """
    encoders: dict[str, tuple[int, Callable[[], Any]]] = {
        "minilm": (BLOCK, lambda: SentenceEncoder("minilm")),
        "hash": (HASH_BLOCK, HashEncoder),
    }
    for name, (whole, encoder) in encoders.items():
        rounds, block = (2, QUICK_BLOCK) if setting.quick else (ROUNDS, whole)
        router = Router.from_tools(TOOLS, encoder=encoder())
        texts = [f"what is {number} plus {number + 1}, and how late is it in Lima" for number in range(block)]
        times: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        with DecisionLog(folder / f"overhead-{name}") as log:
            for text in texts[:WARM_UP]:
                _decide(router, text, log)
            log.flush()
            for number in range(rounds):
                for logged in (False, True) if number % 2 else (True, False):
                    times[logged].append(_time_block(router, texts, log if logged else None))
            dropped = log.dropped
        for column, clock in enumerate(("processor's time", "time by the clock")):
            alone, logged = ([pair[column] for pair in times[way]] for way in (False, True))
            each = [1000 * statistics.median(values) / block for values in (alone, logged)]
            yield Figure(
                f"{name}: what logging adds to a decision, {clock}",
                statistics.median(after / before - 1 for before, after in zip(alone, logged, strict=True)),
                target=MOST_OVERHEAD if name == "minilm" else None,
                bound="at most",
                split=f"median of {rounds} rounds of {block} texts, {len(router.tools)} tools",
                data="demo",
                note=f"{each[0]:.3f} ms a decision alone, {each[1]:.3f} ms with record, the writing counted; "
                f"{dropped} dropped",
            )


def _time_block(router: Router, texts: Sequence[str], log: DecisionLog | None) -> tuple[float, float]:
    """Seconds of the processor, all threads, and by the clock."""
    clock, processor = time.perf_counter(), time.process_time()
    for text in texts:
        _decide(router, text, log)
    if log is not None:
        log.flush()
    return time.process_time() - processor, time.perf_counter() - clock


def _decide(router: Router, text: str, log: DecisionLog | None) -> None:
    """Decide, and log it the way an agent does; without a log the same record is made and thrown away."""
    decision = replace(router.decide(text), id=new_id())
    steps = () if decision.tool is None else (Step(decision.tool, {"expression": text}, "42", filled_by="rules"),)
    episode = Episode({"query": text}, steps, decisions=(decision,))
    if log is not None:
        log.record(episode)


BENCHMARK = Benchmark(
    "log",
    run,
    target="8 × 20,000 decisions, none lost, 5,000 a second; 50 kills lose nothing told to be kept; 5 % of a decision",
)
