"""Small trained routers, and each of them exported, for tests of exporting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from routers import CARDS, IDENTITY

from dspy_router import ExportedRouter, Router, TrainConfig, fit
from dspy_router.routing.catalogue import build_encoder

TEXTS = [*(row["query"] for row in IDENTITY), "zzz", "?", "convert the length of a page", "a" * 30]
QUICK = TrainConfig(epochs=2, progress=False, threads=1, deep_from=0)


def trained(encoder: str = "hash", **options: Any) -> Router:
    """A router over the two tools of `routers`, trained for a moment, its hidden layer too."""
    router = Router.from_tools(CARDS, encoder=build_encoder(encoder, **options))
    fit(router, IDENTITY, config=QUICK)
    return router


def exported(router: Router, folder: Path, **settings: Any) -> ExportedRouter:
    """The router as it comes back from a folder; by default in float32, whatever was lost."""
    router.export(folder, **{"quantize": None, "above": "warn", **settings})
    return ExportedRouter.load(folder)
