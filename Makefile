# Every target makes what it needs; the virtual environment lives in .venv/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
# pytest runs on this many processes
JOBS ?= auto
PYTEST_ARGS ?=

.PHONY: all venv run test lint format coverage bench docs clean

all: test

venv: $(STAMP)

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python lacks venv: install it (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

run: $(STAMP)
	@exec $(BIN)/varnishpy demo

lint: $(STAMP)
	$(BIN)/ruff check varnishpy tests tools/*
	$(BIN)/ruff format --check varnishpy tests tools/*
	$(BIN)/mypy
	$(BIN)/python tools/genviews --check
	$(BIN)/python tools/gendocs --check

format: $(STAMP)
	$(BIN)/ruff check --fix varnishpy tests tools/*
	$(BIN)/ruff format varnishpy tests tools/*

# The pools are tested alone first: they count threads, and other rooms' tests start some in the same process. Nothing is
# tried twice: a test that fails now and then has found something.
test: lint
	$(BIN)/python -m pytest -q tests/threads
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --ignore tests/threads $(PYTEST_ARGS)

# the whole suite once more, with coverage of every process of it (slower: several minutes)
coverage: $(STAMP)
	rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report --skip-covered --sort cover

bench: $(BENCH_STAMP)
	$(BIN)/python tools/bench

docs: $(STAMP)
	$(BIN)/python tools/genviews
	$(BIN)/python tools/gendocs

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
