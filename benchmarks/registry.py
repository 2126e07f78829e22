"""All benchmarks, by name."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks import (
    best,
    demo,
    fewshot,
    finetune,
    frozen,
    guarantee,
    hybrid,
    log,
    loop,
    metric_only,
    off_policy,
    out_of_scope,
    out_of_scope_finetuned,
    overhead,
    scratch,
    speed,
    zeroshot,
)
from benchmarks.figures import Benchmark

BENCHMARKS: Mapping[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK
    # The quick ones first: whoever runs them all sees something soon.
    for module in (
        demo,
        zeroshot,
        hybrid,
        frozen,
        out_of_scope,
        speed,
        log,
        off_policy,
        overhead,
        best,
        guarantee,
        loop,
        metric_only,
        fewshot,
        scratch,
        finetune,
        out_of_scope_finetuned,
    )
}
