"""The loss curve against TRL's SFTTrainer, which is given our ids, our mask, our order of rows and our A and B."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from evalkit.data.conversation import Conversation
from evalkit.training.adapters import new_adapter
from evalkit.training.job import TrainingJob
from evalkit.training.prepare import prepare

STEPS = 20


def trl_losses(job: TrainingJob, folder: Path, tmp_path: Path) -> list[float]:
    """Losses of TRL 1.16 over the same steps: fp32, LoRA of the same start, cosine with the same warm-up."""
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    settings = job.settings
    data = prepare(job)
    with new_adapter(job.base, settings, data.seed) as adapter:
        initial = adapter.state()
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules="all-linear",
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data.copy_(initial[name.replace(".default", "")])
    order = [i for step in range(STEPS) for i in data.course.rows(step)]
    dataset = Dataset.from_list(
        [
            {
                "input_ids": list(data.train[i].ids),
                "completion_mask": [int(on) for on in data.train[i].supervised],
            }
            for i in order
        ]
    )
    arguments = SFTConfig(
        output_dir=str(tmp_path / "trl"),
        per_device_train_batch_size=2,
        gradient_accumulation_steps=settings.batch_size // 2,
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch",
        completion_only_loss=True,
        max_length=None,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.filterwarnings("ignore")  # what TRL and its dependencies warn of is not ours
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_losses_equal_trl(
    qlora: ModuleType,
    job_of: Callable[..., Any],
    rows: list[Conversation],
    tiny_folder: Path,
    tmp_path: Path,
    schedule: str,
) -> None:
    settings = {
        "max_steps": STEPS,
        "epochs": 100,
        "learning_rate": 5e-3,
        "micro_batch": 3,
        "schedule": schedule,
    }
    job, log = job_of({**settings, "warmup": 0.1})
    outside = trl_losses(job, tiny_folder, tmp_path)
    qlora.train(job)
    ours = [entry["loss"] for entry in log]
    assert len(outside) == len(ours) == STEPS
    assert ours[-1] < 0.7 * ours[0]  # it learns: the curves are no two flat lines
    assert ours == pytest.approx(outside, rel=1e-3)
