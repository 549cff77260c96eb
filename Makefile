# Every target makes what it needs; the virtual environment lives in .venv/. `make help` lists the targets: what stands
# behind ## on the line of a target is its text.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
SITE_STAMP := $(VENV)/.installed-site
# pytest runs on this many processes
JOBS ?= auto
PYTEST_ARGS ?=
# a file that lists exactly what is installed, each release by its hash: .ci/requirements.lock. A release with another hash
# ends it; where the index lacks one (a mirror that is behind) what setup.cfg allows is installed
LOCK ?=
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

COMPILED := $(VENV)/.compiled

# Tests start hundreds of processes, and reading their modules from source costs more than all else in a start: bytecode is
# kept, whatever the environment says, and outside the tree.
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
unexport PYTHONDONTWRITEBYTECODE

.PHONY: all help quick venv run compiled pure wheel test test-compiled lint audit format coverage bench soak races docs site clean

all: test

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | sort | awk -F '\t' '{ printf "make %-14s %s\n", $$1, $$2 }'

venv: $(STAMP) ## .venv/ with the package, editable, and all that tests need

$(STAMP): setup.cfg pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python lacks venv: install it (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
ifeq ($(LOCK),)
	$(PIP) -e '.[test]'
else
	@if $(PIP) --require-hashes -r $(LOCK) >$(VENV)/lock.log 2>&1; then \
		$(PIP) --no-deps --no-build-isolation -e .; \
	else \
		cat $(VENV)/lock.log; \
		if grep -q "DO NOT MATCH THE HASHES" $(VENV)/lock.log; then exit 1; fi; \
		echo "the locked releases cannot be had here: what setup.cfg allows is installed instead"; \
		$(PIP) -e '.[test]'; \
	fi
endif
	@touch $@

$(BENCH_STAMP): $(STAMP)
	$(PIP) -e '.[bench]'
	@touch $@

$(SITE_STAMP): $(STAMP)
	$(PIP) -e '.[site]'
	@touch $@

run: $(STAMP) ## a cache in front of a small origin, with curl lines to try
	@exec $(BIN)/varnishpy demo

# The hot rooms compiled by mypyc, beside their source; needs a C compiler and Python's headers, and some minutes. Sources
# that change later are run as they are until this is called again (see varnishpy/base/compiled.py); `pure` undoes it.
compiled: $(COMPILED) ## compile the hot rooms (needs a C compiler)

$(COMPILED): setup.py setup.cfg $(shell find varnishpy -name '*.py') | $(STAMP)
	VARNISHPY_COMPILE=1 $(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

pure: ## remove what `make compiled` made
	find varnishpy -name '*.so' -delete
	rm -f varnishpy/.compiled* $(COMPILED)

# in dist/: one for this Python on Linux machines of this kind, one for every Python
wheel: $(STAMP) ## wheels in dist/
	rm -rf build/lib* build/bdist* dist
	VARNISHPY_COMPILE=0 $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	VARNISHPY_COMPILE=1 $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

lint: $(STAMP) ## ruff, mypy, generated files up to date
	$(BIN)/ruff check setup.py varnishpy tests tools/*
	$(BIN)/ruff format --check setup.py varnishpy tests tools/*
	$(BIN)/mypy
	$(BIN)/python tools/genviews --check
	$(BIN)/python tools/genvcl --check
	$(BIN)/python tools/gendocs --check
	$(BIN)/python tools/genman --check

audit: ## what is known against the releases that CI installs (pip-audit)
	.ci/audit --strict

format: $(STAMP) ## let ruff mend what it can
	$(BIN)/ruff check --fix setup.py varnishpy tests tools/*
	$(BIN)/ruff format setup.py varnishpy tests tools/*

# The pools are tested alone first: they count threads, and other rooms' tests start some in the same process. Nothing is
# tried twice: a test that fails now and then has found something.
SUITE = $(BIN)/python -m pytest -q tests/threads && \
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --ignore tests/threads $(PYTEST_ARGS)

# the tests that need no process, no socket to the outside and no long search
QUICK := tests/test_architecture.py tests/test_docs.py tests/test_dependencies.py tests/base tests/cli tests/child \
	tests/params tests/stats tests/log tests/http tests/storage tests/h2 tests/cache tests/vcl
SLOW := tests/base/test_compiled.py tests/h2/test_properties.py
quick: lint ## lint, types and the tests without processes or network: under a minute
	VARNISHPY_PURE=1 $(BIN)/python -m pytest -q -n $(JOBS) $(SLOW:%=--ignore=%) $(QUICK) $(PYTEST_ARGS)

test: lint ## everything, as continuous integration runs it
	export VARNISHPY_PURE=1; $(SUITE)
ifdef VARNISHPY_TEST_COMPILED
	$(MAKE) --no-print-directory test-compiled
endif

# with VARNISHPY_TEST_COMPILED set `make test` does this too, as continuous integration has it (ROOMS: some of the tests)
ROOMS ?= tests
test-compiled: compiled ## the tests once more, compiled
	$(BIN)/python -m pytest -q tests/threads
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal --ignore tests/threads $(PYTEST_ARGS) $(ROOMS)

# the whole suite once more, with coverage of every process of it (slower: several minutes)
coverage: $(STAMP) ## the tests, with coverage of every process
	rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report --skip-covered --sort cover

bench: $(BENCH_STAMP) ## throughput and latency, against other servers
	$(BIN)/python tools/bench

# hours: a model of the cache, rooms with threads that pause by lot, every campaign of faults, more clients than there is room for, fuzzing, mixed traffic
SOAK_MINUTES ?= 120
SOAK_HISTORIES ?= 10000
soak: $(STAMP) ## long hours: model, faults, overload, fuzzing, mixed traffic (SOAK_MINUTES=120)
	VARNISHPY_HISTORIES=$(SOAK_HISTORIES) $(BIN)/python -m pytest -q --timeout 0 tests/model tests/tier/test_read_your_purge.py
	VARNISHPY_TEST_PERTURB=1 $(MAKE) races RUNS=4
	$(BIN)/python tools/faults --seconds 60
	$(BIN)/python tools/overload
	$(BIN)/python tools/fuzz --seconds 60
	$(BIN)/python tools/soak --minutes $(SOAK_MINUTES)

# Where threads meet: every other run with a switch of threads each 50 us (tests/conftest.py), all at the lowest priority, so
# that it can go on beside other work. It ends at the first failure: that is a race.
RUNS ?= 30
RACES := tests/threads tests/cache tests/storage tests/log tests/h2/test_holding.py tests/http1 tests/http2 tests/session \
	tests/backends tests/child tests/tier/test_breaker.py tests/tier/test_behind.py tests/vmods/test_vsthrottle.py \
	tests/e2e/test_delays.py tests/e2e/test_slow_bodies.py tests/e2e/test_scoreboard.py tests/interop/test_slow_readers.py
races: $(STAMP) ## the tests of what runs at once, many times in a row (RUNS=30)
	@set -e; for run in $$(seq $(RUNS)); do \
		echo "run $$run of $(RUNS)"; \
		if [ $$((run % 2)) = 0 ]; then export VARNISHPY_TEST_SWITCH=0.00005; else unset VARNISHPY_TEST_SWITCH; fi; \
		VARNISHPY_PURE=1 nice -n 19 $(BIN)/python -m pytest -q $(PYTEST_ARGS) $(RACES); \
	done

docs: $(STAMP) ## generated views and pages
	$(BIN)/python tools/genviews
	$(BIN)/python tools/genvcl
	$(BIN)/python tools/gendocs
	$(BIN)/python tools/genman

site: $(SITE_STAMP) ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean: pure ## remove everything that was made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
