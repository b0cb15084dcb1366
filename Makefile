# Everything that the continuous build does is a target here, and each target makes what it needs:
# a virtual environment of the project's own, made again when pyproject.toml changes.
#
#   make demo                      the main job on real input, killed again and again
#   make check                     what to run before a commit: style, types, fast tests
#   make test                      every test but the nightly ones
#   make nightly                   all of them, with more and longer runs
#   make bench                     what it costs, beside its peers: a table for docs/benchmarks
#   make bench-check               this tree against an earlier one: fails if anything is 10 % worse
#   make bench-steps               where the time of an update, a view and a load goes
#   make bench-serving             a served database beside Redis and FastAPI on SQLite
#   make bench-restart             killed under full load: predicted against actual time to open
#   make fuzz                      look for inputs that mislead what reads files (Linux)
#   make evidence                  the tests once more, and their counts into docs/GUARANTEES.md
#   make PYTHON=python3.13 VENV=.venv-3.13 check     the same with another Python

# The first Python on the path that is new enough: on some systems `python3` is an old one.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && exit; done; echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal
SOURCES := src tests examples benchmarks

.DEFAULT_GOAL := help
.PHONY: help demo test check lint evidence fix bench bench-check bench-indexes bench-restart bench-serving bench-steps fuzz nightly clean

help:
	@sed -n 's/^#   //p' Makefile

# Two steps, since whoever only wants to see the demo needn't wait for the tools.
$(VENV)/.runs: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "cairndb needs Python 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { \
		echo "This Python can't make a virtual environment (Debian: apt install python3-venv)" >&2; \
		exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1" # the first that knows --group
	$(BIN)/python -m pip install --quiet --editable ".[cli]"
	@touch $@

$(VENV)/.tools: $(VENV)/.runs
	$(BIN)/python -m pip install --quiet --editable ".[server]" --group dev
	@touch $@

demo: $(VENV)/.runs
	$(BIN)/python examples/unicode_names.py $(ARGUMENTS)

lint: $(VENV)/.tools
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

check: lint
	$(PYTEST) -q -m "not slow and not process and not nightly"

test: $(VENV)/.tools
	$(PYTEST) --evidence check -m "not nightly"

# Without atheris, which isn't made for every system and Python, its tests are skipped.
nightly: $(VENV)/.tools
	-$(BIN)/python -m pip install --quiet --group fuzz
	HYPOTHESIS_PROFILE=nightly $(PYTEST) --evidence check

evidence: $(VENV)/.tools
	$(PYTEST) --evidence write -m "not nightly"

fuzz: $(VENV)/.tools
	$(BIN)/python -m pip install --quiet --group fuzz
	PYTHONPATH=src:tests $(BIN)/python tests/fuzzing.py $(ARGUMENTS)

fix: $(VENV)/.tools
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

# One by one, since a peer that isn't made for this system or Python is just left out of the table.
$(VENV)/.bench: $(VENV)/.runs
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb")) \
		["dependency-groups"]["bench"], sep="\n")' | while read -r package; do \
		$(BIN)/python -m pip install --quiet "$$package" || echo "left out: $$package" >&2; done
	@touch $@

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/bench.py $(ARGUMENTS)

bench-indexes: $(VENV)/.runs
	$(BIN)/python benchmarks/indexes.py $(ARGUMENTS)

bench-check: $(VENV)/.runs
	$(BIN)/python benchmarks/check.py $(ARGUMENTS)

bench-steps: $(VENV)/.runs
	$(BIN)/python benchmarks/steps.py $(ARGUMENTS)

bench-restart: $(VENV)/.runs
	$(BIN)/python benchmarks/restart.py $(ARGUMENTS)

bench-serving: $(VENV)/.tools
	$(BIN)/python benchmarks/served.py $(ARGUMENTS)

clean:
	rm -rf .venv .venv-* build dist demo.cairn .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
