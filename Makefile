PYTHON ?= python3
BIN := .venv/bin
SIZE ?= 135m
MODELS := smollm2-135m-instruct-q4_1 minilm

.PHONY: demo test check lint types bench-train bench-gpu bench-score bench-metrics bench-judge bench-statistics clean

demo: .venv/demo  ## Train two adapters on the embedded model and compare them with the base
	$(BIN)/evalkit model pull $(firstword $(MODELS))
	$(BIN)/evalkit run studies/quickstart/study.yaml

test: .venv/dev  ## The whole test suite, offline once the embedded models are here
	$(BIN)/evalkit model pull $(MODELS)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2

check: test lint types  ## What CI runs

bench-train: .venv/dev  ## Training beside TRL on this machine: speed, memory, held-out loss
	$(BIN)/python benchmarks/train.py

bench-gpu: .venv/dev  ## On CUDA: the tests marked gpu, then training and scoring on models of random weights (SIZE=1b, 8b)
	$(BIN)/python -m pytest -m gpu -n 0
	$(BIN)/python benchmarks/random_model.py build/random-$(SIZE) --size $(SIZE)
	$(BIN)/python benchmarks/train.py --model build/random-$(SIZE)
	$(BIN)/python benchmarks/score.py --growth --device cuda --dtype bf16 --model build/random-$(SIZE)

bench-metrics: .venv/dev  ## ROUGE, BLEU, chrF, BERTScore and the sandbox beside their reference implementations
	$(BIN)/evalkit model pull minilm
	$(BIN)/python benchmarks/metrics.py

bench-score: .venv/dev  ## The scoring engine beside lm-evaluation-harness, on the same rows (QUICK=1: fewer)
	$(BIN)/python benchmarks/score.py --growth $(if $(QUICK),--quick)
	$(BIN)/python benchmarks/commands.py $(if $(QUICK),--repeats 1 --n 8)

bench-judge: .venv/dev  ## Overhead of the client: 10,000 verdicts against a local server of 20 ms
	$(BIN)/python benchmarks/judge.py

bench-statistics: .venv/dev  ## How often intervals cover and gates err, by simulation
	$(BIN)/python benchmarks/intervals.py

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
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps label-studio-sdk  # with them it brings OpenCV
	touch $@ .venv/demo
