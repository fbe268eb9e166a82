# Two commands do everything on a machine with Python 3.11, 3.12 or 3.13: `make demo` and `make test`.
FITS := -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do $$python $(FITS) 2>/dev/null && echo $$python && break; done)
WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder

.PHONY: demo test test-all lint docs study-page wheels install clean

demo: install  ## Compare calibration sets on the embedded model
	$(BIN)/python -m prune.main -m calib=gsm8k,c4,pile prompt=icl,cot

test: install  ## Run all tests but those marked slow
	$(PYTEST) -m "not slow"

test-all: install  ## Run all tests, those of tests/gpu on the CPU where there is no GPU
	PRUNE_GPU_DEVICE=$(or $(PRUNE_GPU_DEVICE),any) $(PYTEST)

lint: install  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install  ## Build the pages of docs/ into site/, which opens from disk; a broken link is an error
	$(BIN)/python -m sphinx -W --keep-going -q -d build/doctrees docs site
	@echo "site/index.html"

study-page: install  ## The pages of the studies, from the results that docs/study keeps: nothing is computed, no model and no rows are needed
	for name in $(basename $(basename $(notdir $(wildcard docs/study/*.tar.xz)))); do \
	    $(BIN)/python -m dev.study unpack docs/study/$$name.tar.xz outputs/study/$$name || exit 1; \
	    $(BIN)/python -m prune.report outputs/study/$$name || exit 1; done

wheels: install  ## Check that each pin has a wheel for each promised Python (downloads them, torch aside: about 1 GB)
	PIP="$(BIN)/python -m pip" sh dev/wheels.sh

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) $(FITS) 2>/dev/null || { echo "No Python from 3.11 to 3.13 with the modules venv and ensurepip runs here$(if $(PYTHON), as $(PYTHON)): install one (Debian and Ubuntu: apt install python3-venv) or name one, as in: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:  ## Remove the environment; results under outputs/ stay
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
