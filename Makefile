# Needs Python 3.11 or later, Git and make; everything else goes into .venv.
# Paths are relative on purpose: a folder with a space in its name works.

SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
BIN := .venv/bin
RUN := .venv/run.stamp
DEV := .venv/dev.stamp
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq install
PYTEST := $(BIN)/python -m pytest
JOBS ?= 2
m ?= change

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed, and none was found; say PYTHON=/path/to/python" >&2; exit 1; }
	@echo "making .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv

$(RUN): requirements/run.lock pyproject.toml | .venv/bin/python
	@echo "installing what running needs"
	@$(PIP) --require-hashes --no-deps --only-binary :all: -r requirements/run.lock
	@$(PIP) --no-deps --no-index --no-build-isolation --editable .
	@touch $@

$(DEV): requirements/dev.lock $(RUN)
	@echo "installing what development needs"
	@$(PIP) --require-hashes --no-deps --only-binary :all: -r requirements/dev.lock
	@touch $@

.PHONY: setup
setup: $(DEV) ## Make .venv with everything for development

.PHONY: run
run: $(RUN) ## Start a server with a sample Git repository in .data
	@$(BIN)/python examples/sample.py

.PHONY: test
test: $(DEV) ## Fast tests; those whose service is missing are skipped, saying which
	@$(PYTEST) -m "not slow and not browser" -n $(JOBS) $(args)

.PHONY: test-all
test-all: $(DEV) ## All tests; needs PostgreSQL, RabbitMQ and Redis
	@LANNER_CI=1 $(PYTEST) -n $(JOBS) $(args)

.PHONY: test-faults
test-faults: $(DEV) ## Crashes, lost services, bad moments
	@LANNER_CI=1 $(PYTEST) tests/faults $(args)

.PHONY: lint
lint: $(DEV) ## Style and common mistakes
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: format
format: $(DEV) ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: types
types: $(DEV) ## Types, strictly
	@$(BIN)/mypy

.PHONY: contracts
contracts: $(DEV) ## Which room may import which
	@$(BIN)/lint-imports --no-logo

.PHONY: conformance
conformance: $(DEV) ## Kestra's own flows against a server, in both deploy modes
	@$(BIN)/python .ci/conformance.py $(args)

.PHONY: bench
bench: $(RUN) ## Figures of performance.md, each beside its baseline
	@$(BIN)/python -m benchmarks $(args)

.PHONY: check
check: ## What CI runs
	@.ci/run

.PHONY: migration
migration: $(DEV) ## Write the migration for changed tables: make migration m="what changed"
	@$(BIN)/python -m service.migrations.upgrade $(m)
	@$(BIN)/ruff format --quiet service/migrations/versions

.PHONY: first-schema
first-schema: $(DEV) ## Write the first migration anew, for as long as 0.1.0 is not released
	@$(BIN)/python -m service.migrations.upgrade --initial "the first schema"
	@$(BIN)/ruff check --fix --quiet service/migrations/versions; $(BIN)/ruff format --quiet service/migrations/versions

.PHONY: docs
docs: $(DEV) ## Write the generated pages of docs/reference
	@$(BIN)/python -m tests.docs.generate

.PHONY: screenshots
screenshots: $(DEV) ## Pictures of the pages for docs/images; needs chromium
	@$(BIN)/python -m tests.e2e.screenshots $(args)

.PHONY: lock
lock: ## Pin dependencies with hashes; needs uv
	@uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header \
		--extra postgres --extra celery --extra docker pyproject.toml requirements/install.in -o requirements/run.lock
	@uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header \
		--extra postgres --extra celery --extra docker --extra dev pyproject.toml requirements/install.in \
		-c requirements/run.lock -o requirements/dev.lock

.PHONY: clean
clean: ## Remove .venv, .data and caches
	@rm -rf .venv .data build ./*.egg-info .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
