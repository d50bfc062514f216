PYTHON ?= python3
BIN := .venv/bin
MODELS := smollm2-135m-instruct-q4_1

.PHONY: demo test check lint types bench-train bench-score clean

demo: .venv/demo  ## Train two adapters on the embedded model and compare them with the base
	$(BIN)/evalkit model pull $(MODELS)
	$(BIN)/evalkit run studies/quickstart/study.yaml

test: .venv/dev  ## The whole test suite, offline once the embedded models are here
	$(BIN)/evalkit model pull $(MODELS)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

check: test lint types  ## What CI runs

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
