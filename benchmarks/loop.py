"""The loop: a stream of queries, a language model that is mostly right, and a router that takes over what it learns."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import LABELLED, Corpus, Setting, label_of
from dspy_router.data.log import DecisionLog
from dspy_router.evaluation.statistics import wilson_interval
from dspy_router.learning.loop import LoopConfig, learn
from dspy_router.learning.trainer import TrainConfig
from dspy_router.records import Episode
from dspy_router.routing.policies import ToolSpacePolicy
from dspy_router.routing.router import Router

CONFIG = TrainConfig(progress=False)
LM_RIGHT = 0.97
# Wrong is what the language model would have chosen otherwise, and it is wrong itself in three of a hundred.
LOOP = LoopConfig(max_risk=0.07)
# Share of the queries that are checked however sure the router is: before the first promotion, and after it.
AUDIT_FIRST, AUDIT = 0.4, 0.03
# After how many queries the router learns.
LEARN_AT = (1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 8_000, 10_000, 12_000, 14_000, 16_000)
LAST, SHARE, WORSE = 2_000, 0.10, 0.01


@dataclass
class Stream:
    """What happened so far, one entry a query.

    Attributes:
        asked: Whether the language model was asked.
        wrong: Whether the tool was wrong.
        promoted: After how many queries a challenger took over.
        refused: After how many one did not, and why.
    """

    asked: list[bool] = field(default_factory=list)
    wrong: list[bool] = field(default_factory=list)
    promoted: list[int] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)

    def over(self, start: int, end: int) -> tuple[float, float]:
        """Shares of queries with a call, and of wrong tools, from one query to another."""
        return float(np.mean(self.asked[start:end])), float(np.mean(self.wrong[start:end]))


def run(setting: Setting) -> Iterator[Figure]:
    """The training queries in random order, as a stream; the language model is scripted from their labels.

    It chooses the right tool 97 times in 100, else any other. At first every query goes to it. The router learns from
    its choices, in the decision log and nowhere else, and keeps what it is certified for; what it is unsure of goes on
    to the language model, and so does a share of the rest, drawn at random, to calibrate on. It never sees a label.
    """
    for corpus in setting.corpora("clinc150", "toole"):
        yield from _figures(setting, corpus)


def _figures(setting: Setting, corpus: Corpus) -> Iterator[Figure]:
    rng = random.Random(setting.seed)
    queries = rng.sample(corpus.train, len(corpus.train))
    right = [label_of(example) for example in queries]
    names = [card.name for card in corpus.cards]
    model = [
        tool if rng.random() < LM_RIGHT else rng.choice([name for name in names if name != tool]) for tool in right
    ]
    setting.encoder.prepare([example.text for example in queries], progress=True)
    stream = replay(setting, corpus, queries, right, model)
    zero = _zero_shot(_new(setting, corpus), queries, right, model)
    count, last = len(queries), min(LAST, len(queries) // 4)
    always = float(np.mean([one != other for one, other in zip(model[-last:], right[-last:], strict=True)]))
    share, wrong = stream.over(count - last, count)
    steps = [(end, *stream.over(max(0, end - last), end)) for end in range(last, count + 1, last)]
    told = "; ".join(f"{end}: {100 * asked:.0f} % asked, {100 * error:.1f} % wrong" for end, asked, error in steps)
    where = {"split": f"last {last} of train, as a stream", "data": corpus.name, "n": last}
    judged = corpus.name == "clinc150"
    yield Figure(
        "share of queries that the language model is asked",
        share,
        target=SHARE if judged else None,
        bound="at most",
        interval=wilson_interval(round(share * last), last),
        baselines={"language model always": 1.0, "zero-shot with a threshold": zero.over(count - last, count)[0]},
        note=f"as it went: {told}. Promoted after {', '.join(map(str, stream.promoted)) or 'no'} queries",
        **where,
    )
    yield Figure(
        "wrong tools, of router and language model together",
        wrong,
        target=always + WORSE if judged else None,
        bound="at most",
        interval=wilson_interval(round(wrong * last), last),
        baselines={"language model always": always, "zero-shot with a threshold": zero.over(count - last, count)[1]},
        note=f"{len(stream.promoted)} of {len(stream.promoted) + len(stream.refused)} challengers were promoted",
        **where,
    )


def replay(
    setting: Setting, corpus: Corpus, queries: Sequence[Episode], right: Sequence[str], model: Sequence[str]
) -> Stream:
    """Run the stream through router, language model, log and learning."""
    router, stream, draws = _new(setting, corpus), Stream(), random.Random(setting.seed + 1)
    stops = [stop for stop in LEARN_AT if stop < len(queries)] or [len(queries) // 2]
    with tempfile.TemporaryDirectory() as folder:
        log = DecisionLog(Path(folder) / "decisions.sqlite", mode="sync")
        for start, end in zip([0, *stops], [*stops, len(queries)], strict=True):
            rate = AUDIT if stream.promoted else AUDIT_FIRST
            made = router.decide_batch([example.text for example in queries[start:end]])
            for row, own in enumerate(made, start):
                sure, audited = bool(stream.promoted) and own.accepted, draws.random() < rate
                decision = replace(own, id=f"{row:08d}", audited=audited)
                if audited or not sure:
                    decision = replace(decision, tool=model[row], source="lm", accepted=True)
                stream.asked.append(decision.source == "lm")
                stream.wrong.append(decision.tool != right[row])
                log.record(Episode(queries[row].inputs, decisions=(decision,)))
            if end < len(queries):
                router = _learn(setting, router, log, stream)
        log.close()
    return stream


def _learn(setting: Setting, router: Router, log: DecisionLog, stream: Stream) -> Router:
    challenger, report = learn(router, log.episodes(), train=setting.adapt(CONFIG), config=LOOP)
    if report.promote:
        stream.promoted.append(len(stream.asked))
        return challenger
    stream.refused.append((len(stream.asked), " ".join(report.reasons)))
    return router


def _zero_shot(router: Router, queries: Sequence[Episode], right: Sequence[str], model: Sequence[str]) -> Stream:
    """The untrained router, with the lowest threshold that was right often enough on the first queries."""
    made = router.decide_batch([example.text for example in queries])
    first = min(LEARN_AT[0], len(queries) // 4)
    order = np.argsort([-decision.confidence for decision in made[:first]])
    errors = np.cumsum([made[row].tool != model[row] for row in order])
    good = np.flatnonzero(errors <= (LOOP.max_risk or 0.0) * np.arange(1, first + 1))
    threshold = made[order[good[-1]]].confidence if len(good) else 1.0
    asked = [row < first or decision.confidence < threshold for row, decision in enumerate(made)]
    chosen = [model[row] if ask else made[row].tool for row, ask in enumerate(asked)]
    return Stream(asked, [tool != label for tool, label in zip(chosen, right, strict=True)])


def _new(setting: Setting, corpus: Corpus) -> Router:
    return Router.from_tools(corpus.cards, encoder=setting.encoder, policy=ToolSpacePolicy(setting.encoder.dim))


BENCHMARK = Benchmark(
    "loop",
    run,
    target=f"clinc150: at most {SHARE:.0%} of the last {LAST} asked, at most a point more errors than asking always",
    needs=LABELLED,
)
