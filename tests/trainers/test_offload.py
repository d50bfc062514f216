"""Weights that wait in main memory change no number; what moves them to a device is in test_qlora_gpu.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from evalkit.errors import CandidateError
from evalkit.models.loading import load_base
from evalkit.training.offload import offloaded_weights

Jobs = Callable[..., Any]


def readings(log: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(entry["loss"], entry["grad_norm"]) for entry in log]


@pytest.mark.parametrize(
    ("quantization", "dtype", "settings"),
    [
        ("nf4", "fp32", {}),
        ("none", "fp32", {}),
        ("nf4", "fp32", {"gradient_checkpointing": True, "dropout": 0.1}),
        ("nf4", "bf16", {}),
        ("none", "bf16", {}),
        ("none", "fp32", {"precision": "bf16"}),
        ("nf4", "fp32", {"precision": "bf16"}),
        ("fp4", "fp32", {"speed": "plain"}),
    ],
)
def test_weights_brought_for_each_product_change_no_number(
    qlora: ModuleType,
    job_of: Jobs,
    tiny_folder: Path,
    tmp_path: Path,
    quantization: str,
    dtype: str,
    settings: dict[str, Any],
) -> None:
    base = load_base(str(tiny_folder), quantization=quantization, dtype=dtype, device="cpu")
    plain, log_plain = job_of({"warmup": 0.0, **settings}, base=base, folder=tmp_path / "plain")
    qlora.train(plain)
    said: list[str] = []
    stored = {name: p.detach().clone() for name, p in base.model.named_parameters()}
    resting, log = job_of({"warmup": 0.0, **settings}, base=base, folder=tmp_path / "resting")
    with offloaded_weights(base.model, said.append):
        touched = [m for m in base.model.modules() if "forward" in vars(m)]
        assert len(touched) == 2 * 7  # q k v o, gate up down of both layers; not the head
        qlora.train(resting)
    assert readings(log) == readings(log_plain)
    assert said == ["offload weights: 0.00 GB wait in main memory and visit the device twice a pass."]
    assert not [m for m in base.model.modules() if "forward" in vars(m)]
    now = dict(base.model.named_parameters())
    assert now.keys() == stored.keys()
    assert all(torch.equal(now[name], stored[name]) for name in stored)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"speed": "dense-cache"}, "opposites"),
        ({"dora": True}, "does not go with dora"),
    ],
)
def test_what_needs_the_weights_on_the_device_is_refused(
    qlora: ModuleType, job_of: Jobs, settings: dict[str, Any], told: str
) -> None:
    job, _ = job_of({"offload": "weights", **settings})
    with pytest.raises(CandidateError, match=told):
        qlora.train(job)


def test_int8_is_refused(tiny_folder: Path) -> None:
    base = load_base(str(tiny_folder), quantization="int8", dtype="fp32", device="cpu")
    with (
        pytest.raises(CandidateError, match="needs quantization nf4, fp4 or none"),
        offloaded_weights(base.model, print),
    ):
        pass


def test_a_cpu_has_nothing_to_offload(qlora: ModuleType, job_of: Jobs) -> None:
    said: list[str] = []
    job, _ = job_of({"offload": "weights"}, tell=said.append)
    qlora.train(job)
    assert said == ["offload weights: on a CPU they are in main memory already."]
