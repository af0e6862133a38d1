# The commands of the README. Each makes the environment it needs in $(VENV) on first use and again when
# pyproject.toml changes, and nothing otherwise.
#
#   make train ARGS="--epochs 5"      make test ARGS="-k vmap"      make test PYTHON=python3.12 VENV=.venv312

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
# -qq: errors only. The editable install means that a change in functrax/ needs no reinstall.
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -e

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help train lm test bench lint format check clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 10

train: $(VENV)/.examples ## train the digits example
	$(BIN)/python examples/digits.py $(ARGS)

lm: $(VENV)/.examples ## train the language model example
	$(BIN)/python examples/lm.py $(ARGS)

test: $(VENV)/.test ## run the tests, in parallel
	$(BIN)/python -m pytest -n auto $(ARGS)

bench: $(VENV)/.test ## compare with JAX
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(VENV)/.lint ## check style, format and types
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check --output-format concise .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.lint ## sort imports and format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

check: lint test ## everything that must pass before a commit

clean: ## remove the environment and what the tools left
	rm -rf $(VENV) build dist .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'functrax needs Python 3.11 or newer: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.examples: pyproject.toml | $(BIN)/python
	$(INSTALL) ".[examples]"
	@touch $@

# The test environment holds the examples' too, so make train has nothing left to do.
$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(INSTALL) ".[test,examples,notebooks]"
	@touch $@ $(VENV)/.examples

$(VENV)/.lint: pyproject.toml | $(BIN)/python
	$(INSTALL) ".[lint]"
	@touch $@
