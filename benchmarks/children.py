"""A fresh process for each candidate: how soon its first decision is there, and how much memory it came to hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Nothing heavy is imported up here: this file is what the fresh process runs, and its seconds are counted.
EXPORTED, ROUTER = "ExportedRouter", "Router"


class Saved(NamedTuple):
    """What a fresh process loads: a kind of candidate, its folder, and the folder of its sentence encoder if any."""

    kind: str
    folder: Path
    model: str = ""


class Start(NamedTuple):
    """Seconds from asking for the process to its first decision, and the most megabytes it held by its last one."""

    seconds: float
    megabytes: float


def start(saved: Saved, texts: Sequence[str]) -> Start:
    """Start an interpreter that loads a candidate and decides these texts one by one.

    Args:
        saved: What to load.
        texts: What to decide; the first ends the cold start.

    Raises:
        RuntimeError: If the process failed; its last lines are in the message.
    """
    home = str(Path(__file__).resolve().parents[1])
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "benchmarks.children", json.dumps([*map(str, saved)]), json.dumps([*texts])]
    with tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=saved.folder
        ) as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            seconds = time.perf_counter() - began
            last = child.stdout.read().split()
        errors.seek(0)
        if child.returncode or not first or not last:
            told = "\n".join(errors.read().splitlines()[-5:])
            raise RuntimeError(f"A fresh process could not decide with {saved.kind} from '{saved.folder}': {told}")
    return Start(seconds, float(last[-1]))


def load(saved: Saved) -> Callable[[str], Any]:
    """What decides one text, read from its folder; imports what it needs and no more."""
    if saved.kind == EXPORTED:
        from dspy_router.runtime import ExportedRouter

        return ExportedRouter.load(saved.folder).decide
    if saved.kind == ROUTER:
        from dspy_router.routing.router import Router

        return Router.load(saved.folder).decide
    from benchmarks.peers import PEERS, sentence_encode

    encode = None
    if saved.model:
        from sentence_transformers import SentenceTransformer

        encode = sentence_encode(SentenceTransformer(saved.model, device="cpu"))
    return PEERS[saved.kind].load(saved.folder, encode).decide


def _most_megabytes() -> float:
    """The most that this process ever held in memory, in millions of bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    import resource  # elsewhere; on macOS it counts bytes

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _main() -> None:
    kind, folder, model = json.loads(sys.argv[1])
    texts = json.loads(sys.argv[2])
    decide = load(Saved(kind, Path(folder), model))
    decide(texts[0])
    print("decided", flush=True)
    for text in texts[1:]:
        decide(text)
    print(_most_megabytes(), flush=True)


if __name__ == "__main__":
    _main()
