# make app       the app on the bundled lab, on a fresh machine too   (make app ARGS="--port 8000 --lab my-lab")
# make test      lint and the fast tests, the browser included        (10 minutes at most)
# make test-all  the slow tests too
# make lint      ruff, import-linter, pyright
# make real      downloads a released Qwen3-VL, trains the swap on the bundled catalog, writes a report
#                (a GPU of 80 GB, hours; BASE=owner/name or a folder names another one, REAL=DIR another lab)
# Needs Python 3.11 or newer; PYTHON=... names another one.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help app test test-all test-fast test-slow lint chromium real
.NOTPARALLEL:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BASE ?= Qwen/Qwen3-VL-2B-Instruct
REAL ?= real-lab
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input
PYTEST := $(BIN)/python -m pytest

help:
	@sed -n 's/^# //p' Makefile

app: .venv/.runtime
	@$(BIN)/python -u app.py $(ARGS)

# The catalog and its split are the bundled lab's; every step takes up what an interrupted one left.
real: .venv/.runtime
	mkdir -p $(REAL)
	test -d $(REAL)/catalog || cp -r assets/illustrations/catalog assets/illustrations/lab.json $(REAL)/
	$(BIN)/python -m pinlab train $(REAL) --base $(BASE)
	$(BIN)/python -m pinlab embed $(REAL)
	$(BIN)/python -m pinlab map $(REAL)
	$(BIN)/python -m pinlab evaluate $(REAL)

test: lint test-fast

test-all: test test-slow

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/pyright

test-fast: .venv/.dev chromium
	$(PYTEST) -m "not slow"

test-slow: .venv/.dev chromium
	$(PYTEST) -m slow

# A stamp is written after what it stands for, so an interrupted install is taken up again.
.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "PinLab needs Python 3.11 or newer; name one: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.runtime: requirements.txt | .venv/.made
	$(PIP) -r requirements.txt
	@touch $@

.venv/.dev: requirements.txt requirements-dev.txt | .venv/.made
	$(PIP) -r requirements-dev.txt
	@touch $@ .venv/.runtime

chromium: .venv/.dev
	@scripts/chromium.sh $(BIN)/python
