"""A batch shared out among threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEWEST = 32  # texts a thread: for fewer it is not worth starting


def in_threads(
    work: Callable[[Sequence[str]], NDArray[np.float32]], texts: Sequence[str], threads: int
) -> NDArray[np.float32]:
    """What some work makes of texts, a row each: of so many shares of them side by side, where there are enough.

    ONNX Runtime and numpy let other threads run while they compute, so that shares take their turns in Python alone.

    Raises:
        Exception: Whatever the work raises, of its first share that does.
    """
    size = max(_FEWEST, -(-len(texts) // threads))
    if len(texts) <= size:
        return work(texts)
    shares = [texts[start : start + size] for start in range(0, len(texts), size)]
    with ThreadPoolExecutor(len(shares)) as pool:
        return np.concatenate(list(pool.map(work, shares)))


def check_threads(threads: Any) -> int:
    """The number of threads, if it is one.

    Raises:
        ValueError: If it is no whole number of at least 1.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a whole number of at least 1; got {threads!r}.")
    return threads
