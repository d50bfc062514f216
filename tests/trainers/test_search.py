"""Successive halving in the loop: who is dropped trains no further, and who stays becomes what it becomes alone."""

from __future__ import annotations

import json
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
from evalkit.records import TrainingSummary
from evalkit.specs.trainer import QloraSettings
from evalkit.training.halving import Decision, Halving
from evalkit.training.job import TrainingJob

# two learning rates, schedules of 9, 9, 6 and 12 steps: rungs of three at 3/6, 3/6, 2/4 and 4/8
CANDIDATES: dict[str, dict[str, Any]] = {
    "slow": {"rank": 4, "learning_rate": 1e-4},
    "still": {"rank": 8, "learning_rate": 1e-4, "targets": "attention"},
    "fast": {"rank": 4, "learning_rate": 1e-2, "max_steps": 6},
    "long": {"rank": 2, "learning_rate": 1e-2, "max_steps": 12, "seed": 5},
}
COMMON = {"batch_size": 6, "epochs": 100.0, "max_steps": 9, "early_stopping": None}
Logs = dict[str, dict[int, dict[str, Any]]]


def jobs_of(
    base: Base, rows: list[Conversation], folder: Path, search: Halving | None, **more: Any
) -> tuple[list[TrainingJob], Logs, list[str]]:
    logs: Logs = {name: {} for name in CANDIDATES}
    said: list[str] = []
    jobs = [
        TrainingJob(
            base=base,
            settings=QloraSettings(**{**COMMON, **CANDIDATES[name], **more}),
            train=rows[5:],
            validation=rows[:5],
            folder=folder / name,
            name=name,
            search=search,
            log=lambda row, to=logs[name]: to.__setitem__(row["step"], row),
            tell=lambda told, who=name: said.append(f"{who}: {told}"),
        )
        for name in CANDIDATES
    ]
    return jobs, logs, said


def halving(**more: Any) -> Halving:
    return Halving({name: CANDIDATES[name]["learning_rate"] for name in CANDIDATES}, 3, 0.5, **more)


def weights(folder: Path) -> torch.Tensor:
    saved = load_file(folder / "adapter" / "adapter_model.safetensors")
    return torch.cat([saved[name].flatten() for name in sorted(saved)])


def kept(decision: Decision) -> set[str]:
    return {name for name, standing in decision.items() if standing["goes_on"]}


@pytest.fixture(scope="module")
def searched(
    qlora: ModuleType,
    tiny_folder: Path,
    rows: list[Conversation],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Halving, dict[str, Any], Logs, list[str]]:
    from evalkit.models.loading import load_base

    base = load_base(str(tiny_folder), quantization="none", dtype="fp32", device="cpu")
    folder, search = tmp_path_factory.mktemp("search"), halving()
    jobs, logs, said = jobs_of(base, rows, folder, search)
    outcomes = dict(zip(CANDIDATES, qlora.train_many(jobs), strict=True))
    return folder, search, outcomes, logs, said


def test_losers_are_dropped_at_equal_shares_and_never_the_last_of_a_rate(searched: Any) -> None:
    folder, search, outcomes, logs, said = searched
    first, second = search.decisions
    assert {name: standing["step"] for name, standing in first.items()} == {
        **{"slow": 3, "still": 3, "fast": 2, "long": 4},
    }
    rates = {name: CANDIDATES[name]["learning_rate"] for name in CANDIDATES}
    for decision in (first, second):
        assert len(kept(decision)) == 2  # half of four, and later one of each rate
        assert {rates[name] for name in kept(decision)} == {1e-4, 1e-2}
    for rate in (1e-4, 1e-2):  # and within a rate the one with the lower loss
        band = [name for name in first if rates[name] == rate]
        best = min(band, key=lambda name: first[name]["loss"] or 0.0)
        assert best in kept(first)
    for name, outcome in outcomes.items():
        assert isinstance(outcome, TrainingSummary)
        steps = CANDIDATES[name].get("max_steps", 9)
        if name in kept(first):
            assert (outcome.stopped, outcome.steps, len(outcome.rungs)) == ("finished", steps, 2)
            assert (folder / name / "adapter").is_dir()
        else:
            assert (outcome.stopped, outcome.steps) == ("dropped at rung 1 of 3", steps // 3)
            assert len(logs[name]) == steps // 3
            assert not (folder / name / "adapter").exists()  # half a training is nobody's result
            assert sum(f"{name}: dropped at rung 1 of 3" in sentence for sentence in said) == 1
        told = [standing for row in logs[name].values() for standing in row.get("rungs", [])]
        assert told == outcome.rungs == search.standings(name)


def test_a_survivor_is_what_it_is_without_a_search(
    qlora: ModuleType, base_of: Callable[..., Base], rows: list[Conversation], tmp_path: Path, searched: Any
) -> None:
    folder, search, _, logs, _ = searched
    jobs, alone, _ = jobs_of(base_of(), rows, tmp_path, None)
    survivors = kept(search.decisions[-1])
    for job in [job for job in jobs if job.name in survivors]:
        qlora.train(job)
        ours, theirs = weights(folder / job.name), weights(tmp_path / job.name)
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-6
        losses = [[row["loss"] for row in log[job.name].values()] for log in (logs, alone)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)
        looks = [
            {step: row["validation_loss"] for step, row in log[job.name].items() if "validation_loss" in row}
            for log in (logs, alone)
        ]
        assert looks[0] == pytest.approx(looks[1], rel=1e-6)


def test_candidates_that_share_no_pass_meet_at_the_rungs_all_the_same(
    qlora: ModuleType, base_of: Callable[..., Base], rows: list[Conversation], tmp_path: Path, searched: Any
) -> None:
    _, together, _, logs, _ = searched
    search = halving()
    jobs, apart, said = jobs_of(base_of(), rows, tmp_path, search, speed="plain")
    outcomes = qlora.train_many(jobs)
    assert [kept(decision) for decision in search.decisions] == [
        kept(decision) for decision in together.decisions
    ]
    for name, outcome in zip(CANDIDATES, outcomes, strict=True):
        assert len(apart[name]) == len(logs[name]) == outcome.steps
        for step, row in apart[name].items():
            assert row["loss"] == pytest.approx(logs[name][step]["loss"], rel=1e-4)
    assert not any("resumed" in sentence for sentence in said)


def test_one_that_breaks_or_ends_early_takes_part_as_it_is(
    qlora: ModuleType, base_of: Callable[..., Base], rows: list[Conversation], tmp_path: Path
) -> None:
    search = halving()
    jobs, logs, _ = jobs_of(base_of(), rows, tmp_path, search)
    changes = {  # breaks at once; stops early, before its first rung, and has the lowest loss of its rate
        "still": {"learning_rate": 1.0, "alpha": 1e38, "warmup": 0.0, "max_grad_norm": None},
        "long": {"early_stopping": 1, "batch_size": 20, "max_steps": 60, "learning_rate": 0.02},
    }
    for number, name in enumerate(CANDIDATES):
        if name in changes:
            settings = jobs[number].settings.model_copy(update=changes[name])
            jobs[number] = replace(jobs[number], settings=settings)
    slow, still, fast, long = qlora.train_many(jobs)
    assert isinstance(still, CandidateError)
    assert search.decisions[0]["still"]["loss"] is None
    assert slow.stopped == "finished"
    standing = search.decisions[0]["long"]
    assert standing["step"] < 20  # it did not train on to its rung
    assert standing["step"] == len(logs["long"])
    stopped = {"fast": fast.stopped, "long": long.stopped}
    loser = "long" if search.lost("long") else "fast"
    assert stopped[loser] == "dropped at rung 1 of 3"
    assert stopped["fast" if loser == "long" else "long"] == ("finished" if loser == "long" else "early")
    assert (tmp_path / loser / "adapter").exists() is False


@pytest.mark.parametrize(
    ("more", "message"),
    [({"max_steps": 3}, "3 rungs need 4 optimiser steps"), ({"validation": []}, "there are none")],
)
def test_a_search_that_cannot_be_held_is_refused(
    qlora: ModuleType,
    base_of: Callable[..., Base],
    rows: list[Conversation],
    tmp_path: Path,
    more: dict[str, Any],
    message: str,
) -> None:
    search = halving()
    jobs, _, _ = jobs_of(base_of(), rows, tmp_path, search)
    if "validation" in more:
        jobs = [replace(job, validation=[]) for job in jobs]
    else:
        jobs = [replace(job, settings=job.settings.model_copy(update=more)) for job in jobs]
    for outcome in qlora.train_many(jobs):
        assert isinstance(outcome, CandidateError)
        assert message in str(outcome)


class KilledError(Exception):
    """Ends a process of training where it is thrown: nothing after it is written."""


@pytest.mark.parametrize("every", [0, 600])
@pytest.mark.parametrize("moment", ["between", "decided"])
def test_killed_it_decides_the_same(
    qlora: ModuleType,
    base_of: Callable[..., Base],
    rows: list[Conversation],
    tmp_path: Path,
    searched: Any,
    moment: str,
    every: int,
) -> None:
    """With checkpoints after each step, and before there was any: steps are taken again, decisions stand."""
    whole, unbroken, _, logs, _ = searched
    ledger = tmp_path / "decisions.json"

    def record(decisions: list[Decision]) -> None:
        ledger.write_text(json.dumps(decisions))
        if moment == "decided":  # before anyone acts on it
            raise KilledError

    def log(
        row: dict[str, Any],
    ) -> None:  # "fast" waits at its rung, "slow" comes to its own, "long" is below
        if moment == "between" and row["step"] == 3:
            raise KilledError

    jobs, _, _ = jobs_of(base_of(), rows, tmp_path, halving(record=record))
    jobs = [replace(job, checkpoint_seconds=every) for job in jobs]
    with pytest.raises(KilledError):
        qlora.train_many([replace(job, log=log) if job.name == "slow" else job for job in jobs])
    decided = json.loads(ledger.read_text()) if ledger.is_file() else []
    assert len(decided) == (1 if moment == "decided" else 0)
    search = halving(decisions=decided)
    jobs, resumed, said = jobs_of(base_of(), rows, tmp_path, search)
    qlora.train_many(jobs)
    assert any("resumed after step" in sentence for sentence in said) == (every == 0)
    assert search.decisions == unbroken.decisions
    for name in CANDIDATES:
        assert unclocked(resumed[name]) == unclocked(logs[name])
        if search.lost(name) is None:
            assert torch.equal(weights(whole / name), weights(tmp_path / name))


def unclocked(log: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    clocked = ("seconds", "seconds_by_phase", "peak_memory_bytes")
    return {step: {key: row[key] for key in row if key not in clocked} for step, row in log.items()}
