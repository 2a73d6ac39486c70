# Everything happens in a virtual environment of this folder; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PROJECT := pyproject.toml constraints.txt
# Files, not tests, are shared out among the cores, as fixtures are made once a file.
# Tests start many interpreters: what each of them imports is compiled once, whatever the environment says.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-quick coverage lint docs clean

demo: $(VENV)/installed  ## fuse the embedded sample pair, print its metrics and the path of the fused image
	$(BIN)/fusekit demo

test: $(VENV)/installed-dev  ## check style and types, and run all tests
	$(MAKE) --no-print-directory lint
	$(PYTEST)

test-quick: $(VENV)/installed-dev  ## run the tests that are quick and start no process, for daily work
	$(PYTEST) -m 'not slow and not process and not kernels'

coverage: $(VENV)/installed-dev  ## run all tests, and print how much of each file they reach; pyproject.toml has the floor
	$(PYTEST) --cov --cov-report term:skip-covered

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/installed-docs  ## build the documentation into site/
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage* .nox site demo

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "fusekit needs Python 3.10 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python $(PROJECT)
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/installed-dev: $(BIN)/python $(PROJECT)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-docs: $(BIN)/python $(PROJECT)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@
