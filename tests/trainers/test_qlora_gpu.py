"""The same loop on CUDA: bf16, NF4, paged and 8-bit AdamW, checkpointing, activations in main memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from evalkit.models.loading import load_base

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("quantization", ["nf4", "int8", "none"])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_learns(
    qlora: ModuleType, job_of: Callable[..., Any], tiny_folder: Path, quantization: str, dtype: str
) -> None:
    base = load_base(str(tiny_folder), quantization=quantization, dtype=dtype, device="cuda")
    job, log = job_of({"epochs": 6, "learning_rate": 1e-2}, base=base)
    summary = qlora.train(job)
    assert log[-1]["loss"] < 0.6 * log[0]["loss"]
    assert 0 < summary.peak_memory_bytes < 2**30


@pytest.mark.parametrize("optimizer", ["adamw_8bit", "paged_adamw", "paged_adamw_8bit"])
def test_optimizers(qlora: ModuleType, job_of: Callable[..., Any], tiny_folder: Path, optimizer: str) -> None:
    said: list[str] = []
    base = load_base(str(tiny_folder), quantization="nf4", dtype="bf16", device="cuda")
    settings = {"epochs": 6, "learning_rate": 1e-2, "optimizer": optimizer}
    job, log = job_of(settings, base=base, tell=said.append)
    qlora.train(job)
    assert log[-1]["loss"] < 0.6 * log[0]["loss"]
    assert bool(said) == optimizer.startswith("paged")


@pytest.mark.parametrize(
    "settings", [{"gradient_checkpointing": True}, {"offload": "activations"}, {"offload": "weights"}]
)
def test_what_saves_memory_changes_no_loss(
    qlora: ModuleType, job_of: Callable[..., Any], tiny_folder: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    base = load_base(str(tiny_folder), quantization="nf4", dtype="fp32", device="cuda")
    plain, log_plain = job_of({"warmup": 0.0}, base=base, folder=tmp_path / "plain")
    qlora.train(plain)
    saving, log = job_of({"warmup": 0.0, **settings}, base=base, folder=tmp_path / "saving")
    qlora.train(saving)
    assert [entry["loss"] for entry in log] == pytest.approx([entry["loss"] for entry in log_plain], rel=1e-4)


def test_resumes(qlora: ModuleType, job_of: Callable[..., Any], tiny_folder: Path, tmp_path: Path) -> None:
    base = load_base(str(tiny_folder), quantization="nf4", dtype="bf16", device="cuda")
    settings = {"epochs": 3, "dropout": 0.1, "learning_rate": 1e-2}
    whole, log_whole = job_of(settings, base=base, folder=tmp_path / "whole")
    qlora.train(whole)

    class KilledError(Exception):
        pass

    def kill(entry: dict[str, Any]) -> None:
        if entry["step"] == 5:
            raise KilledError

    broken, _ = job_of(settings, base=base, folder=tmp_path / "broken", log=kill, checkpoint_seconds=0.0)
    with pytest.raises(KilledError):
        qlora.train(broken)
    resumed, log = job_of(settings, base=base, folder=tmp_path / "broken")
    qlora.train(resumed)
    assert [entry["loss"] for entry in log] == pytest.approx([entry["loss"] for entry in log_whole], rel=1e-3)
