"""What exporting a router makes of it: how quick, how alike, how small, and how soon it is there."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.baselines import train_logistic
from benchmarks.fewshot import few_shot
from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, Corpus, Setting
from benchmarks.speed import PEER, PEER_ONE_THREAD, one_thread, time_in_turn
from benchmarks.training import count_right, train
from dspy_router.data.datasets import read_cards
from dspy_router.learning.settings import TrainConfig
from dspy_router.routing.encoders import SentenceEncoder
from dspy_router.routing.exporting.export import ExportReport
from dspy_router.routing.router import Router
from dspy_router.runtime.exported import ExportedRouter

CONFIG = TrainConfig(progress=False)
TEXTS, TOOLS = 300, 200
STARTS = 5
PRECISIONS: Mapping[str, Any] = {"int8": "int8", "fp32": None}
# In a process of its own: from its first statement to the first decision, and the most memory that it held meanwhile.
_START = """
import time; started = time.perf_counter()
import sys
from pathlib import Path
from dspy_router.runtime import ExportedRouter
router = ExportedRouter.load(sys.argv[1])
router.decide(sys.argv[2])
taken, processor = time.perf_counter() - started, time.process_time()
assert not {"torch", "transformers", "dspy"} & set(sys.modules)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(1000 * taken, int(status["VmHWM"].split()[0]) / 1000, 1000 * processor)
"""


class _Exported(NamedTuple):
    """A router as it was exported, and what that took."""

    router: ExportedRouter
    report: ExportReport
    folder: Path


def run(setting: Setting) -> Iterator[Figure]:
    """Text to decision without torch: milliseconds, decisions that changed, start, memory and size.

    The policy is trained on all training queries over frozen MiniLM vectors. Times are taken in blocks of texts that
    go to all candidates in turn. What lies above the encoder is timed on a router over 200 tools, calibrated, with the
    vectors at hand; its parts one by one.
    """
    for corpus in setting.corpora("clinc150"):
        router = _train(corpus, setting)
        texts = [example.text for example in corpus.val]
        texts = [texts[int(i)] for i in np.linspace(0, len(texts) - 1, min(len(texts), TEXTS))]
        with tempfile.TemporaryDirectory() as folder:
            exports = {name: _export(router, Path(folder) / name, one) for name, one in PRECISIONS.items()}
            yield from _kept(router, exports, corpus)
            yield from _times(router, exports, corpus, texts, setting)
            yield from _parts(exports["int8"].router, corpus, texts, "its own tools")
            yield from _above(router, Path(folder) / "many", corpus, texts, setting)
            yield from _starts(exports, corpus, texts[0])


def _train(corpus: Corpus, setting: Setting) -> Router:
    """A trained router that encodes each text anew, as one in use does."""
    trained = train(corpus, setting.encoder, setting.adapt(CONFIG, quick_epochs=1)).router
    parts: dict[str, Any] = {"policy": trained.policy, "vocabulary": trained.vocabulary, "views": trained.space.views}
    return Router(trained.cards, setting.encoder.encoder, **parts, memory=trained.memory, seen=trained.seen)


def _export(router: Router, folder: Path, precision: Any) -> _Exported:
    report = router.export(folder, quantize=precision, above="warn")
    return _Exported(ExportedRouter.load(folder), report, folder)


def _kept(router: Router, exports: Mapping[str, _Exported], corpus: Corpus) -> Iterator[Figure]:
    """What of the router's decisions is left on the validation part."""
    where: dict[str, Any] = {"split": "val", "data": corpus.name}
    right, n = count_right(router, corpus.val), len(corpus.val)
    probabilities = router.probabilities([example.text for example in corpus.val]).numpy()
    for name, one in exports.items():
        after = one.router.probabilities([example.text for example in corpus.val])
        same = int((after.argmax(1) == probabilities.argmax(1)).sum())
        rounding = f"largest difference of a probability {np.abs(after - probabilities).max():.1e}"
        yield Figure.share(f"{name}: same choice as torch's", same, n, note=rounding, **where)
        kept = sum(
            decision.tool == next(iter(example.labels[0]), None)
            for decision, example in zip(
                one.router.decide_batch([example.text for example in corpus.val]), corpus.val, strict=True
            )
        )
        lost, baseline = (right - kept) / n, {"accuracy of torch fp32": right / n, f"accuracy of {name}": kept / n}
        yield Figure(f"{name}: accuracy lost", lost, n=n, target=0.003, bound="at most", baselines=baseline, **where)
        seconds = f"{one.report.seconds:.1f} s with the check on {one.report.texts} {one.report.source}"
        what = f"{name}: export"
        yield Figure(what, one.report.seconds, unit="seconds", target=60, bound="at most", note=seconds, **where)
        yield Figure(f"{name}: megabytes on disk", one.report.bytes / 1e6, unit="count", **where)


def _times(
    router: Router, exports: Mapping[str, _Exported], corpus: Corpus, texts: Sequence[str], setting: Setting
) -> Iterator[Figure]:
    """Milliseconds of one decision, beside torch's and the usual way with the very same weights."""
    sentence = setting.encoder.encoder
    assert isinstance(sentence, SentenceEncoder)
    # Ten examples a tool: how long it takes does not depend on how good it is.
    model = train_logistic(setting.encoder, few_shot(corpus.train, 10, seed=setting.seed)).model

    def peer(text: str) -> Any:
        vector = sentence.model.encode([text], show_progress_bar=False, normalize_embeddings=True)
        return model.predict(vector)

    candidates: dict[str, Callable[[str], Any]] = {name: one.router.decide for name, one in exports.items()}
    candidates |= {"torch": router.decide, PEER: peer, PEER_ONE_THREAD: one_thread(peer)}
    times = time_in_turn(candidates, texts)
    where: dict[str, Any] = {"split": f"val, {len(corpus.cards)} tools", "data": corpus.name, "n": len(texts)}
    beside = {name: float(np.median(times[name])) for name in ("torch", PEER, PEER_ONE_THREAD)}
    for name in exports:
        for q in (50, 95):
            baselines = {other: float(np.percentile(times[other], q)) for other in beside}
            value = float(np.percentile(times[name], q))
            yield Figure(f"{name}: decide, p{q}", value, unit="milliseconds", baselines=baselines, **where)
        ratio = min(beside[PEER], beside[PEER_ONE_THREAD]) / float(np.median(times[name]))
        target = 10 if name == "int8" else None
        yield Figure(f"{name}: p50 of the quicker peer, divided by ours", ratio, unit="times", target=target, **where)


def _parts(
    router: ExportedRouter, corpus: Corpus, texts: Sequence[str], which: str, *, target: float | None = None
) -> Iterator[Figure]:
    """Median milliseconds of each part of a decision, and of all above the encoder together."""
    vectors = {text: router.vectoriser([text]) for text in texts}
    open_row = np.zeros((1, len(router.tools) + 1), dtype=np.float32)
    logits = {text: router.head(vectors[text], [text], open_row) for text in texts}
    tokenize: Any = getattr(router.vectoriser, "tokenize", None)
    parts: dict[str, Callable[[str], Any]] = {} if tokenize is None else {"tokeniser": lambda text: tokenize([text])}
    parts |= {
        "tokeniser and encoder graph": lambda text: router.vectoriser([text]),
        "words and policy graph": lambda text: router.head(vectors[text], [text], open_row),
        "calibration and record": lambda text: router.conclude(logits[text]),
        "all above the encoder": lambda text: router.conclude(router.head(vectors[text], [text], open_row)),
    }
    times = time_in_turn(parts, texts)
    split = f"val, {len(router.tools)} tools ({which}), {router.precision}"
    for name, values in times.items():
        wanted: dict[str, Any] = {} if name != "all above the encoder" else {"target": target, "bound": "at most"}
        value = statistics.median(values)
        yield Figure(f"{name}, p50", value, split, corpus.name, "milliseconds", n=len(texts), **wanted)


def _above(router: Router, folder: Path, corpus: Corpus, texts: Sequence[str], setting: Setting) -> Iterator[Figure]:
    """The same over 200 tools, calibrated: clinc150's and some of toole's."""
    names = set(router.tools)
    more = [card for card in read_cards(setting.data / LABELLED["toole"][0]) if card.name not in names]
    router.add_tools(more[: TOOLS - len(names)])
    router.calibrate(corpus.val[:: max(1, len(corpus.val) // 400)], seen="drop")
    yield from _parts(_export(router, folder, "int8").router, corpus, texts, "calibrated", target=0.1)


def _starts(exports: Mapping[str, _Exported], corpus: Corpus, text: str) -> Iterator[Figure]:
    """A process of its own, from nothing to the first decision."""
    where: dict[str, Any] = {"split": f"{STARTS} processes, median", "data": corpus.name, "n": STARTS}
    for name, one in exports.items():
        runs, walls = [], []
        for _ in range(STARTS):
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", _START, str(one.folder), text], check=True, capture_output=True, text=True
            )
            walls.append(1000 * (time.perf_counter() - started))
            runs.append([float(value) for value in done.stdout.split()])
        taken, memory, processor = (statistics.median(values) for values in zip(*runs, strict=True))
        beside = {"whole process, interpreter included": statistics.median(walls), "processor time of it": processor}
        what = f"{name}: cold start to the first decision"
        limit: dict[str, Any] = {"target": 1000, "bound": "at most"}
        yield Figure(what, taken, unit="milliseconds", baselines=beside, **limit, **where)
        what = f"{name}: most megabytes resident"
        yield Figure(what, memory, unit="count", target=250, bound="at most", **where)


BENCHMARK = Benchmark(
    "export",
    run,
    target="int8: ≥ 10 × the peer, ≤ 0.3 points lost, ≤ 0.1 ms above the encoder; start ≤ 1 s, ≤ 250 MB; export ≤ 60 s",
    needs={"clinc150": (*LABELLED["clinc150"], LABELLED["toole"][0])},
)
