"""A bound on torch's threads where tensors are small."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside = 0
_outside_threads = 1


@contextmanager
def bounded_threads(count: int | None) -> Iterator[None]:
    """Let torch use this many threads inside the block; None leaves it alone.

    On small tensors a second thread costs more than it computes: on a busy two-core machine a single decision took
    250 ms with two threads and 7 ms with one. The setting is partly the thread's and partly the process's, so blocks
    may overlap on several threads: each sets its own, and all go back to what stood before the first came in.
    """
    global _inside, _outside_threads  # noqa: PLW0603 - torch's setting is the process's, so is the count of its users
    if count is None:
        yield
        return
    with _lock:
        if _inside == 0:
            _outside_threads = torch.get_num_threads()
        _inside += 1
    torch.set_num_threads(count)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
        torch.set_num_threads(_outside_threads)
