"""The peer of the training benchmark: TRL on the same quantised weights, ids, masks, order and start."""

from __future__ import annotations

import time
from typing import Any

import torch

from evalkit.training.job import TrainingJob
from evalkit.training.memory import peak_memory
from evalkit.training.prepare import Prepared

__all__ = ["theirs"]


def theirs(job: TrainingJob, data: Prepared, steps: int) -> dict[str, Any]:
    """Train with TRL; the adapter stays on the base, in eval mode.

    Args:
        job: What evalkit would train.
        data: Its rows.
        steps: Optimiser steps of one epoch.

    Returns:
        Seconds of the training alone, logical tokens and peak bytes.
    """
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from trl import SFTConfig, SFTTrainer

    settings = job.settings
    order = [i for step in range(steps) for i in data.course.rows(step)]
    rows = [
        {
            "input_ids": list(data.train[i].ids),
            "completion_mask": [int(on) for on in data.train[i].supervised],
        }
        for i in order
    ]
    torch.manual_seed(data.seed)
    adapter = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    model = get_peft_model(job.base.model, adapter, autocast_adapter_dtype=False)
    arguments = SFTConfig(
        output_dir=str(job.folder / "trl"),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        completion_only_loss=True,
        max_length=None,
        gradient_checkpointing=False,
        bf16=job.base.dtype == "bf16",
        use_cpu=job.base.device == "cpu",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=job.base.tokenizer,
    )
    began = time.monotonic()
    trainer.train()
    spent = time.monotonic() - began
    peak = peak_memory(job.base.device)
    model.eval()
    return {
        "seconds": spent,
        "tokens": sum(len(row["input_ids"]) for row in rows),
        "peak": peak,
    }
