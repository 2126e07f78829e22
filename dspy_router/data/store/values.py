"""Anything a program handles as plain JSON values of bounded size, redacted or hashed where asked."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from dspy_router.records import read_inputs

# What a redaction is told that it is given.
Part = Literal["inputs", "arguments", "result", "error"]
# A redaction: the part of a record and its value in plain JSON in, what may be written out.
Redact = Callable[[Part, Any], Any]

HASHED = "sha256"
WITHHELD = "withheld"
_MOST_NODES, _DEEPEST = 2_000, 16
_LONGEST_INT = 4_096  # bits; far longer ones Python refuses to read back from decimal digits
_CUT = "…"
_ENCODER = json.JSONEncoder(separators=(",", ":"))  # `json.dumps` would make one at each call


def plain(value: Any, *, most: int = _MOST_NODES) -> Any:
    """A copy in plain JSON values: nothing that happens to the original later changes it.

    What JSON does not know (images, objects, numbers that are not finite) is given as its text; keys become strings.
    What is nested too deeply, or has more than `most` values, ends in `…`. Strings are kept whole.
    """
    if type(value) is str:
        return value
    return _copy(value, [most], 0)


def _copy(value: Any, left: list[int], depth: int) -> Any:
    left[0] -= 1
    if type(value) is str or value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, dict | list | tuple | set | frozenset | Mapping):
        if depth >= _DEEPEST or left[0] <= 0:
            return _CUT
        return _copy_mapping(value, left, depth) if isinstance(value, Mapping) else _copy_items(value, left, depth)
    return _number(value) if isinstance(value, numbers.Number) else _text(value)


def _copy_mapping(value: Mapping[Any, Any], left: list[int], depth: int) -> dict[str, Any]:
    copied: dict[str, Any] = {}
    for key, item in value.items():
        if left[0] <= 0:
            copied[_CUT] = _CUT
            break
        copied[key if type(key) is str else _text(key)] = _copy(item, left, depth + 1)
    return copied


def _copy_items(value: Iterable[Any], left: list[int], depth: int) -> list[Any]:
    copied: list[Any] = []
    for item in value:
        if left[0] <= 0:
            copied.append(_CUT)
            break
        copied.append(_copy(item, left, depth + 1))
    return copied


def _number(value: Any) -> int | float | str:
    try:
        if isinstance(value, numbers.Integral):
            whole = int(value)
            return whole if whole.bit_length() <= _LONGEST_INT else hex(whole)
        if isinstance(value, numbers.Real):
            real = float(value)
            return real if math.isfinite(real) else str(real)
    except (ValueError, OverflowError):
        pass
    return _text(value)


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose text is not to be had: {type(error).__name__}>"


def trim(value: Any, most: int) -> Any:
    """Plain values with the strings cut so that together they have at most about `most` characters."""
    if type(value) is str:
        return value if len(value) <= most else f"{value[:most]}{_CUT} ({len(value) - most} more characters)"
    if isinstance(value, dict | list):
        return _trim(value, [most])
    return value


def _trim(value: Any, left: list[int]) -> Any:
    if isinstance(value, str):
        cut = trim(value, max(0, left[0]))
        left[0] -= len(value)
        return cut
    if isinstance(value, dict):
        kept: dict[str, Any] = {}
        for key, item in value.items():
            if left[0] <= 0:
                kept[_CUT] = _CUT
                break
            name = trim(key, left[0])
            left[0] -= len(key)
            kept[name] = _trim(item, left)
        return kept
    if isinstance(value, list):
        items: list[Any] = []
        for item in value:
            if left[0] <= 0:
                items.append(_CUT)
                break
            items.append(_trim(item, left))
        return items
    left[0] -= 8  # about what a number takes
    return value


def dump(value: Any) -> str:
    """Plain values as JSON text, in ASCII: so NUL bytes and lone surrogates survive where text must be clean."""
    return _ENCODER.encode(value)


def clean(text: str) -> str:
    """A text that any database takes: lone surrogates are written out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def hash_inputs(inputs: Mapping[str, Any]) -> str:
    """What a log with `inputs="hash"` keeps of the inputs: the SHA-256 of the text that the router reads.

    It tells whether two inputs are the same; and whoever can guess the text can find it out by hashing the guess.
    """
    text = read_inputs(plain(inputs))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hash_value(value: Any) -> dict[str, str]:
    """The same of any plain value, as it stands in a log."""
    return {HASHED: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()}
