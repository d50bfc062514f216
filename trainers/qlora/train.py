"""QLoRA: supervised training of a LoRA adapter on a frozen, usually 4-bit base (Dettmers et al. 2023).

The loop is here, from top to bottom; what it is made of is in ``evalkit/training``, one concept a file. Copy
this folder into your project (``evalkit copy trainers/qlora .``) and change it: ``train`` is all that is
called.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from evalkit.errors import CandidateError
from evalkit.records import TrainingSummary
from evalkit.training.adapters import NewAdapter, new_adapter
from evalkit.training.batches import collate, micro_batches, steps_per_epoch, window
from evalkit.training.checkpoints import Checkpoints, Position
from evalkit.training.job import TrainingJob
from evalkit.training.loss import token_losses, validation_loss
from evalkit.training.memory import peak_memory, reset_peak_memory
from evalkit.training.modes import compute_type, offloaded_activations, training_mode
from evalkit.training.optimizer import make_optimizer
from evalkit.training.prepare import Prepared, prepare
from evalkit.training.rows import TokenRow
from evalkit.training.schedule import make_schedule, total_steps
from evalkit.training.sharing import sharing

__all__ = ["train"]


def train(job: TrainingJob) -> TrainingSummary:
    """Train one adapter and write it to ``job.folder / "adapter"`` in peft's format.

    The kept adapter is the one with the lowest loss on the validation rows, or the last one without such
    rows. A killed training that is called again goes on at its last checkpoint, with the losses it would have
    had.

    Raises:
        DataError: A row whose loss mask cannot be shown to be right.
        CandidateError: No row is left, a loss or gradient is not finite, or a setting does not fit the base.
        OutputFolderError: Checkpoints or the adapter cannot be written.
    """
    settings, base = job.settings, job.base
    data = prepare(job)
    steps = total_steps(len(data.train), settings.batch_size, settings.epochs, settings.max_steps)
    share = sharing(base.model, settings, job.tell)
    job.progress.stage(f"train {job.name}", total=steps, unit="steps")
    reset_peak_memory(base.device)
    with ExitStack() as stack:
        stack.enter_context(memory_errors(settings.micro_batch))
        adapter = stack.enter_context(new_adapter(base, settings, data.seed, job.start))
        stack.enter_context(
            training_mode(base.model, settings.model_dropout, settings.gradient_checkpointing, job.tell)
        )
        optimizer = make_optimizer(
            adapter.parameters,
            settings.optimizer,
            settings.learning_rate,
            settings.weight_decay,
            base.device,
            job.tell,
        )
        schedule = make_schedule(optimizer, settings.schedule, settings.warmup, steps)
        state = Loop(job, data, adapter, optimizer, schedule, steps, share)
        position, stopped = run(state)
        if data.validation:
            adapter.load(state.checkpoints.load_best())
        adapter.save(job.folder / "adapter")
    summary = summarise(job, data, position, stopped)
    job.progress.done(f"loss {summary.train_loss:.3f}" if summary.train_loss is not None else "")
    return summary


@dataclass
class Loop:
    """Everything the loop turns."""

    job: TrainingJob
    data: Prepared
    adapter: NewAdapter
    optimizer: Any
    schedule: Any
    steps: int
    share: bool

    @property
    def checkpoints(self) -> Checkpoints:
        """Where the last and the best state are kept."""
        return Checkpoints(self.job.folder / "checkpoint", self.data.key)


def run(loop: Loop) -> tuple[Position, str]:
    """Take every optimiser step; return where the training ended and why: ``finished`` or ``early``."""
    job, data, settings = loop.job, loop.data, loop.job.settings
    position = resume(loop)
    per_epoch = steps_per_epoch(len(data.train), settings.batch_size)
    validate_every = max(1, math.ceil(per_epoch / 2))
    saved = time.monotonic()
    stopped = "early" if gave_up(position, settings.early_stopping) else "finished"
    while position.step < loop.steps and stopped == "finished":
        began = time.monotonic()
        rows = [data.train[i] for i in window(position.step, len(data.train), settings.batch_size, data.seed)]
        entry = {
            "step": position.step + 1,
            "epoch": round((position.step + 1) / per_epoch, 6),
            **take_step(loop, position.step + 1, rows),
        }
        position.step += 1
        if data.validation and (position.step % validate_every == 0 or position.step == loop.steps):
            entry["validation_loss"] = validate(loop, position.step)
            if position.improved(entry["validation_loss"]):
                loop.checkpoints.save_best(loop.adapter.state())
            if gave_up(position, settings.early_stopping):
                stopped = "early"
        entry["seconds"] = round(time.monotonic() - began, 6)
        position.seconds += entry["seconds"]
        position.rows.append(entry)
        job.log(entry)
        job.progress.advance(note=f"loss {entry['loss']:.3f}")
        finished = position.step == loop.steps or stopped == "early"
        if finished or time.monotonic() - saved >= job.checkpoint_seconds:
            loop.checkpoints.save(position, loop.adapter.state(), loop.optimizer, loop.schedule)
            saved = time.monotonic()
    return position, stopped


def take_step(loop: Loop, step: int, rows: Sequence[TokenRow]) -> dict[str, Any]:
    """Take one optimiser step on these rows; return the step's readings.

    The loss is the mean over the supervised tokens of all rows of the step, however they are cut into
    micro-batches, so the last, smaller step of an epoch weighs its tokens right as well.

    Raises:
        CandidateError: The loss or the gradient is not finite.
    """
    job, settings, device = loop.job, loop.job.settings, loop.job.base.device
    weight = sum(row.weight * row.targets for row in rows)
    learning_rate = loop.schedule.get_last_lr()[0]
    total, tokens, computed = 0.0, 0, 0
    for group in micro_batches(rows, min(settings.micro_batch, settings.batch_size)):
        batch = collate(group, device, loop.share)
        with (
            compute_type(settings.precision, job.base.dtype, device),
            offloaded_activations(settings.offload, device),
        ):
            losses = token_losses(job.base.model, batch)  # (N,)
        loss = (losses * batch.weights).sum() / weight
        value = float(loss.detach())
        if not math.isfinite(value):
            raise not_finite("loss", value, step, learning_rate)
        torch.autograd.backward(loss)
        total += value
        tokens += batch.tokens
        computed += batch.computed_tokens
    limit = math.inf if settings.max_grad_norm is None else settings.max_grad_norm
    norm = float(torch.nn.utils.clip_grad_norm_(loop.adapter.parameters, limit))
    if not math.isfinite(norm):
        raise not_finite("gradient norm", norm, step, learning_rate)
    loop.optimizer.step()
    loop.schedule.step()
    loop.optimizer.zero_grad(set_to_none=True)
    return {
        "loss": total,
        "learning_rate": learning_rate,
        "grad_norm": norm,
        "tokens": tokens,
        "computed_tokens": computed,
        "supervised_tokens": sum(row.targets for row in rows),
    }


def validate(loop: Loop, step: int) -> float:
    """Return the loss per answer token on the held-out rows.

    Raises:
        CandidateError: It is not finite.
    """
    job, settings = loop.job, loop.job.settings
    with compute_type(settings.precision, job.base.dtype, job.base.device):
        loss = validation_loss(
            job.base.model, loop.data.validation, settings.micro_batch, job.base.device, loop.share
        )
    if not math.isfinite(loss):
        raise not_finite("validation loss", loss, step, loop.schedule.get_last_lr()[0])
    return loss


def resume(loop: Loop) -> Position:
    """Go back to the last checkpoint of this very training, if there is one."""
    found = loop.checkpoints.load(loop.optimizer, loop.schedule)
    if found is None:
        return Position()
    position, adapter = found
    loop.adapter.load(adapter)
    loop.job.tell(f"resumed after step {position.step} of {loop.steps}.")
    for entry in position.rows:
        loop.job.log(entry)
    loop.job.progress.advance(position.step)
    return position


def gave_up(position: Position, patience: int | None) -> bool:
    """Whether this many validations in a row were no better than the best one."""
    return patience is not None and position.worse >= patience


def not_finite(what: str, value: float, step: int, learning_rate: float) -> CandidateError:
    """Say where a training broke, and what most likely broke it."""
    if learning_rate > 1e-3:
        likely = "Most likely the learning_rate is more than LoRA stands: try a tenth of it."
    else:
        likely = "Most likely the base's weights are damaged or hold NaN; a lower learning_rate may help too."
    return CandidateError(
        f"training stopped: the {what} is {value} at step {step}, learning rate {learning_rate:g}. {likely}"
    )


@contextmanager
def memory_errors(micro_batch: int) -> Iterator[None]:
    """Say what to change where the device runs out of memory.

    Raises:
        CandidateError: It did.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise CandidateError(
            f"the device is out of memory: write a smaller micro_batch than {micro_batch}, "
            "gradient_checkpointing: true, or a smaller max_length."
        ) from error


def summarise(job: TrainingJob, data: Prepared, position: Position, stopped: str) -> TrainingSummary:
    """Add up the log."""
    rows = position.rows
    per_epoch = steps_per_epoch(len(data.train), job.settings.batch_size)
    last = rows[-per_epoch:]
    supervised = sum(row["supervised_tokens"] for row in last)
    tokens = sum(row["tokens"] for row in rows)
    return TrainingSummary(
        tokens=tokens,
        computed_tokens=sum(row["computed_tokens"] for row in rows),
        supervised_tokens=sum(row["supervised_tokens"] for row in rows),
        steps=position.step,
        seconds=position.seconds,
        tokens_per_second=tokens / position.seconds if position.seconds else 0.0,
        peak_memory_bytes=peak_memory(job.base.device),
        train_loss=sum(row["loss"] * row["supervised_tokens"] for row in last) / supervised,
        validation_loss=position.best_loss,
        stopped=stopped,
    )
