"""A stage whose results change for the same inputs must raise its number, or people get yesterday's results.

When this fails and the change is meant: raise the number in ``evalkit/running/keys.py`` (for answers:
``evalkit.models.local.VERSION``, which tests/models holds) and record the new values under it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.catalog import find, load_module
from evalkit.data.conversation import Conversation
from evalkit.models.loading import load_base
from evalkit.models.selftest import write_tiny_model
from evalkit.running.keys import STAGE_VERSIONS
from evalkit.specs.trainer import QloraSettings
from evalkit.training.job import TrainingJob

# Losses of the steps below on the tiny Llama of evalkit.models.selftest (fp32, CPU, torch 2.13): by version.
RECORDED_TRAINING: dict[int, list[float]] = {
    1: [
        *(5.714083671569824, 5.673623561859131, 5.285700798034668, 5.075654029846191),
        *(4.99981164932251, 5.039456367492676, 4.955148220062256, 4.968606948852539),
    ],
    # rows in streams; dropout draws from streams of its own, without dropout only the rounding is another
    2: [
        *(5.714083671569824, 5.673623561859131, 5.285700798034668, 5.075654029846191),
        *(4.99981164932251, 5.039456367492676, 4.955148220062256, 4.968606948852539),
    ],
}


def test_training_gives_what_its_version_gave(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny")
    base = load_base(str(tmp_path / "tiny"), quantization="none", dtype="fp32", device="cpu")
    rows = [
        Conversation(
            row=i + 1,
            messages=[
                {"role": "system", "content": "Add one."},
                {"role": "user", "content": f"{i * 13 % 17}?"},
                {"role": "assistant", "content": str(i * 13 % 17 + 1)},
            ],
        )
        for i in range(12)
    ]
    log: list[float] = []
    job = TrainingJob(
        base=base,
        settings=QloraSettings(rank=4, learning_rate=5e-3, batch_size=4, max_steps=8, seed=5),
        train=rows[:10],
        validation=rows[10:],
        folder=tmp_path / "work",
        log=lambda row: log.append(row["loss"]),
    )
    load_module(find("trainers", "qlora").path / "train.py").train(job)
    assert STAGE_VERSIONS["train"] in RECORDED_TRAINING, "record the losses of the new version here"
    assert log == pytest.approx(RECORDED_TRAINING[STAGE_VERSIONS["train"]], rel=1e-4)
