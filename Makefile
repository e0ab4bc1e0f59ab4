# `make up` starts everything; `make test` checks everything. Both make .venv from this folder's own files.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: up install test lint unit clean

up: $(VENV)/.installed
	@$(BIN)/forecaster up

install: $(VENV)/.installed

# pip compiles on one core, and takes as long for that as for the rest; COMPILE takes all cores. Files that are written
# for other Pythons, which some packages hold, fail there as they do with pip, and are never imported.
INSTALL := $(BIN)/pip install --quiet --progress-bar on --no-compile -c constraints.txt
COMPILE = $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true

$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(INSTALL) torch
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(INSTALL) -e .
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.torch pyproject.toml
	$(INSTALL) -e '.[dev]'
	@$(COMPILE)
	@touch $(VENV)/.installed $@

test: lint unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A file's tests share what they set up, so they stay in one process; the longest files come first.
unit: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

clean:
	rm -rf $(VENV) build *.egg-info
