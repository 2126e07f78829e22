"""How well a router knows what no tool answers, once its encoder has been fine-tuned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks import finetune
from benchmarks.figures import Benchmark, Figure
from benchmarks.out_of_scope import NEEDS, TARGETS, compare
from benchmarks.setting import Setting
from benchmarks.training import MINUS_NONE
from dspy_router.routing.encoders import SentenceEncoder

# On one thread: the batches are small, and on a busy machine of two cores that was three times as fast as on two.
CONFIG = replace(finetune.CONFIGS["clinc150"], threads=1)


def run(setting: Setting) -> Iterator[Figure]:
    """MiniLM fine-tuned with the policy: what `out_of_scope` measures; ten minutes or more without a GPU."""
    yield from compare(setting, "fine-tuned", SentenceEncoder("minilm"), CONFIG)


BENCHMARK = Benchmark(
    "out_of_scope_finetuned", run, target=f"AUROC of {MINUS_NONE} {TARGETS['fine-tuned']}", needs=NEEDS
)
