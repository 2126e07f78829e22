"""DECIDES WITHOUT TORCH: an exported router on numpy, ONNX Runtime, tokenizers and safetensors alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspy_router.runtime.exported import ExportedRouter

__all__ = ["ExportedRouter"]


def __getattr__(name: str) -> Any:
    # On demand, so that whoever needs only the words or the maps does not load ONNX Runtime.
    if name in __all__:
        return getattr(import_module("dspy_router.runtime.exported"), name)
    raise AttributeError(f"module 'dspy_router.runtime' has no attribute {name!r}")
