"""The command line `dspy-router`."""

from dspy_router.cli.app import app, main

__all__ = ["app", "main"]
