"""Optimiser steps of so many tokens (``batch_tokens``): what they hold, when they look, and nobody else's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from evalkit.data.conversation import Conversation
from evalkit.errors import CandidateError
from evalkit.training.halving import Halving, rung_step
from evalkit.training.prepare import prepare

Jobs = Callable[..., Any]


def test_steps_hold_the_budget_and_every_reading_follows_them(
    qlora: ModuleType, job_of: Jobs, rows: list[Conversation]
) -> None:
    settings = {"batch_size": None, "batch_tokens": 130, "epochs": 2.5, "warmup": 0.2, "early_stopping": None}
    job, log = job_of(settings, validation=rows[:3])
    summary = qlora.train(job)
    data = prepare(job)
    epochs = [data.course.epoch(number) for number in range(3)]
    per_epoch = [len(steps) for steps in epochs]
    assert len(set(per_epoch)) > 1  # or there would be nothing to see
    total = per_epoch[0] + per_epoch[1] + math.ceil(per_epoch[2] / 2)
    assert summary.steps == len(log) == total
    taken = [step for steps in epochs for step in steps][:total]
    for entry, step in zip(log, taken, strict=True):
        assert entry["tokens"] == sum(len(data.train[i].ids) for i in step) <= 130
        assert entry["supervised_tokens"] == sum(data.train[i].targets for i in step)
    ends = [entry["step"] for entry in log if entry["epoch"] in (1.0, 2.0)]
    assert ends == [per_epoch[0], per_epoch[0] + per_epoch[1]]
    assert sorted(entry["epoch"] for entry in log) == [entry["epoch"] for entry in log]
    first = [math.ceil(per_epoch[0] / 2), per_epoch[0]]
    second = [ends[0] + math.ceil(per_epoch[1] / 2), ends[1]]
    third = [ends[1] + math.ceil(per_epoch[2] / 2)]  # which is the last step of all
    assert [entry["step"] for entry in log if "validation_loss" in entry] == [*first, *second, *third]
    warm = math.ceil(0.2 * total)
    rates = [entry["learning_rate"] for entry in log]
    assert rates.index(max(rates)) == warm
    last = log[-per_epoch[2] :]
    assert summary.train_loss == pytest.approx(
        sum(e["loss"] * e["supervised_tokens"] for e in last) / sum(e["supervised_tokens"] for e in last)
    )


def test_rows_of_one_length_train_as_with_a_batch_size_to_the_bit(
    qlora: ModuleType, job_of: Jobs, rows: list[Conversation], tmp_path: Path
) -> None:
    even = [row for row in rows if row.row % 4 == 0]
    even = [replace(row, messages=[row.messages[0], {"role": "assistant", "content": "yes"}]) for row in even]
    even = [
        replace(row, messages=[{"role": "user", "content": f"Card {row.row:03d}"}, row.messages[1]])
        for row in even
    ]
    logs = []
    for name, size in (
        ("rows", {"batch_size": 4}),
        ("tokens", {"batch_size": None, "batch_tokens": 0}),
    ):
        job, log = job_of({"epochs": 3.0}, train=even, validation=rows[:2], folder=tmp_path / name)
        (length,) = {len(row.ids) for row in prepare(job).train}
        if size.get("batch_tokens") is not None:
            size["batch_tokens"] = 4 * length
        job = replace(job, settings=job.settings.model_copy(update=size))
        qlora.train(job)
        clocked = ("seconds", "seconds_by_phase", "peak_memory_bytes")
        logs.append([{k: v for k, v in entry.items() if k not in clocked} for entry in log])
    assert logs[0] == logs[1]
    assert len(logs[0]) == 6


def test_a_row_longer_than_the_budget_is_a_step_of_its_own(
    qlora: ModuleType, job_of: Jobs, rows: list[Conversation]
) -> None:
    long = Conversation(row=99, messages=[{"role": "user", "content": "x" * 200}, rows[0].messages[1]])
    job, log = job_of({"batch_size": None, "batch_tokens": 100}, train=[*rows[:6], long])
    summary = qlora.train(job)
    assert [entry["tokens"] > 200 for entry in log].count(True) == 1
    assert all(entry["tokens"] <= 100 or entry["tokens"] > 200 for entry in log)
    assert summary.tokens == sum(len(row.ids) for row in prepare(job).train)


def test_rungs_stand_at_equal_shares_of_each_schedule(
    qlora: ModuleType, job_of: Jobs, rows: list[Conversation], tmp_path: Path
) -> None:
    sizes = {
        "tokens": {"batch_size": None, "batch_tokens": 100},
        "large": {"batch_size": None, "batch_tokens": 300},
        "rows": {"batch_size": 6},
    }
    search = Halving(dict.fromkeys(sizes, 1e-3), 3, 0.5)
    base, jobs = None, []
    for name, size in sizes.items():
        settings = {"learning_rate": 1e-3, "epochs": 2.0, "early_stopping": None, **size}
        fields = {} if base is None else {"base": base}
        job, _ = job_of(
            settings, train=rows[5:], validation=rows[:5], name=name, folder=tmp_path / name, **fields
        )
        base = job.base
        jobs.append(replace(job, search=search))
    outcomes = qlora.train_many(jobs)
    assert not any(isinstance(outcome, CandidateError) for outcome in outcomes)
    for job in jobs:
        steps = prepare(replace(job, search=None)).course.total(2.0, None)
        standing = search.decisions[0][job.name]
        assert (standing["step"], standing["steps"]) == (rung_step(1, 3, steps), steps)
    few = jobs[0].settings.model_copy(update={"batch_tokens": 10_000})
    (refused,) = qlora.train_many([replace(jobs[0], settings=few, search=Halving({"tokens": 1e-3}, 3, 0.5))])
    assert isinstance(refused, CandidateError)
    assert "3 rungs need 4 optimiser steps, and this candidate takes 2" in str(refused)
