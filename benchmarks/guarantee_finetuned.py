"""What a certified error rate costs in coverage once the encoder has been fine-tuned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks import finetune, guarantee
from benchmarks.figures import Benchmark, Figure
from benchmarks.setting import Setting
from dspy_router.routing.encoders import SentenceEncoder


def run(setting: Setting) -> Iterator[Figure]:
    """MiniLM fine-tuned with the policy: what `guarantee` measures; twenty minutes each and more without a GPU."""
    for corpus in setting.corpora("clinc150", "toole"):
        training = replace(finetune.CONFIGS[corpus.name], threads=1)  # as in `out_of_scope_finetuned`
        training = setting.adapt(training, quick_epochs=1)
        yield from guarantee.measure(setting, corpus, SentenceEncoder("minilm"), training)


BENCHMARK = Benchmark("guarantee_finetuned", run, target=guarantee.BENCHMARK.target, needs=guarantee.NEEDS)
