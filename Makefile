# One command for each thing a developer does; `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
INPUTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-all lint format bench bench-all clean

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.dev  ## create .venv with everything for development

demo: $(VENV)/.demo  ## train a router on the bundled queries, then route, call the tools and answer (no key, no download)
	$(BIN)/dspy-router demo

test: $(VENV)/.dev  ## run the quick tests
	$(BIN)/python -m pytest -q -m "not slow"

test-slow: $(VENV)/.dev  ## run the slow tests
	$(BIN)/python -m pytest -q -m slow

test-all: $(VENV)/.dev  ## run every test
	$(BIN)/python -m pytest -q

lint: $(VENV)/.dev  ## check style and types (ruff, pyright)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.dev  ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench  ## measure speed and size against the peers: one table, and pictures in out/bench (a quarter of an hour)
	$(BIN)/python -m benchmarks speed export student agent serving many_tools

bench-all: $(VENV)/.bench  ## run every benchmark (hours without a GPU)
	$(BIN)/python -m benchmarks

clean:  ## remove .venv, caches and built files
	rm -rf $(VENV) build dist out .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "dspy-router needs Python 3.11 or newer; name one with: make PYTHON=python3.11 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch on its own first: it is by far the largest part, and a failure there is easier to read alone.
$(VENV)/.bench $(VENV)/.demo $(VENV)/.dev: $(VENV)/.%: $(INPUTS) | $(BIN)/python
	@echo "Installing dspy-router[$*] into $(VENV) (some minutes the first time)"
	@$(PIP) install -c constraints.txt torch
	@$(PIP) install -c constraints.txt -e '.[$*]'
	@touch $@
