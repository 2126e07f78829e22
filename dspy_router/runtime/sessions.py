"""ONNX Runtime sessions: bounded threads, and whether the processor has the instructions that int8 needs."""

from __future__ import annotations

import logging
import platform
from functools import lru_cache
from pathlib import Path

import onnxruntime

logger = logging.getLogger(__name__)

# Products of 8-bit numbers summed in one instruction; without one of them int8 is hardly quicker than float32.
_INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """A session over a graph that was optimised when it was exported; a call takes the caller's thread and no other.

    On a text of ten tokens a second thread gains little, and costs other callers their own; for many texts several
    threads may call at once.

    Args:
        graph: The model, its weights in it.

    Raises:
        ValueError: If ONNX Runtime cannot read it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    # Optimised again, an int8 graph gets back an operator that the export had avoided, and runs slower.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # errors; what it warns of is nothing that a user could act on
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors have no common class but this
        raise ValueError(f"ONNX Runtime {onnxruntime.__version__} cannot read the graph: {error}") from error


@lru_cache(maxsize=1)
def has_int8_instructions() -> bool | None:
    """Whether this processor sums products of 8-bit numbers in one instruction; None where that cannot be known."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True if platform.machine() == "arm64" else None  # Apple's processors all have them
    flags = {
        flag
        for line in text.splitlines()
        if line.lower().startswith(("flags", "features"))
        for flag in line.partition(":")[2].split()
    }
    return bool(flags & _INT8_FLAGS) if flags else None


@lru_cache(maxsize=1)
def warn_without_int8() -> None:
    """Say once in a process that the int8 graph runs without the instructions it was made for."""
    if has_int8_instructions() is False:
        logger.warning(
            "This processor has no int8 instructions (%s): an int8 router decides with slower ones here, and no "
            "quicker than a float32 one. Measure both, and export with quantize=None where that is better.",
            ", ".join(sorted(_INT8_FLAGS)),
        )
