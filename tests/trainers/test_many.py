"""Candidates that train in one pass become what they become alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from evalkit.data.conversation import Conversation
from evalkit.errors import CandidateError
from evalkit.models.loading import Base
from evalkit.specs.trainer import QloraSettings
from evalkit.training.job import TrainingJob
from evalkit.training.joining import why_alone

# ranks, alphas, targets, rates, schedules, seeds, batches, limits: all that may differ, does
CANDIDATES: dict[str, dict[str, Any]] = {
    "r4": {"rank": 4, "learning_rate": 5e-3},
    "r8": {"rank": 8, "alpha": 16.0, "learning_rate": 1e-2, "seed": 3, "schedule": "constant"},
    "attention": {"rank": 2, "targets": "attention", "batch_size": 5, "micro_batch": 2, "rslora": True},
    "few": {"rank": 16, "targets": ["down_proj"], "epochs": 2.0, "max_grad_norm": 0.01, "weight_decay": 0.1},
    "tokens": {"rank": 4, "batch_size": None, "batch_tokens": 150, "learning_rate": 5e-3},
}
COMMON = {"batch_size": 8, "epochs": 100.0, "max_steps": 20, "early_stopping": None}


def settings_of(name: str, **more: Any) -> QloraSettings:
    return QloraSettings(**{**COMMON, **CANDIDATES[name], **more})


def jobs_of(
    base: Base, rows: list[Conversation], folder: Path, **more: Any
) -> tuple[list[TrainingJob], dict[str, list[dict[str, Any]]]]:
    logs: dict[str, list[dict[str, Any]]] = {name: [] for name in CANDIDATES}
    jobs = [
        TrainingJob(
            base=base,
            settings=settings_of(name, **more),
            train=rows if name != "few" else rows[5:],
            validation=rows[:5],
            folder=folder / name,
            name=name,
            log=logs[name].append,
            checkpoint_seconds=0.0,
        )
        for name in CANDIDATES
    ]
    return jobs, logs


def weights(folder: Path) -> torch.Tensor:
    saved = load_file(folder / "adapter" / "adapter_model.safetensors")
    return torch.cat([saved[name].flatten() for name in sorted(saved)])


def assert_same(
    one: Path, log_one: list[dict[str, Any]], other: Path, log_other: list[dict[str, Any]]
) -> None:
    """To 1e-6 relative: each loss, each gradient norm, each validation, and the adapter itself."""
    assert len(log_one) == len(log_other)
    for a, b in zip(log_one, log_other, strict=True):
        for key in ("loss", "grad_norm", "validation_loss"):
            assert (key in a) == (key in b)
            assert a.get(key, 0.0) == pytest.approx(b.get(key, 0.0), rel=1e-6)
        ignored = ("loss", "grad_norm", "validation_loss", "seconds", "seconds_by_phase", "peak_memory_bytes")
        assert {k: v for k, v in a.items() if k not in ignored} == {
            k: v for k, v in b.items() if k not in ignored
        }
    wa, wb = weights(one), weights(other)
    assert float((wa - wb).norm() / wa.norm()) < 1e-6


@pytest.mark.parametrize(
    ("quantization", "more"),
    [("none", {}), ("nf4", {}), ("none", {"gradient_checkpointing": True}), ("none", {"dropout": 0.2})],
)
def test_together_equals_alone(
    qlora: ModuleType,
    base_of: Callable[..., Base],
    rows: list[Conversation],
    tmp_path: Path,
    quantization: str,
    more: dict[str, Any],
) -> None:
    base = base_of(quantization)
    alone, logs_alone = jobs_of(base, rows, tmp_path / "alone", **more)
    for job in alone:
        qlora.train(job)
    together, logs = jobs_of(base, rows, tmp_path / "together", **more)
    outcomes = qlora.train_many(together)
    assert [outcome.steps for outcome in outcomes] == [20, 20, 20, 6, 20]  # "few" has 19 rows: 3 steps, twice
    assert {outcome.stopped for outcome in outcomes} == {"finished"}
    assert logs["r4"][-1]["loss"] < 0.9 * logs["r4"][0]["loss"]  # there is something to compare
    for name in CANDIDATES:
        assert_same(tmp_path / "alone" / name, logs_alone[name], tmp_path / "together" / name, logs[name])


def test_an_adapter_of_many_loads_in_peft(
    qlora: ModuleType, base_of: Callable[..., Base], rows: list[Conversation], tmp_path: Path
) -> None:
    from peft import PeftModel

    base = base_of()
    jobs, _ = jobs_of(base, rows, tmp_path, max_steps=3)
    qlora.train_many(jobs)
    ids = torch.tensor([[1, 2, 3, 4]])
    base.add_adapter("mine", tmp_path / "attention" / "adapter")
    with base.use("mine") as model:
        ours = model(input_ids=ids).logits
    theirs = PeftModel.from_pretrained(base_of().model, str(tmp_path / "attention" / "adapter"))
    torch.testing.assert_close(theirs(input_ids=ids).logits, ours)


def test_one_that_breaks_stops_alone(
    qlora: ModuleType, base_of: Callable[..., Base], rows: list[Conversation], tmp_path: Path
) -> None:
    base = base_of()
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    jobs, logs = jobs_of(base, rows, tmp_path / "with")
    wild = QloraSettings(
        **{**COMMON, "learning_rate": 1.0, "max_grad_norm": None, "warmup": 0.0, "alpha": 1e38}
    )
    wrong = settings_of("r4", targets=["q_prj"])
    outcomes = qlora.train_many(
        [
            jobs[0],
            replace(jobs[1], settings=wild, folder=tmp_path / "wild"),
            replace(jobs[2], settings=wrong, folder=tmp_path / "wrong"),
            replace(jobs[3], train=[], folder=tmp_path / "empty"),
        ]
    )
    assert isinstance(outcomes[1], CandidateError)
    assert "training stopped" in str(outcomes[1])
    assert "Did you mean 'q_proj'" in str(outcomes[2])
    assert "no training row is left" in str(outcomes[3])
    assert not (tmp_path / "wild" / "adapter").exists()
    alone, logs_alone = jobs_of(base, rows, tmp_path / "alone")
    qlora.train(alone[0])
    assert_same(tmp_path / "with" / "r4", logs["r4"], tmp_path / "alone" / "r4", logs_alone["r4"])
    after = base.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_what_cannot_join_trains_alone_with_the_same_result(
    qlora: ModuleType, base_of: Callable[..., Base], rows: list[Conversation], tmp_path: Path
) -> None:
    base = base_of()
    results = []
    for folder in ("one", "two"):
        jobs, logs = jobs_of(base, rows, tmp_path / folder, max_steps=3)
        dora = replace(jobs[1], settings=settings_of("r8", dora=True, max_steps=3))
        plain = replace(jobs[2], settings=settings_of("attention", speed="plain", max_steps=3))
        chosen = [jobs[0], dora, plain] if folder == "one" else [plain, dora]
        outcomes = qlora.train_many(chosen)
        assert not any(isinstance(outcome, CandidateError) for outcome in outcomes)
        results.append([[row["loss"] for row in logs[name]] for name in ("r8", "attention")])
    assert results[0] == results[1]
    assert why_alone(settings_of("r8", dora=True)) is not None
    assert why_alone(settings_of("r8")) is None


def test_candidates_are_said_to_share_a_pass(
    qlora: ModuleType, base_of: Callable[..., Base], rows: list[Conversation], tmp_path: Path
) -> None:
    said: list[str] = []
    jobs, logs = jobs_of(base_of(), rows, tmp_path, max_steps=2)
    qlora.train_many([replace(job, tell=said.append) for job in jobs[:2]])
    assert said == ["trained in one pass with 1 other."] * 2
    said.clear()
    jobs, _ = jobs_of(base_of("nf4"), rows, tmp_path / "nf4", max_steps=1)
    qlora.train_many([replace(job, tell=said.append) for job in jobs[:2]])
    assert said.count("4-bit weights are kept de-quantised: 0.00 GB.") == 2  # it concerns both
    spent = sum(row["seconds"] for log in logs.values() for row in log)
    assert 0 < spent < 60  # the time of a pass is divided among its candidates, not counted for each


@pytest.mark.slow
def test_killed_together_goes_on_to_the_same_bits(
    qlora: ModuleType,
    base_of: Callable[..., Base],
    tiny_folder: Path,
    rows: list[Conversation],
    tmp_path: Path,
    root: Path,
) -> None:
    base = base_of("nf4")
    whole, unbroken = jobs_of(base, rows, tmp_path / "whole", dropout=0.1)
    qlora.train_many(whole)
    given = {
        "model": str(tiny_folder),
        "work": str(tmp_path / "killed"),
        "rows": [row.messages for row in rows],
        "settings": {name: settings_of(name, dropout=0.1).model_dump() for name in CANDIDATES},
    }
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, json.dumps(given)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout is not None
    assert killed.stdout.readline().strip() == "asleep"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    jobs, resumed = jobs_of(base, rows, tmp_path / "killed", dropout=0.1)
    said: list[str] = []
    qlora.train_many([replace(job, tell=said.append) for job in jobs])
    assert len([sentence for sentence in said if sentence.startswith("resumed after step")]) == 5
    for name in CANDIDATES:
        for entry in (*unbroken[name], *resumed[name]):
            for clocked in ("seconds", "seconds_by_phase", "peak_memory_bytes"):
                del entry[clocked]
        assert resumed[name] == unbroken[name]
        assert torch.equal(weights(tmp_path / "whole" / name), weights(tmp_path / "killed" / name))


KILLED = """
import json, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from evalkit.catalog import find, load_module
from evalkit.data.conversation import Conversation
from evalkit.models.loading import load_base
from evalkit.specs.trainer import QloraSettings
from evalkit.training.job import TrainingJob
given = json.loads(sys.argv[1])
rows = [Conversation(row=i, messages=m) for i, m in enumerate(given["rows"], 1)]
base = load_base(given["model"], quantization="nf4", dtype="fp32", device="cpu")
def log(entry):  # of the second candidate: some have taken their fifth step, some have not
    if entry["step"] == 5:
        print("asleep", flush=True)
        time.sleep(600)
def job(number, name, settings):
    return TrainingJob(base=base, settings=QloraSettings(**settings), train=rows if name != "few" else rows[5:],
        validation=rows[:5], folder=Path(given["work"]) / name, name=name, checkpoint_seconds=0,
        **({"log": log} if number == 1 else {}))
jobs = [job(number, *item) for number, item in enumerate(given["settings"].items())]
load_module(find("trainers", "qlora").path / "train.py").train_many(jobs)
"""
