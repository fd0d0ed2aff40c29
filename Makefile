# Everything a person or CI does here. Needs Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

.PHONY: setup demo test test-fast check bench gen up soak format lint types clean

setup: $(STAMP)

$(STAMP): pyproject.toml $(wildcard deploy/hatch_build.py)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "callmesh needs Python 3.11 or newer: set PYTHON=/path/to/python"; exit 1; }
	@echo "setting up $(VENV) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode \
	  -e '.[all]' --group test --group lint --group examples
	@touch $(STAMP)

gen: setup
	@$(BIN)/python deploy/gen_protos.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
