# Two commands matter: `make up` gives a cluster, `make test` proves it.
SHELL := /bin/bash
VENV  := .venv
PY    := $(VENV)/bin/python
LAB   ?= default
FUZZ_MINUTES ?= 10

.PHONY: up down test lint unit bench fuzz-api install fmt lock docs manifests clean

up: install
	@$(VENV)/bin/tortie lab up --name $(LAB)

down: install
	@$(VENV)/bin/tortie lab down --name $(LAB)

test: lint unit

lint: install
	$(VENV)/bin/ruff check src tests bench
	$(VENV)/bin/ruff format --check src tests bench
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# The lab tests compare the whole machine before and after, so nothing else may run beside them. What fails is judged
# once more, alone: beside others on two cores a deadline can pass for want of processor time. Both verdicts are shown.
unit: install
	$(VENV)/bin/pytest -n 2 -m "not lab" || $(VENV)/bin/pytest -m "not lab" --last-failed --last-failed-no-failures none
	$(VENV)/bin/pytest -m lab || $(VENV)/bin/pytest -m lab --last-failed --last-failed-no-failures none

bench: install
	$(PY) -m bench

# schemathesis against a fresh API server's own OpenAPI documents.
fuzz-api: install
	$(PY) tests/apiserver/fuzz_api.py --minutes $(FUZZ_MINUTES)

fmt: install
	$(VENV)/bin/ruff check --fix-only src tests bench
	$(VENV)/bin/ruff format src tests bench

install:
	@./install.sh

# Refreshes the pinned, hashed dependency list from requirements.in (needs uv).
lock:
	uv pip compile --generate-hashes --no-header --no-emit-index-url --no-annotate requirements.in -o requirements.lock

# Writes the pages that are made from tables in the source; a test compares them.
docs: install
	$(PY) -m tortie.model.reference > docs/felix-configuration.md

# Writes what is generated under deploy/; a test compares it.
manifests: install
	$(PY) -m tortie.cli.generated deploy

clean: down
	rm -rf $(VENV) .cache
