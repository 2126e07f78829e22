"""All benchmarks, by name."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks import (
    best,
    demo,
    fewshot,
    finetune,
    frozen,
    metric_only,
    off_policy,
    overhead,
    scratch,
    speed,
    zeroshot,
)
from benchmarks.figures import Benchmark

BENCHMARKS: Mapping[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK
    # The quick ones first: whoever runs them all sees something soon.
    for module in (demo, zeroshot, frozen, speed, off_policy, overhead, best, metric_only, fewshot, scratch, finetune)
}
