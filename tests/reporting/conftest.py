"""A run folder as `evalkit run` leaves it, written by a seeded generator; every number follows from its samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.running.folder import RunFolder
from evalkit.signature import canonical_json

SYSTEM = "You sort support mail of a parcel service. Answer with one label and nothing else. " * 12
LABELS = ["lost_parcel", "refund", "address_change", "damaged", "invoice", "delivery_time"]


@dataclass(frozen=True)
class FakeTask:
    """A task whose answers are right with a given chance for each candidate."""

    name: str
    metric: str
    chances: Mapping[str, float]
    extra: tuple[str, ...] = ("output_tokens",)
    higher: bool = True
    kind: str = "generate"
    unscored: Mapping[str, int] = field(default_factory=dict)
    rows: str = ""


TASKS = (
    FakeTask(
        "tickets",
        "exact_match",
        {"base": 0.0, "few-shot": 0.03, "r8": 0.71, "r32": 0.83},
        ("token_f1", "output_tokens", "latency"),
        unscored={"few-shot": 2},
    ),
    FakeTask(
        "tickets-choice",
        "choice_accuracy",
        {"base": 0.38, "few-shot": 0.6, "r8": 0.84, "r32": 0.86},
        (),
        kind="choice",
        rows="tickets",
    ),
    FakeTask(
        "general-knowledge",
        "exact_match",
        {"base": 0.55, "few-shot": 0.52, "r8": 0.5, "r32": 0.24},
        ("token_f1",),
    ),
    FakeTask(
        "harmless-requests",
        "over_refusal",
        {"base": 0.08, "few-shot": 0.1, "r8": 0.05, "r32": 0.3},
        (),
        higher=False,
    ),
)
KINDS = {"base": "base", "few-shot": "prompt"}


def fake_samples(task: FakeTask, candidate: str, n: int, seed: int) -> list[dict[str, Any]]:
    """Rows of ``samples/CANDIDATE/TASK.jsonl``."""
    numbers = np.random.default_rng([seed, *map(ord, task.name + candidate)])
    levels = np.random.default_rng([seed, *map(ord, task.name)]).random(n)
    rows = []
    for i in range(n):
        target = LABELS[i % len(LABELS)]
        right = levels[i] * 0.85 + numbers.random() * 0.15 < task.chances[candidate]
        wrong = LABELS[(i + 1 + int(numbers.integers(4))) % len(LABELS)]
        prose = (
            f"Sure! I am happy to help. The customer writes about: {wrong.replace('_', ' ')}. Anything else?"
        )
        output = target if right else (prose if candidate == "base" else wrong)
        score: Any = float(right)
        if i < task.unscored.get(candidate, 0):
            score = {"unscored": "the answer is empty"}
            output = ""
        words = len(output.split())
        scores = {task.metric: score}
        for metric in task.extra:
            scores[metric] = {
                "token_f1": 1.0 if right else 0.2,
                "output_tokens": words * 2.0 + 1,
                "latency": 0.05 * words,
            }[metric]
        row = {
            "id": f"{task.rows or task.name}-{i:03d}",
            "input": [
                {"role": "system", "content": SYSTEM},
                {
                    "role": "user",
                    "content": f"Mail {i}: my parcel {4711 + i} concerns {target.replace('_', ' ')}.\nKind regards",
                },
            ],
            "target": target,
            "output": output,
            "scores": scores,
            "finish": "length" if not right and candidate == "base" and i % 3 == 0 else "stop",
            "prompt_tokens": 212,
            "output_tokens": words * 2 + 1,
            "seconds": round(0.05 * words, 6),
            "prompt_ids_sha256": f"{i:064x}",
        }
        if candidate == "few-shot":
            shots = [
                turn
                for k in range(2)
                for turn in (
                    {"role": "user", "content": f"Mail {k}"},
                    {"role": "assistant", "content": LABELS[k]},
                )
            ]
            row["input"] = [row["input"][0], *shots, row["input"][1]]
        if task.kind == "choice":
            row["choices"] = [
                {"text": label, "logprob": -0.4 - 0.7 * k, "tokens": 3}
                for k, label in enumerate([output if output in LABELS else wrong, *LABELS[:3]])
            ]
        rows.append(row)
    return rows


def fake_score(
    rows: Sequence[Mapping[str, Any]], candidate: str, task: str, metric: str, higher: bool
) -> dict[str, Any]:
    """An object of ``scores``: the mean and a normal interval."""
    values = [row["scores"][metric] for row in rows if not isinstance(row["scores"][metric], Mapping)]
    mean = float(np.mean(values)) if values else None
    bound = 1.0 if all(value <= 1 for value in values) else math.inf
    half = 1.96 * max(float(np.std(values)), 0.05) / math.sqrt(len(values)) if values else None
    return {
        "candidate": candidate,
        "task": task,
        "metric": metric,
        "value": mean,
        "low": None if half is None else (max(0.0, mean - half)),
        "high": None if half is None else min(bound, mean + half),
        "confidence": 0.95,
        "n": len(values),
        "unscored": len(rows) - len(values),
        "higher_is_better": higher,
        "signature": f"{metric}|task:{task}.1|bs:10000|seed:17|version:0.1.0",
    }


def fake_comparison(
    rows: Sequence[Mapping[str, Any]],
    control: Sequence[Mapping[str, Any]],
    names: tuple[str, str],
    task: str,
    metric: str,
    higher: bool,
    family: int,
) -> dict[str, Any]:
    """An object of ``comparisons``: paired differences, normal intervals, Bonferroni."""
    pairs = [
        (row["id"], row["scores"][metric] - other["scores"][metric])
        for row, other in zip(rows, control, strict=True)
        if not isinstance(row["scores"][metric], Mapping) and not isinstance(other["scores"][metric], Mapping)
    ]
    sign = 1 if higher else -1
    base = {
        "candidate": names[0],
        "control": names[1],
        "task": task,
        "metric": metric,
        "test": "paired bootstrap, Holm",
    }
    if not pairs:
        empty = dict.fromkeys(
            ("difference", "low", "high", "low_adjusted", "high_adjusted", "p_value", "p_adjusted")
        )
        return {**base, **empty, "n": 0, "gained": [], "lost": []}
    values = np.array([value for _, value in pairs])
    mean, error = float(values.mean()), max(float(values.std()), 0.02) / math.sqrt(len(values))
    p = math.erfc(abs(mean / error) / math.sqrt(2))
    return {
        **base,
        "difference": mean,
        "low": mean - 1.96 * error,
        "high": mean + 1.96 * error,
        "low_adjusted": mean - 2.9 * error,
        "high_adjusted": mean + 2.9 * error,
        "p_value": p,
        "p_adjusted": min(1.0, p * family),
        "n": len(pairs),
        "gained": [i for i, value in pairs if sign * value > 0],
        "lost": [i for i, value in pairs if sign * value < 0],
    }


def fake_training(seed: int, steps: int, floor: float) -> list[dict[str, Any]]:
    """Rows of ``training/CANDIDATE.jsonl``: a falling loss."""
    numbers = np.random.default_rng(seed)
    rows = []
    for step in range(1, steps + 1):
        loss = floor + 2.6 * math.exp(-step / (steps / 6)) * float(numbers.lognormal(0, 0.12))
        row = {
            "step": step,
            "epoch": step / 16,
            "loss": loss,
            "learning_rate": 1e-3,
            "grad_norm": 1.0,
            "tokens": 3400,
            "computed_tokens": 3500,
            "supervised_tokens": 96,
            "seconds": 1.7,
        }
        if step % 8 == 0:
            row["validation_loss"] = loss * 1.08 + 0.02
        rows.append(row)
    return rows


def fake_run(
    path: Path,
    tasks: Sequence[FakeTask] = TASKS,
    n: int = 40,
    training: Mapping[str, int] | None = None,
    change: Callable[[str, str, list[dict[str, Any]]], None] | None = None,
    control: str | None = "base",
) -> RunFolder:
    """Write a run folder and return it.

    Args:
        path: The folder.
        tasks: Its tasks; the candidates are those that have chances.
        n: Samples a task.
        training: Candidate → steps; default: two adapters.
        change: Called with candidate, task and rows before they are scored and written.
        control: Name of the control; None: nothing is compared.
    """
    folder = RunFolder(path)
    names = list(dict.fromkeys(name for task in tasks for name in task.chances)) or ["base"]
    trained = {"r8": 48, "r32": 48} if training is None else dict(training)
    scores, comparisons, seconds = [], [], {}
    pairs = [(task, name) for task in tasks for name in names if control and name != control]
    for task in tasks:
        rows = {name: fake_samples(task, name, n, 17) for name in names}
        for name in names:
            if change:
                change(name, task.name, rows[name])
            folder.write_samples(name, task.name, rows[name])
            seconds.setdefault(name, {"train": 0.0})[f"answer {task.name}"] = 3.2 * n / 40
        for metric in (task.metric, *task.extra):
            higher = task.higher if metric == task.metric else metric == "token_f1"
            scores += [fake_score(rows[name], name, task.name, metric, higher) for name in names]
            if control:
                comparisons += [
                    fake_comparison(
                        rows[name], rows[control], (name, control), task.name, metric, higher, len(pairs)
                    )
                    for name in names
                    if name != control
                ]
    candidates = [fake_candidate(name, trained.get(name)) for name in names]
    for name, steps in trained.items():
        log = "".join(
            canonical_json(row) + "\n"
            for row in fake_training(len(name) + steps, steps, 0.04 if name == "r32" else 0.09)
        )
        folder.training_file(name).parent.mkdir(parents=True, exist_ok=True)
        folder.training_file(name).write_text(log, "utf-8")
    folder.write_run(RUN)
    folder.write_results(
        {
            "format": 1,
            "study": "tickets",
            "run": "20261123T174012Z-3f9a1c0e",
            "status": "complete",
            "candidates": candidates,
            "tasks": [
                {"name": task.name, "kind": task.kind, "primary": task.metric, "n": n} for task in tasks
            ],
            "scores": scores,
            "comparisons": comparisons,
            "costs": {"seconds": seconds},
        }
    )
    return folder


def fake_candidate(name: str, steps: int | None) -> dict[str, Any]:
    """An object of ``candidates``."""
    training = settings = None
    if steps is not None:
        rank = int("".join(filter(str.isdigit, name)) or 8)
        settings = {
            "rank": rank,
            "alpha": 32,
            "learning_rate": 0.001,
            "epochs": 3,
            "targets": "all-linear",
            "schedule": "cosine",
        }
        training = {
            "tokens": 3400 * steps,
            "computed_tokens": 3500 * steps,
            "supervised_tokens": 96 * steps,
            "steps": steps,
            "seconds": 1.7 * steps,
            "tokens_per_second": 2000.0,
            "peak_memory_bytes": 1_610_612_736,
            "train_loss": 0.061,
            "validation_loss": 0.094,
            "stopped": "finished",
        }
    return {
        "name": name,
        "kind": KINDS.get(name, "train" if steps else "adapter"),
        "model": "smollm2-135m-instruct-q4_1",
        "quantization": "nf4",
        "dtype": "fp32",
        "adapter_sha256": "c0ffee" * 10 + "beef" if steps else None,
        "settings": settings,
        "origins": {"rank": "study", "learning_rate": "study", "epochs": "study"} if settings else {},
        "training": training,
        "error": None,
        "notes": [],
    }


RUN: dict[str, Any] = {
    "format": 1,
    "id": "20261123T174012Z-3f9a1c0e",
    "study": {
        "study": "tickets",
        "model": "smollm2-135m-instruct-q4_1",
        "quantization": "nf4",
        "dtype": "auto",
        "device": "auto",
        "seed": 17,
        "data": {"train": "data/tickets.train.jsonl", "validation": 0.1, "overlong": "drop", "sizes": None},
        "candidates": [
            {"name": "few-shot", "kind": "prompt", "fewshot": 2},
            {"name": "r8", "kind": "train", "trainer": "qlora", "settings": {"rank": 8}},
            {"name": "r32", "kind": "train", "trainer": "qlora", "settings": {"rank": 32}},
        ],
        "control": "base",
        "tasks": [{"task": "tickets", "limit": None}, {"task": "general-knowledge", "limit": 40}],
        "report": "default",
    },
    "origins": {
        **dict.fromkeys(("study", "model", "data.train", "candidates", "tasks.tickets.task"), "file"),
        **dict.fromkeys(
            ("quantization", "dtype", "device", "seed", "data.validation", "data.overlong"), "default"
        ),
        **dict.fromkeys(("data.sizes", "control", "tasks.tickets.limit", "report"), "default"),
        "tasks.general-knowledge": "file",
    },
    "versions": {
        "evalkit": "0.1.0",
        "python": "3.11.9",
        "torch": "2.13.0",
        "transformers": "5.23.0",
        "peft": "0.21.0",
    },
    "hashes": {"tasks": {"tickets": "ab" * 32}, "data": {"tickets.train.jsonl": "cd" * 32}},
    "device": ["cpu"],
    "seeds": {"study": 17},
    "warnings": [],
    "notes": ["Prefix sharing is off for this model: rows were trained one by one."],
}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunFolder]:
    """Write a run folder below ``tmp_path``; see ``fake_run``."""

    def make(name: str = "run", **settings: Any) -> RunFolder:
        return fake_run(tmp_path / name, **settings)

    return make


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """One run for tests that only read it."""
    return fake_run(tmp_path_factory.mktemp("shared") / "run")


@pytest.fixture
def fake_task() -> type[FakeTask]:
    """The class of a fake task."""
    return FakeTask
