"""Out of memory in the middle of a pass: the numbers are those of a pass with room, and who cannot be helped fails
alone.

The shortage is simulated where it would come from: a layer of the model asks for more tokens than there is memory
for, on the way forwards or back.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from peft.tuners.lora.layer import LoraLayer
from safetensors.torch import load_file

from evalkit.data.conversation import Conversation
from evalkit.errors import CandidateError
from evalkit.models.loading import Base
from evalkit.specs.trainer import QloraSettings
from evalkit.training.job import TrainingJob
from evalkit.training.prepare import prepare

COMMON = {"batch_size": 8, "epochs": 100.0, "max_steps": 8, "early_stopping": None, "rank": 4}
CANDIDATES: dict[str, dict[str, Any]] = {
    "slow": {"learning_rate": 5e-3},
    "fast": {"rank": 8, "learning_rate": 1e-2, "seed": 3, "batch_size": 5},
}
CPU = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
Logs = dict[str, list[dict[str, Any]]]


def jobs_of(
    base: Base, rows: list[Conversation], folder: Path, **more: Any
) -> tuple[list[TrainingJob], Logs, dict[str, list[str]]]:
    logs: Logs = {name: [] for name in CANDIDATES}
    said: dict[str, list[str]] = {name: [] for name in CANDIDATES}
    jobs = [
        TrainingJob(
            base=base,
            settings=QloraSettings(**{**COMMON, **settings, **more}),
            train=rows[5:],
            validation=rows[:5],
            folder=folder / name,
            name=name,
            log=logs[name].append,
            tell=said[name].append,
        )
        for name, settings in CANDIDATES.items()
    ]
    return jobs, logs, said


class Memory:
    """Room for so many tokens at once in a layer of the base.

    Attributes:
        most: Tokens that fit.
        moment: When more are too many: on the way ``forward``, ``backward`` or in a ``validation``.
        error: Makes what is raised then.
        asked: Tokens of every pass in which they count, in order.
        times: How often it was raised.
    """

    def __init__(self, most: int, moment: str, error: Callable[[], Exception]) -> None:
        self.most, self.moment, self.error = most, moment, error
        self.asked: list[int] = []
        self.times = 0

    def ask(self, tokens: int) -> None:
        self.asked.append(tokens)
        if tokens > self.most:
            self.times += 1
            raise self.error()

    @contextmanager
    def of(self, base: Base) -> Iterator[Memory]:
        def seen(_: Any, __: Any, out: Any) -> None:
            states = out[0] if isinstance(out, tuple) else out
            tokens = states.shape[0] * states.shape[1]
            if self.moment == "backward" and states.requires_grad:
                states.register_hook(lambda gradient: self.ask(tokens))
            elif self.moment == ("forward" if torch.is_grad_enabled() else "validation"):
                self.ask(tokens)

        handle = base.model.model.layers[1].register_forward_hook(seen)
        try:
            yield self
        finally:
            handle.remove()


def on_cuda() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def on_cpu() -> Exception:
    return RuntimeError(f"{CPU} allocate 123 bytes. Error code 12 (Cannot allocate memory)")


def weights(folder: Path) -> torch.Tensor:
    saved = load_file(folder / "adapter" / "adapter_model.safetensors")
    return torch.cat([saved[name].flatten() for name in sorted(saved)])


def assert_same(
    one: Path, log_one: Sequence[dict[str, Any]], other: Path, log_other: Sequence[dict[str, Any]], *left: str
) -> None:
    """To 1e-6 relative, but for clocks, peaks and what is left out; steps, tokens and epochs exactly."""
    clocked = {"seconds", "seconds_by_phase", "peak_memory_bytes", *left}
    assert len(log_one) == len(log_other) > 0
    for a, b in zip(log_one, log_other, strict=True):
        assert a.keys() == b.keys()
        for key in a.keys() - clocked:
            assert a[key] == pytest.approx(b[key], rel=1e-6), (a["step"], key)
    wa, wb = weights(one), weights(other)
    assert float((wa - wb).norm() / wa.norm()) < 1e-6


@pytest.fixture
def roomy(
    qlora: ModuleType, base_of: Callable[..., Base], rows: list[Conversation], tmp_path: Path
) -> tuple[Path, Logs]:
    """Both candidates in one pass with room for everything."""
    jobs, logs, _ = jobs_of(base_of(), rows, tmp_path / "roomy")
    qlora.train_many(jobs)
    return tmp_path / "roomy", logs


@pytest.fixture
def enough(
    qlora: ModuleType, base_of: Callable[..., Base], rows: list[Conversation], tmp_path: Path
) -> Callable[[str], int]:
    """Moment → tokens that the largest unit of a candidate by itself asks for."""

    def measure(moment: str) -> int:
        base = base_of()
        jobs, _, _ = jobs_of(base, rows, tmp_path / "measured")
        with Memory(10_000, moment, on_cuda).of(base) as memory:
            for job in jobs:
                qlora.train(job)
        return max(memory.asked)

    return measure


@pytest.mark.parametrize("error", [on_cuda, on_cpu])
@pytest.mark.parametrize("moment", ["forward", "backward", "validation"])
def test_candidates_that_do_not_fit_beside_each_other_run_by_themselves(
    qlora: ModuleType,
    base_of: Callable[..., Base],
    rows: list[Conversation],
    tmp_path: Path,
    roomy: tuple[Path, Logs],
    enough: Callable[[str], int],
    moment: str,
    error: Callable[[], Exception],
) -> None:
    base, folder = base_of(), tmp_path / "short"
    jobs, logs, said = jobs_of(base, rows, folder)
    with Memory(enough(moment), moment, error).of(base) as memory:
        outcomes = qlora.train_many(jobs)
    assert memory.times == 1  # and never again
    assert [outcome.stopped for outcome in outcomes] == ["finished", "finished"]
    for name in CANDIDATES:
        assert_same(folder / name, logs[name], roomy[0] / name, roomy[1][name])
        (sentence,) = [told for told in said[name] if "memory" in told]
        assert "with 2 candidates at once: from step" in sentence
    assert not base.model.training


@pytest.mark.parametrize("speed", ["auto", "plain"])
@pytest.mark.parametrize("moment", ["forward", "backward"])
def test_rows_that_do_not_fit_at_once_are_cut_smaller_for_good(
    qlora: ModuleType,
    base_of: Callable[..., Base],
    rows: list[Conversation],
    tmp_path: Path,
    speed: str,
    moment: str,
) -> None:
    base = base_of()
    logs, said = {}, {}
    for name, micro in (("short", 8), ("whole", 8), ("two", 2)):
        folder = tmp_path / name
        jobs, log, told = jobs_of(base, rows, folder, speed=speed, micro_batch=micro)
        with Memory(100 if name == "short" else 10_000, moment, on_cuda).of(base) as memory:
            qlora.train(jobs[0])
        logs[name], said[name] = log["slow"], told["slow"]
        if name == "short":
            assert memory.times == 2  # with eight and with four
    assert_same(
        tmp_path / "short" / "slow",
        logs["short"],
        tmp_path / "whole" / "slow",
        logs["whole"],
        "computed_tokens",
    )
    assert_same(tmp_path / "short" / "slow", logs["short"], tmp_path / "two" / "slow", logs["two"])
    cut = [sentence for sentence in said["short"] if "memory" in sentence]
    assert [sentence.rpartition("as if micro_batch were ")[2][0] for sentence in cut] == ["4", "2"]
    assert all("(micro_batch 8): from step 1 on" in sentence for sentence in cut)
    assert not any("memory" in sentence for sentence in said["two"])


@pytest.mark.parametrize("speed", ["auto", "plain"])
def test_validation_rows_that_do_not_fit_at_once_are_cut_smaller(
    qlora: ModuleType, base_of: Callable[..., Base], rows: list[Conversation], tmp_path: Path, speed: str
) -> None:
    base, logs = base_of(), {}
    for name, most in (("short", 50), ("whole", 10_000)):
        jobs, log, said = jobs_of(base, rows, tmp_path / name, speed=speed)
        with Memory(most, "validation", on_cpu).of(base) as memory:
            qlora.train(jobs[0])
        logs[name] = log["slow"]
        assert (memory.times > 0) == (name == "short") == any("memory" in told for told in said["slow"])
    assert sum("validation_loss" in row for row in logs["short"]) > 2
    assert_same(
        tmp_path / "short" / "slow",
        logs["short"],
        tmp_path / "whole" / "slow",
        logs["whole"],
        "computed_tokens",
    )


def test_where_micro_batch_1_is_too_much_rows_run_one_at_a_time(
    qlora: ModuleType, base_of: Callable[..., Base], rows: list[Conversation], tmp_path: Path
) -> None:
    """A stream holds about as many tokens as ``micro_batch`` of the longest row would: several short ones with 1."""
    base, logs = base_of(), {}
    answer = rows[0].messages[1]
    brief = [
        Conversation(row=i, messages=[{"role": "user", "content": letter * 5}, answer])
        for i, letter in enumerate("abcdefghijkl", 1)
    ]
    long = Conversation(row=99, messages=[{"role": "user", "content": "x" * 150}, rows[0].messages[1]])
    for name in ("short", "whole"):
        jobs, log, said = jobs_of(base, rows, tmp_path / name, micro_batch=1, max_steps=4, batch_size=13)
        job = replace(jobs[0], train=[*brief, long], validation=[])
        longest = max(len(row.ids) for row in prepare(job).train)
        with Memory(longest if name == "short" else 10_000, "forward", on_cuda).of(base) as memory:
            qlora.train(job)
        logs[name] = log["slow"]
        if name == "short":
            assert memory.times == 1
            (sentence,) = [told for told in said["slow"] if "memory" in told]
            assert sentence.endswith("rows run one at a time, for the same sums in another order.")
    assert_same(
        tmp_path / "short" / "slow",
        logs["short"],
        tmp_path / "whole" / "slow",
        logs["whole"],
        "computed_tokens",
    )


def test_one_whose_single_row_never_fits_fails_and_the_other_goes_on(
    qlora: ModuleType,
    base_of: Callable[..., Base],
    rows: list[Conversation],
    tmp_path: Path,
    enough: Callable[[str], int],
) -> None:
    base, folder = base_of(), tmp_path / "short"
    alone, log_alone, _ = jobs_of(base, rows, tmp_path / "alone")
    qlora.train(alone[0])
    long = Conversation(row=99, messages=[{"role": "user", "content": "x" * 300}, rows[0].messages[1]])
    jobs, logs, said = jobs_of(base, rows, folder)
    with Memory(enough("backward"), "backward", on_cuda).of(base):
        slow, fast = qlora.train_many([jobs[0], replace(jobs[1], train=[*rows[5:], long])])
    assert slow.stopped == "finished"
    assert isinstance(fast, CandidateError)
    assert str(fast).startswith("the device is out of memory with one row alone, of 3")
    assert "gradient_checkpointing: true, or a smaller max_length" in str(fast)
    assert not (folder / "fast" / "adapter").exists()
    assert_same(folder / "slow", logs["slow"], tmp_path / "alone" / "slow", log_alone["slow"])
    assert sum("memory" in sentence for sentence in said["slow"]) == 1


def test_seconds_of_what_is_done_again_were_spent_and_its_tensors_are_gone(
    qlora: ModuleType,
    base_of: Callable[..., Base],
    rows: list[Conversation],
    tmp_path: Path,
    enough: Callable[[str], int],
) -> None:
    kept: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def slowly() -> Exception:
        time.sleep(0.4)
        return on_cuda()

    class Held(Memory):
        def ask(self, tokens: int) -> None:
            alive.extend(one() is not None for one in kept)
            held = torch.zeros(1000)  # lives in a frame of the error's traceback
            if tokens > self.most:
                kept.append(weakref.ref(held))
            super().ask(tokens)

    base = base_of()
    jobs, logs, _ = jobs_of(base, rows, tmp_path)
    with Held(enough("forward"), "forward", slowly).of(base) as memory:
        outcomes = qlora.train_many(jobs)
    assert memory.times == len(kept) == 1
    assert alive
    assert not any(alive)
    first = [logs[name][0] for name in CANDIDATES]
    assert sum(row["seconds_by_phase"]["forward"] for row in first) > 0.4
    assert sum(row["seconds"] for row in first) > 0.4
    assert all(row["seconds"] < 0.4 for name in CANDIDATES for row in logs[name][1:])
    assert sum(outcome.seconds for outcome in outcomes) > 0.4


class KilledError(Exception):
    """Ends a process of training where it is thrown: nothing after it is written."""


def test_killed_after_a_shortage_it_goes_on_to_the_same_numbers(
    qlora: ModuleType, base_of: Callable[..., Base], rows: list[Conversation], tmp_path: Path
) -> None:
    base, folders = base_of(), [tmp_path / "unbroken", tmp_path / "killed"]
    logs = []
    for folder in folders:
        if folder.name == "killed":

            def die(row: dict[str, Any]) -> None:
                if row["step"] == 4:
                    raise KilledError

            jobs, _, _ = jobs_of(base, rows, folder)
            jobs = [replace(job, checkpoint_seconds=0.0, log=die) for job in jobs]
            with Memory(60, "backward", on_cuda).of(base), pytest.raises(KilledError):
                qlora.train_many(jobs)
        jobs, log, said = jobs_of(base, rows, folder)
        with Memory(60, "backward", on_cuda).of(base) as memory:
            qlora.train_many(jobs)
        assert memory.times > 2
        logs.append(log)
    assert any("resumed after step 3" in sentence for sentence in said["slow"])
    for name in CANDIDATES:
        assert_same(folders[0] / name, logs[0][name], folders[1] / name, logs[1][name], "computed_tokens")


@pytest.mark.parametrize("moment", ["enter", "start", "step"])
def test_no_memory_for_an_adapter_or_its_optimiser_is_the_end_of_that_candidate_alone(
    qlora: ModuleType,
    base_of: Callable[..., Base],
    rows: list[Conversation],
    tmp_path: Path,
    roomy: tuple[Path, Logs],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    base = base_of()
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    modules = [name for name, _ in base.model.named_modules()]
    layers = 0

    def full(real: Callable[..., Any], is_full: Callable[..., bool]) -> Callable[..., Any]:
        def maybe(*given: Any, **named: Any) -> Any:
            if is_full(*given, **named):
                raise on_cuda()
            return real(*given, **named)

        return maybe

    def third_of_rank_8(*_: Any, **named: Any) -> bool:
        nonlocal layers
        layers += named["config"].r == 8
        return layers == 3

    with monkeypatch.context() as patch:
        if moment == "enter":
            patch.setattr(LoraLayer, "update_layer", full(LoraLayer.update_layer, third_of_rank_8))
        elif moment == "start":
            patch.setattr(
                qlora,
                "make_schedule",
                full(qlora.make_schedule, lambda optimizer, *_: is_of_rank_8(optimizer)),
            )
        else:
            patch.setattr(torch.optim.AdamW, "step", full(torch.optim.AdamW.step, is_of_rank_8))
        jobs, logs, _ = jobs_of(base, rows, tmp_path / "short")
        slow, fast = qlora.train_many(jobs)
    assert slow.stopped == "finished"
    assert isinstance(fast, CandidateError)
    assert f"out of memory for its {'adapter' if moment == 'enter' else 'optimiser'}" in str(fast)
    assert_same(tmp_path / "short" / "slow", logs["slow"], roomy[0] / "slow", roomy[1]["slow"])
    assert [name for name, _ in base.model.named_modules()] == modules
    after = base.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def is_of_rank_8(optimizer: Any, *_: Any) -> bool:
    return any(8 in parameter.shape for group in optimizer.param_groups for parameter in group["params"])
