PYTHON ?= python3
BIN := .venv/bin
MODELS := smollm2-135m-instruct-q4_1 minilm

.PHONY: demo test check lint types bench-train bench-score bench-statistics clean

demo: .venv/demo  ## Train two adapters on the embedded model and compare them with the base
	$(BIN)/evalkit model pull $(firstword $(MODELS))
	$(BIN)/evalkit run studies/quickstart/study.yaml

test: .venv/dev  ## The whole test suite, offline once the embedded models are here
	$(BIN)/evalkit model pull $(MODELS)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2

check: test lint types  ## What CI runs

bench-statistics: .venv/dev  ## How often intervals cover and gates err, by simulation
	$(BIN)/python benchmarks/statistics.py

lint: .venv/dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/mypy

.venv/demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

.venv/dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@ .venv/demo
