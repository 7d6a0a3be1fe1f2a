# Every target works on a fresh clone with only Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lab lint bench notebooks clean

demo: $(READY)
	$(BIN)/etlkit demo

test: lint
	$(BIN)/pytest -n auto --dist loadscope --doctest-modules --nbval --nbval-current-env tests etlkit notebooks

lab: $(READY)
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

lint: $(READY)
	$(BIN)/ruff check etlkit tests
	$(BIN)/ruff format --check etlkit tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) .venv-bench/.ready
	$(BIN)/python -m tests.benchmarks

notebooks: $(READY)
	$(BIN)/python -m tests.notebooks

clean:
	rm -rf $(VENV) .venv-bench build dist etlkit-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "etlkit needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

# Apache Hamilton, which the engine is measured against, has an environment of its own.
.venv-bench/.ready:
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet apache-hamilton
	touch $@
