"""The command line as `python -m dspy_router.cli`."""

from dspy_router.cli.app import main

main()
