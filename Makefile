# darwin_mri: every target sets up what it needs. Settings: make scan FATHER=... MOTHER=... OUT=... DEVICE=...
# FLAGS= goes to scan, breed, genealogy and bench as it is: make breed FLAGS='--budget 40'
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
READY := .venv/.ready
TORCH = $(shell sed -n '/^torch==/p' constraints.txt)
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$name -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)

DARWIN := $(BIN)/darwin-mri
BASE_FLAG = $(if $(BASE),--base $(BASE))
COMMON = $(if $(DEVICE),--device $(DEVICE)) $(FLAGS)
PARENTS = $(if $(FATHER),--father $(FATHER)) $(if $(MOTHER),--mother $(MOTHER)) $(BASE_FLAG)
SOURCES = $(wildcard darwin_mri tests speed proving experiments examples site_tools)

.PHONY: help setup scan breed genealogy bench report example nursery test check audit speed proving docs clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "Settings: FATHER= MOTHER= BASE= (hub id, folder or nursery:NAME) CONFIG= OUT= DEVICE=auto|cuda|cpu FLAGS="

setup: $(READY) ## make .venv with everything pinned by constraints.txt

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv was found: install one (on Debian also python3-venv) or give PYTHON=/its/path" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench,docs,pareto,proving,ray,dev]'
	@touch $@

scan: FATHER ?= nursery:gemma4-korean
scan: MOTHER ?= nursery:gemma4-reasoning
# the nursery's base is for the nursery's parents only
scan: BASE ?= $(if $(filter command environment,$(origin FATHER) $(origin MOTHER)),,nursery:gemma4-base)
scan: OUT ?= reports/scan
scan: $(READY) ## scan FATHER and MOTHER layer by layer, and the pair
	$(DARWIN) scan $(FATHER) --against $(MOTHER) $(BASE_FLAG) --out $(OUT) --overwrite $(COMMON)

# with FATHER and MOTHER given, configs/david.yaml and its base do not apply
breed: CONFIG ?= $(if $(and $(filter command environment,$(origin FATHER)),$(filter command environment,$(origin MOTHER))),,configs/david.yaml)
breed: OUT ?= reports/$(or $(basename $(notdir $(CONFIG))),run)
breed: $(READY) ## scan, search, write the child, score it, report: CONFIG (default configs/david.yaml)
	$(DARWIN) breed $(if $(CONFIG),--config $(CONFIG)) $(PARENTS) --out $(OUT) --overwrite $(COMMON)

genealogy: OUT ?= reports/genealogy
genealogy: $(READY) ## three generations in a row, each child the father of the next, and one page over all three
	$(DARWIN) breed --config configs/opus.yaml --out $(OUT)/opus --overwrite $(COMMON)
	$(DARWIN) breed --config configs/david.yaml --father $(OUT)/opus/child --out $(OUT)/david --overwrite $(COMMON)
	$(DARWIN) breed --config configs/genesis.yaml --father $(OUT)/david/child --out $(OUT)/genesis --overwrite $(COMMON)
	$(DARWIN) report $(OUT)/opus $(OUT)/david $(OUT)/genesis

bench: FATHER ?= nursery:gemma4-korean
bench: MOTHER ?= nursery:gemma4-reasoning
bench: TASKS ?= nursery_click,nursery_musr,nursery_gpqa
bench: OUT ?= reports/bench
bench: $(READY) ## score FATHER and MOTHER on TASKS (default: the nursery's three; others need DATA=folder)
	$(DARWIN) bench $(FATHER) $(MOTHER) --tasks $(TASKS) $(if $(DATA),--data $(DATA)) --out $(OUT) $(COMMON)

report: OUT ?= reports/david
report: $(READY) ## render the report of the run in OUT again (of several: one page that compares them)
	$(DARWIN) report $(OUT)

example: OUT ?= reports/nursery
example: $(READY) ## render the committed example again, and the README's pictures of it (needs Chromium)
	for run in opus david genesis; do $(DARWIN) report $(OUT)/$$run --quiet > /dev/null; done
	$(DARWIN) report $(OUT)/opus $(OUT)/david $(OUT)/genesis > /dev/null
	$(BIN)/python -m tests.report.picture $(OUT)/genesis/report.html docs/images

nursery: $(READY) ## list the small trained parents that ship with the package
	$(DARWIN) nursery

# without the reordering: it would put the files of one long test last, one after the other on one core
test: $(READY) ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: $(READY) ## formatting, lint, docstrings, types, and which package may import which
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/pyright
	$(BIN)/lint-imports

audit: OUT ?= reports/sbom.json
audit: $(READY) ## licences, known vulnerabilities and an SBOM (OUT) of what is pinned
	test -x .audit/bin/pip-audit || { $(BIN)/python -m venv .audit && .audit/bin/python -m pip install --quiet cyclonedx-bom pip-audit; }
	$(BIN)/python -m tests.supply --tools .audit/bin --sbom $(OUT)

speed: OUT ?= reports/speed.json
speed: $(READY) ## measure speed against the alternatives, side by side; table, and JSON in OUT
	$(BIN)/python -m speed --out $(OUT)

proving: OUT ?= reports/proving$(if $(FULL),,-short)
proving: $(READY) ## siblings of a real model, and what the MRI is worth on them (FULL=1: hours)
	$(BIN)/python -m proving $(if $(FULL),--full) --out $(OUT)

docs: $(READY) ## build the documentation site into site/, without a network; open site/index.html
	$(BIN)/python -m site_tools build/docs
	$(BIN)/zensical build --clean --strict

clean: ## remove .venv, caches and build leftovers; reports stay
	rm -rf .venv .audit .cache build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
