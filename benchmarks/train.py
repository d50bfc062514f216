"""How fast evalkit trains beside TRL's SFTTrainer: same base, rows, masks, order and steps, on this machine.

    python benchmarks/train.py [--quick] [--repeats 3] [--data FOLDER] [--model NAME] [--out FILE.json]

With ``--out`` every measurement is written down when it is done, and one that is there already is not made again.
Each measurement is a process of its own (load time apart, peak memory its own). Rows: see ``train_rows``. Both sides
compute in the type that ``dtype: auto`` stands for on this machine. TRL runs without gradient checkpointing, with
completion-only loss on our masks, 4 × 2 rows a step; its padding-free mode needs FlashAttention and is used where
that is.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # its own folder would hide the standard library's ``statistics``

import statistics  # noqa: E402

import torch  # noqa: E402

from benchmarks.train_rows import rows_of  # noqa: E402
from benchmarks.train_trl import theirs  # noqa: E402
from evalkit.catalog import find, load_module  # noqa: E402
from evalkit.collecting import starting  # noqa: E402
from evalkit.data.conversation import Conversation  # noqa: E402
from evalkit.models.devices import Placement, choose_placement, device_kind  # noqa: E402
from evalkit.models.loading import Base, load_base  # noqa: E402
from evalkit.specs.trainer import QloraSettings  # noqa: E402
from evalkit.training.batches import collate, micro_batches  # noqa: E402
from evalkit.training.halving import Halving  # noqa: E402
from evalkit.training.job import TrainingJob  # noqa: E402
from evalkit.training.loss import validation_loss  # noqa: E402
from evalkit.training.memory import peak_memory  # noqa: E402
from evalkit.training.prepare import Prepared, prepare  # noqa: E402

HELD_OUT = 16
CANDIDATES = (
    {"rank": 4},
    {"rank": 8, "learning_rate": 1e-3},
    {"rank": 16},
    {"rank": 32, "learning_rate": 1e-3},
)


@dataclass(frozen=True)
class Case:
    """Rows of the table.

    Attributes:
        label: What it is called in the table.
        kind: Of the rows, see ``train_rows.rows_of``.
        rows: How many are trained on; one epoch of 8 a step.
        system: Tokens of the system prompt, about.
        target: Least ratio to TRL asked for.
    """

    label: str
    kind: str
    rows: int
    system: int
    target: float


CASES = {
    "maths": Case("maths, nothing to share", "maths", 64, 0, 2.2),
    "short": Case("banking queries, 20-token system prompt", "banking", 128, 20, 2.8),
    "intents": Case("tickets, 70-token system prompt", "tickets", 128, 70, 3.3),
    "long": Case("tickets, 400-token system prompt", "tickets", 64, 400, 8.0),
}


def main() -> None:
    """Measure everything, or one thing for the process that does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="24 rows a case and one repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", type=Path, help="folder with gsm8k/train.jsonl and banking77/train.csv")
    parser.add_argument(
        "--cases", nargs="*", choices=[*CASES, "four", "growth"], default=[*CASES, "four", "growth"]
    )
    parser.add_argument(
        "--model", default="smollm2-135m-instruct-q4_1", help="a registry name or a folder (random_model.py)"
    )
    parser.add_argument("--out", type=Path, help="all measurements as JSON")
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "CASE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(*given.one, given)))
        return
    repeats = 1 if given.quick else given.repeats
    place = choose_placement("auto", "auto")
    found = {"gemm_gflops": gemm_rate(place), "threads": torch.get_num_threads()}
    where = f"{found['threads']} threads of " * (place.device == "cpu") + device_kind(place.device)
    print(f"{place.dtype} products: {found['gemm_gflops']:,.0f} GFLOP/s on {where}\n")
    print(
        "| rows | TRL | evalkit | ratio | asked | held-out loss TRL / evalkit | peak memory ratio | of GEMM rate |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in [name for name in CASES if name in given.cases]:
        found[name] = compare(name, given, repeats, found["gemm_gflops"])
    if "four" in given.cases:
        found["four"] = four(given)
    if "growth" in given.cases:
        found["growth"] = growth(given)


def compare(name: str, given: argparse.Namespace, repeats: int, gemm: float) -> dict[str, Any]:
    """Measure one case on both sides and print its line."""
    sides = {
        side: [child(side, name, given, number) for number in range(repeats)] for side in ("trl", "evalkit")
    }
    middle = {
        side: statistics.median(run["tokens"] / run["seconds"] for run in runs)
        for side, runs in sides.items()
    }
    trl, ours = sides["trl"][0], sides["evalkit"][0]
    reached = statistics.median(run["flop"] / run["seconds"] for run in sides["evalkit"]) / 1e9 / gemm
    print(
        f"| {CASES[name].label} | {middle['trl']:.0f} | {middle['evalkit']:.0f} tok/s "
        f"| {middle['evalkit'] / middle['trl']:.2f} | {CASES[name].target} "
        f"| {trl['held_out']:.4f} / {ours['held_out']:.4f} | {ours['peak'] / trl['peak']:.2f} | {reached:.2f} |",
        *ours["attention"],  # on CUDA, where there is a choice
        flush=True,
    )
    return sides


def four(given: argparse.Namespace) -> dict[str, Any]:
    """Four candidates in one pass, and with successive halving, against TRL four times, process start included.

    A search validates on the held-out rows; nobody else does, and losses are measured when the clock has stopped.
    """
    trl = sum(child(f"trl{number}", "intents", given)["process"] for number in range(len(CANDIDATES)))
    whole, halved = (child("evalkit", case, given) for case in ("four", "halved"))
    print(f"\nfour candidates, start included: TRL {trl:.0f} s")
    print("| | seconds | ratio | asked | held-out loss of each | winner |\n|---|---|---|---|---|---|")
    for label, run, asked in (("in one pass", whole, 5), ("with successive halving", halved, 6.5)):
        losses = " / ".join("dropped" if loss is None else f"{loss:.4f}" for loss in run["losses"])
        best = min((loss, n) for n, loss in enumerate(run["losses"]) if loss is not None)[1]
        spent = run["process"]
        print(f"| {label} | {spent:.0f} | {trl / spent:.2f} | {asked} | {losses} | {CANDIDATES[best]} |")
    return {"trl": trl, "four": whole, "halved": halved}


def growth(given: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step with 1, 2, 4 and 8 candidates, and by length of rows."""
    found = {
        name: child("evalkit", name, given)["step"]
        for name in ("k1", "k2", "k4", "k8", "t64", "t128", "t256")
    }
    print("\n| candidates | 1 | 2 | 4 | 8 |\n|---|---|---|---|---|")
    print("| seconds a step | " + " | ".join(f"{found[f'k{k}']:.2f}" for k in (1, 2, 4, 8)) + " |")
    print("\n| tokens a row | 64 | 128 | 256 |\n|---|---|---|---|")
    print("| seconds a step | " + " | ".join(f"{found[f't{t}']:.2f}" for t in (64, 128, 256)) + " |")
    return found


def child(side: str, case: str, given: argparse.Namespace, number: int = 0) -> dict[str, Any]:
    """Run one measurement in a process of its own, unless it was made before."""
    known = json.loads(given.out.read_text("utf-8")) if given.out and given.out.is_file() else {}
    key = f"{side} {case} {number}"
    if key in known:
        return dict(known[key])
    began = time.monotonic()
    command = [sys.executable, str(Path(__file__).resolve()), "--one", side, case, "--model", given.model]
    command += ["--quick"] if given.quick else []
    command += ["--data", str(given.data)] if given.data else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} {case} failed:\n{done.stderr[-2000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    measured["process"] = time.monotonic() - began - measured.get("untimed", 0.0)
    if given.out:
        given.out.write_text(json.dumps({**known, key: measured}, indent=2), "utf-8")
    return measured


def one(side: str, case: str, given: argparse.Namespace) -> dict[str, Any]:
    """One measurement: load, then time the training alone."""
    if side == "evalkit":
        starting()  # as its command does
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    base = load_base(given.model, quantization="nf4", dtype="auto", device="auto")
    with tempfile.TemporaryDirectory() as folder:
        if case[0] in "kt" and case[1:].isdigit():
            return step_of(base, case, Path(folder))
        if case in ("four", "halved"):
            return several(
                [
                    job_of(base, "intents", given, Path(folder) / str(n), extra)
                    for n, extra in enumerate(CANDIDATES)
                ],
                halve=case == "halved",
            )
        number = side.removeprefix("trl") if side.startswith("trl") else ""
        job = job_of(base, case, given, Path(folder), CANDIDATES[int(number)] if number else {})
        if side == "evalkit":
            return ours([job])
        data = prepare(job)
        found = theirs(job, data, steps(data))
        return found if number else {**found, "held_out": loss_of(job, data)}


def several(jobs: list[TrainingJob], *, halve: bool) -> dict[str, Any]:
    """Train candidates in one pass; those of a search validate on the held-out rows and meet at three rungs."""
    rates = {str(n): job.settings.learning_rate for n, job in enumerate(jobs)}
    search = Halving(rates, 3, 0.5) if halve else None
    jobs = [
        replace(job, name=str(n), validation=held_out_rows[job.folder] if halve else [], search=search)
        for n, job in enumerate(jobs)
    ]
    load_module(find("trainers", "qlora").path / "train.py").train_many(jobs)
    trained = time.monotonic()
    lost = [search is not None and search.lost(job.name) is not None for job in jobs]
    losses = [
        None if out else held_out(job, job.folder / "adapter") for out, job in zip(lost, jobs, strict=True)
    ]
    return {"losses": losses, "untimed": time.monotonic() - trained}


class Started:
    """Notes when training starts: masks and the probe are prepared by then, as TRL's trainer and rows are."""

    def __init__(self) -> None:
        self.at = 0.0

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        self.at = self.at or time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        pass

    def done(self, note: str = "") -> None:
        pass


def ours(jobs: list[TrainingJob]) -> dict[str, Any]:
    """Train with evalkit."""
    started = Started()
    said: list[str] = []
    jobs = [replace(job, progress=started, tell=said.append) for job in jobs]
    summaries = load_module(find("trainers", "qlora").path / "train.py").train_many(jobs)
    spent = time.monotonic() - started.at
    return {
        "seconds": spent,
        "tokens": sum(summary.tokens for summary in summaries),
        "flop": sum(
            flop(jobs[0].base, summary.computed_tokens, summary.supervised_tokens) for summary in summaries
        ),
        "peak": peak_memory(jobs[0].base.device),
        "held_out": held_out(jobs[0], jobs[0].folder / "adapter"),
        "attention": [note for note in said if note.startswith("attention: ")],
    }


def flop(base: Base, computed: int, supervised: int) -> float:
    """Products forwards and back through frozen weights, without the adapters' and attention's."""
    head = base.model.get_output_embeddings()
    linear = [m for m in base.model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    inside = sum(layer.in_features * layer.out_features for layer in linear)
    return 4.0 * (computed * inside + supervised * head.in_features * head.out_features)


def held_out(job: TrainingJob, adapter: Path) -> float:
    """Loss per answer token on rows that were not learned."""
    name = job.folder.name  # a candidate's own
    job.base.add_adapter(name, adapter)
    with job.base.use(name):
        return loss_of(job, prepare(job))


def loss_of(job: TrainingJob, data: Prepared) -> float:
    rows = held_out_rows[job.folder]
    masked = prepare(
        TrainingJob(base=job.base, settings=job.settings, train=rows, validation=[], folder=job.folder)
    )
    batches = [collate(group, job.base.device) for group in micro_batches(masked.train, 8)]
    return next(iter(validation_loss(job.base.model, batches).values()))


def steps(data: Prepared) -> int:
    """Optimiser steps of one epoch of 8 rows."""
    return -(-len(data.train) // 8)


held_out_rows: dict[Path, list[Conversation]] = {}


def job_of(
    base: Base, case: str, given: argparse.Namespace, folder: Path, extra: dict[str, Any]
) -> TrainingJob:
    """One epoch over a case's rows, 8 a step; the same number are held out for every case."""
    count = 24 if given.quick else CASES[case].rows
    made = rows_of(CASES[case].kind, base, CASES[case].system, count + HELD_OUT, given.data)
    held_out_rows[folder] = made[count : count + HELD_OUT]
    settings = QloraSettings(**{"rank": 16, "batch_size": 8, "epochs": 1.0, "early_stopping": None, **extra})
    return TrainingJob(base=base, settings=settings, train=made[:count], validation=[], folder=folder)


def step_of(base: Base, case: str, folder: Path) -> dict[str, Any]:
    """Three steps: of k candidates on the tickets, or of one on rows of t tokens; seconds of the last."""
    number = int(case[1:])
    if case[0] == "k":
        rows, candidates = rows_of("tickets", base, 70, 24, None), number
    else:
        ids = random.Random(3).sample(range(100, 40_000), number * 24)
        texts = [base.tokenizer.decode(ids[i * number : (i + 1) * number]) for i in range(24)]
        rows = [Conversation(row=i, text=text) for i, text in enumerate(texts, 1)]
        candidates = 1
    settings = QloraSettings(batch_size=8, epochs=1.0, early_stopping=None)
    jobs = [
        TrainingJob(base=base, settings=settings, train=rows, validation=[], folder=folder / str(n), seed=n)
        for n in range(candidates)
    ]
    last: dict[int, float] = {}
    jobs = [replace(job, log=partial(note, last, n)) for n, job in enumerate(jobs)]
    load_module(find("trainers", "qlora").path / "train.py").train_many(jobs)
    return {"step": sum(last.values())}


def note(seconds: dict[int, float], number: int, row: Mapping[str, Any]) -> None:
    """Keep how long a candidate's newest step took."""
    seconds[number] = row["seconds"]


def gemm_rate(place: Placement) -> float:
    """GFLOP/s of a product of the size of a step's: 1,024 tokens through 576 → 1,536; on CUDA 8,192 through 4,096."""
    tokens, inner, outer = (1024, 576, 1536) if place.device == "cpu" else (8192, 4096, 4096)
    a = torch.randn(tokens, inner, device=place.device, dtype=place.torch_dtype)
    b = torch.randn(inner, outer, device=place.device, dtype=place.torch_dtype)
    times = []
    for _ in range(30):
        began = time.perf_counter()
        torch.mm(a, b)
        if place.device != "cpu":
            torch.cuda.synchronize(place.device)
        times.append(time.perf_counter() - began)
    return 2 * tokens * inner * outer / statistics.median(times) / 1e9


if __name__ == "__main__":
    main()
