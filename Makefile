# From a bare Python (3.11 or later) and make; everything is set up in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test lint types tests browser-test bench counterexamples mutation-test clean help

help:
	@echo "make run    boot the recorded VMM with 4 vCPUs"
	@echo "make test   lint, types, import contracts, tests"
	@echo "make browser-test  open the HTML report in Chromium, which is installed if need be"
	@echo "make bench  the numbers of docs/reference/performance.md and explorers-compared.md"
	@echo "make counterexamples  the shortest order of each mutant, searched and kept anew"
	@echo "make mutation-test  change our own code in small ways: which changes does no test notice?"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

run: $(READY)
	$(BIN)/memslots run q35-boot --vcpus 4

test: lint types tests

lint: $(READY)
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/codespell
	$(BIN)/lint-imports --no-logo

types: $(READY)
	$(BIN)/mypy
	$(BIN)/mypy tests

tests: $(READY)
	$(BIN)/pytest --quiet --numprocesses 2

counterexamples: $(READY)
	$(BIN)/memslots mutants run --schedules scenarios/mutants/shortest

# Debian's own; as root, or with sudo.
browser-test: $(READY)
	command -v chromium && command -v chromedriver || $(if $(filter 0,$(shell id -u)),,sudo) apt-get install --yes chromium chromium-driver
	$(BIN)/pytest --quiet tests/scenarios/report/test_browser.py

bench: $(READY)
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/logs.py
	$(BIN)/python benchmarks/explore.py

mutation-test: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,mutation]'
	$(BIN)/python -m tests.mutation $(MUTATE)

clean:
	rm -rf $(VENV) .memslots .pytest_cache .mypy_cache .ruff_cache .hypothesis
