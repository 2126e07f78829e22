"""Work in batches that become smaller where memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

logger = logging.getLogger(__name__)

# What torch, on each kind of device, and ONNX Runtime say in a RuntimeError. Nothing tells it from others but the text.
_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "failed to allocate memory",
    "alloc_cpu",
    "bad allocation",
    "std::bad_alloc",
)


def in_batches(
    work: Callable[[Sequence[int]], None], rows: Sequence[int], *, size: int, texts: Sequence[str]
) -> Iterator[int]:
    """Hand rows over, at most `size` at a time; where memory runs out, half as many from then on.

    Args:
        work: What is done with some of the rows; it may be called again with fewer of the same.
        rows: Numbers of the texts, in the order of the work.
        size: Most of them at a time.
        texts: The texts, for messages.

    Yields:
        How many rows were done at a time.

    Raises:
        MemoryError: If there is no room for a single text; it names the text.
    """
    start = 0
    while start < len(rows):
        part = rows[start : start + size]
        try:
            work(part)
        except (MemoryError, RuntimeError) as error:
            if not ran_out_of_memory(error):
                raise
            if len(part) == 1:
                text = texts[part[0]]
                raise MemoryError(
                    f"There is not enough memory for a single text of {len(text)} characters: {text!r:.80}. Free some, "
                    "shorten the text, or take an encoder with a smaller window."
                ) from error
            size = len(part) // 2
            logger.warning(
                "Memory ran out at a batch of %d texts (%.200s); going on with %d at a time.", len(part), error, size
            )
            continue  # here, where the error and what it holds are gone
        start += len(part)
        yield len(part)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)
