# One environment in .venv, with the exact versions of constraints.txt.

# A Python of your own: make setup PYTHON=/path/to/python3.12
PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Which benchmarks `make bench` runs.
BENCH ?= store
STAMP := .venv/.stamp

.PHONY: help setup demo test lint bench screenshots

help:
	@echo 'make setup   install everything into .venv (once; later calls take no time)'
	@echo 'make demo    the tour: optimise, play a bandit, train an agent'
	@echo 'make test    the whole suite: tests, types, style, imports, documentation'
	@echo 'make lint    only ruff, basedpyright and import-linter'
	@echo 'make bench   performance claims, quick form: make bench BENCH="NAME ..."'
	@echo 'make screenshots   the pictures of docs/images/, from real runs; needs Chromium'

setup: $(STAMP)

demo: $(STAMP)
	@.venv/bin/wald demo

test: $(STAMP)
	@.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(STAMP)
	@.venv/bin/ruff check .
	@.venv/bin/basedpyright
	@.venv/bin/lint-imports

bench: $(STAMP)
	@for name in $(BENCH); do .venv/bin/python -m benchmarks "$$name" --quick || exit; done

screenshots: $(STAMP)
	@.venv/bin/python -m docs.screenshots

# The stamp is written last. A set-up that was cut off leaves .unfinished, and the next one starts
# afresh instead of building on half a package.
$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo 'wald needs Python 3.11 or newer; name one: make setup PYTHON=/path/to/python3.11' >&2; \
		exit 1; }
	@if [ -e .venv/.unfinished ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then \
		rm -rf .venv; fi
	@mkdir -p .venv && touch .venv/.unfinished
	@[ -x .venv/bin/python ] || "$(PYTHON)" -m venv .venv
	@echo 'Installing into .venv; a few minutes, most of it downloads.'
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev,peers,bench]'
	@rm .venv/.unfinished
	@touch $(STAMP)
	@echo 'Done. Next: make demo, or .venv/bin/wald --help'
