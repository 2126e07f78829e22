"""All benchmarks, by name."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks import (
    agent,
    best,
    bfcl,
    calls,
    costs,
    demo,
    exported,
    fewshot,
    finetune,
    frozen,
    guarantee,
    guarantee_finetuned,
    hybrid,
    log,
    loop,
    many_tools,
    metric_only,
    off_policy,
    out_of_scope,
    out_of_scope_finetuned,
    overhead,
    scratch,
    serving,
    speed,
    student,
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
        bfcl,
        calls,
        costs,
        frozen,
        out_of_scope,
        speed,
        agent,
        serving,
        exported,
        student,
        many_tools,
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
        guarantee_finetuned,
    )
}
