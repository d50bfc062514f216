"""QLoRA: supervised training of LoRA adapters on a frozen, usually 4-bit base (Dettmers et al. 2023).

The loop is here, from top to bottom; what it is made of is in ``evalkit/training``, one concept a file. It trains
several candidates in one pass over their base; one candidate is a case of it. Copy this folder into your project
(``evalkit copy trainers/qlora .``) and change it: ``train_many`` and ``train`` are all that is called.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from evalkit.errors import CandidateError
from evalkit.models.dense import dense_on_cpu, dense_weights
from evalkit.models.memory import out_of_memory as no_memory
from evalkit.records import TrainingSummary
from evalkit.training.adapters import new_adapter
from evalkit.training.attention import stream_attention
from evalkit.training.batches import Batch
from evalkit.training.contest import compete
from evalkit.training.failures import not_finite, out_of_memory
from evalkit.training.job import TrainingJob, told_to_all
from evalkit.training.joining import pass_key, why_alone
from evalkit.training.loss import Tables, backpropagate, validation_loss
from evalkit.training.many import joined
from evalkit.training.member import Member, Outcome
from evalkit.training.memory import peak_memory, reset_peak_memory
from evalkit.training.memory_fallback import MemoryFallback, fails_alone
from evalkit.training.modes import compute_type, training_mode
from evalkit.training.offload import offloaded_activations, offloaded_weights
from evalkit.training.optimizer import make_optimizer
from evalkit.training.packing import Unit, make_batch
from evalkit.training.phases import Clock, add_phases, share_phases
from evalkit.training.prepare import prepare
from evalkit.training.schedule import make_schedule
from evalkit.training.sharing import choose_mode
from evalkit.training.summary import summarise
from evalkit.training.varlen import choose_attention

__all__ = ["train", "train_many"]


def train(job: TrainingJob) -> TrainingSummary:
    """Train one adapter and write it to ``job.folder / "adapter"`` in peft's format.

    Raises:
        DataError: A row whose loss mask cannot be shown to be right.
        CandidateError: No row is left, a loss or gradient is not finite, or a setting does not fit the base.
        OutputFolderError: Checkpoints or the adapter cannot be written.
    """
    (outcome,) = train_many([job])
    if isinstance(outcome, CandidateError):
        raise outcome
    return outcome


def train_many(jobs: Sequence[TrainingJob]) -> list[Outcome]:
    """Train candidates of one base, in as few passes as their settings allow.

    The kept adapter is the one with the lowest loss on the validation rows, or the last one without such rows. A
    killed training that is called again goes on at its last checkpoint, with the losses it would have had. What a
    candidate becomes does not depend on who it is trained with.

    Returns:
        For each job what it took, or why it could not be done; one that fails does not stop the others.

    Raises:
        DataError: A row whose loss mask cannot be shown to be right.
        OutputFolderError: Checkpoints or an adapter cannot be written.
    """
    outcomes: dict[int, Outcome] = {}
    passes: dict[Any, list[Member]] = {}
    for job in jobs:
        if job.search is not None:
            job.search.only(other.name for other in jobs)
    for number, job in enumerate(jobs):
        try:
            data, mode = prepare(job), choose_mode(job.base.model, job.settings, job.tell)
        except CandidateError as error:
            outcomes[number] = error
            if job.search is not None:
                job.search.leave(job.name)
            continue
        member = Member(f"in_training{number}", job, data, mode)
        alone = member.mode == "plain" or why_alone(job.settings) is not None
        passes.setdefault(number if alone else pass_key(job.settings), []).append(member)
    everybody = [member for members in passes.values() for member in members]
    memories = {key: MemoryFallback(members[0].job.base.device) for key, members in passes.items()}
    while any(member.outcome is None for member in everybody):  # once, unless a search is spread over passes
        for key, members in passes.items():
            if unfinished := [member for member in members if member.outcome is None]:
                run(unfinished, memories[key])
            compete(everybody, finish)
    for member in everybody:
        if member.outcome is not None:
            outcomes[int(member.slot.removeprefix("in_training"))] = member.outcome
    return [outcomes[number] for number in range(len(jobs))]


def run(members: Sequence[Member], memory: MemoryFallback) -> None:
    """Train the candidates of one pass; their outcomes stand in them."""
    base, first = members[0].job.base, members[0].job
    names = ", ".join(member.job.name for member in members)
    first.progress.stage(f"train {names}", total=sum(member.steps for member in members), unit="steps")
    reset_peak_memory(base.device)
    try:
        with ExitStack() as stack:
            ready = [member for member in members if enter(member, stack)]
            compete(members, finish)
            if ready:
                train_ready(ready, memory, stack)
    except RuntimeError as error:
        if not no_memory(error):
            raise
        fail(members, out_of_memory(first.settings.micro_batch))
    except CandidateError as error:  # a setting, the same for all of a pass, that cannot be had on this base
        fail(members, error)
    last = [member.position.rows[-1]["loss"] for member in members if member.position.rows]
    first.progress.done("loss " + ", ".join(f"{loss:.3f}" for loss in last) if last else "")


def train_ready(ready: Sequence[Member], memory: MemoryFallback, stack: ExitStack) -> None:
    """Take every step of the candidates whose adapters are on the base."""
    first = ready[0].job
    model, settings = first.base.model, first.settings
    tell = told_to_all(member.job for member in ready if not member.position.step)
    stack.enter_context(training_mode(model, settings.model_dropout, settings.gradient_checkpointing, tell))
    if settings.speed == "dense-cache":
        stack.enter_context(dense_weights(model, tell))
    elif settings.speed == "auto":
        stack.enter_context(dense_on_cpu(model, tell))
    if settings.offload == "weights" and first.base.device.startswith("cuda"):
        stack.enter_context(offloaded_weights(model, tell))
    if ready[0].mode != "plain":
        stack.enter_context(stream_attention(model, choose_attention(first, tell)))
        if not settings.dora:  # peft's own forward does DoRA
            stack.enter_context(joined([member.adapter for member in ready]))
    for member in ready:
        others = len(ready) - 1
        if others and not member.position.step:  # not their names: another study may call them otherwise
            member.job.tell(f"trained in one pass with {others} other{'s' * (others > 1)}.")
        with fails_alone(member, "its optimiser"):
            start(member)
    while True:
        compete(ready, finish)
        active = [member for member in ready if member.outcome is None and not member.waits]
        if not active:
            for member in ready:
                if member.outcome is None:  # it waits for candidates of another pass
                    save(member)
            return
        turn(active, memory)


def fail(members: Sequence[Member], error: CandidateError) -> None:
    """End all that are not done."""
    for member in members:
        member.outcome = member.outcome or error


def enter(member: Member, stack: ExitStack) -> bool:
    """Put a candidate's adapter on the base; whether that could be done."""
    job = member.job
    try:
        with fails_alone(member, "its adapter"):
            member.adapter = stack.enter_context(
                new_adapter(job.base, job.settings, member.data.seed, job.start, member.slot)
            )
    except CandidateError as error:
        member.outcome = error
    return member.outcome is None


def start(member: Member) -> None:
    """Make what steps a candidate, and go back to the last checkpoint of this very training, if there is one."""
    job, settings = member.job, member.job.settings
    member.optimizer = make_optimizer(
        member.adapter.parameters,
        settings.optimizer,
        settings.learning_rate,
        settings.weight_decay,
        job.base.device,
        job.tell,
    )
    member.schedule = make_schedule(member.optimizer, settings.schedule, settings.warmup, member.steps)
    first = not member.position.step
    found = member.checkpoints.load(member.optimizer, member.schedule)
    if found is None:
        return
    member.position, adapter = found
    member.adapter.load(adapter)
    if first:
        job.tell(f"resumed after step {member.position.step} of {member.steps}.")
    if job.search is not None:
        member.position.note(job.search.standings(job.name))
    for entry in member.position.rows:
        job.log(entry)
    job.progress.advance(member.position.step)
    if member.stopped is not None and job.search is None:
        finish(member)


def turn(active: Sequence[Member], memory: MemoryFallback) -> None:
    """Let every candidate take its next optimiser step, and validate where that is due.

    The loss of a candidate's step is the mean over the supervised tokens of all its rows, however they are cut
    and whoever they are run with, so the last, smaller step of an epoch weighs its tokens right as well.
    """
    readings = gradients(active, memory)
    stepped = [member for member in active if step(member, readings[member.slot])]
    validate([member for member in stepped if member.validates or member.shows], readings, memory)
    for member in stepped:
        if member.outcome is None:
            record(member, readings[member.slot])


def gradients(active: Sequence[Member], memory: MemoryFallback) -> dict[str, dict[str, Any]]:
    """Compute the gradient of everybody's next step; return its readings so far, by slot.

    A candidate whose loss is not finite is out; the others' rows never meet its own.
    """
    readings = {member.slot: blank(member) for member in active}
    memory.run(active, Member.rows, lambda some, streams: run_streams(some, streams, readings, memory.tables))
    return readings


def blank(member: Member) -> dict[str, Any]:
    """What is known of a step before it is taken."""
    rows, done = member.rows(), member.position.step + 1
    return {
        "step": done,
        "epoch": round(member.data.course.epochs(done), 6),
        "loss": 0.0,
        "learning_rate": member.schedule.get_last_lr()[0],
        "grad_norm": 0.0,
        "tokens": sum(len(row.ids) for row in rows),
        "computed_tokens": 0,
        "supervised_tokens": sum(row.targets for row in rows),
        "seconds": 0.0,
    }


def run_streams(
    members: Sequence[Member],
    streams: Iterable[list[Unit]],
    readings: dict[str, dict[str, Any]],
    tables: Tables,
) -> None:
    """Run the rows of a step forwards and backwards; gradients add up in the adapters.

    Of an attempt that did not fit into memory and is done again, readings keep the seconds, which were spent.
    """
    first, by_slot = members[0].job, {member.slot: member for member in members}
    device, settings = first.base.device, first.settings
    weights = {m.slot: sum(row.weight * row.targets for row in m.rows()) for m in members}
    for slot in by_slot:
        readings[slot].update(loss=0.0, computed_tokens=0)
    for units in streams:
        clock = Clock()
        try:
            with clock("data"):
                batch = make_batch(units, device)
            losses = backpropagate(
                first.base.model,
                batch,
                [1 / weights[unit.owner] for unit in units],
                lambda: compute_type(settings.precision, first.base.dtype, device),
                lambda: offloaded_activations(settings.offload, device),
                clock,
                tables,
            )  # (N,)
        finally:
            share_phases(readings, clock.seconds, {unit.owner: unit.computed for unit in units})
        for part in batch.parts:
            span, reading = slice(*part.targets), readings[part.owner]
            reading["loss"] += float((losses[span] * batch.weights[span]).sum()) / weights[part.owner]
            reading["computed_tokens"] += part.computed
            if not math.isfinite(reading["loss"]):
                by_slot[part.owner].outcome = not_finite("loss", reading)


def step(member: Member, reading: dict[str, Any]) -> bool:
    """Take a candidate's optimiser step; whether it goes on."""
    clock = Clock()
    with clock("optimizer"), fails_alone(member, "its optimiser"):
        if member.outcome is None:
            limit = member.job.settings.max_grad_norm
            norm = torch.nn.utils.clip_grad_norm_(
                member.adapter.parameters, math.inf if limit is None else limit
            )
            reading["grad_norm"] = float(norm)
            if not math.isfinite(reading["grad_norm"]):
                member.outcome = not_finite("gradient norm", reading)
        if member.outcome is None:
            member.optimizer.step()
            member.schedule.step()
            member.position.step += 1
    member.drop_gradients()
    add_phases(reading, clock.seconds)
    return member.outcome is None


def validate(due: Sequence[Member], readings: dict[str, dict[str, Any]], memory: MemoryFallback) -> None:
    """Note the loss per answer token on the held-out rows, and keep the adapter where it is the lowest so far."""
    losses: dict[str, float] = {}

    def look(members: Sequence[Member], streams: Iterable[list[Unit]]) -> None:
        base, settings, clock, tokens = first.base, first.settings, Clock(), Counter[str]()

        def batches() -> Iterator[Batch]:
            for units in streams:
                tokens.update({unit.owner: unit.computed for unit in units})
                yield make_batch(units, base.device)

        try:
            with clock("validation"), compute_type(settings.precision, base.dtype, base.device):
                losses.update(validation_loss(base.model, batches(), memory.tables))
        finally:
            share_phases(readings, clock.seconds, tokens)

    if due:
        first = due[0].job
        # four times a step's rows at once: without gradients nothing is kept of a layer
        memory.run(due, lambda member: member.data.validation, look, times=4)
    for member in due:
        if member.outcome is not None:
            continue
        reading, loss = readings[member.slot], losses[member.slot]
        if not math.isfinite(loss):
            member.outcome = not_finite("validation loss", {**reading, "loss": loss})
        elif not member.validates:  # its search looks; what comes of the training does not depend on it
            reading["rung_loss"] = loss
        else:
            reading["validation_loss"] = loss
            if member.position.improved(loss):
                member.checkpoints.save_best(member.adapter.state())


def record(member: Member, reading: dict[str, Any]) -> None:
    """Log a finished step; write a checkpoint where the last one is old, and end where it was the last step."""
    job, position = member.job, member.position
    reading["seconds"] = round(reading["seconds"], 6)
    reading["seconds_by_phase"] = {phase: round(s, 6) for phase, s in reading["seconds_by_phase"].items()}
    reading["peak_memory_bytes"] = peak_memory(job.base.device)
    position.seconds += reading["seconds"]
    position.rows.append(reading)
    job.log(reading)
    job.progress.advance(note=f"loss {reading['loss']:.3f}")
    ends = member.stopped is not None
    if ends or time.monotonic() - member.saved >= job.checkpoint_seconds:
        save(member)
    if ends and job.search is None:
        finish(member)


def save(member: Member) -> None:
    """Write the checkpoint that a killed training goes on from."""
    optimizer = None if member.stopped is not None else member.optimizer
    member.checkpoints.save(member.position, member.adapter.state(), optimizer, member.schedule)
    member.saved = time.monotonic()


def finish(member: Member) -> None:
    """Write the adapter that is kept, and add up the log; the candidate's rows leave the stream."""
    if member.data.validation:
        member.adapter.load(member.checkpoints.load_best())
    member.adapter.save(member.job.folder / "adapter")
    member.outcome = summarise(member.position, member.per_epoch, member.job, member.stopped or "finished")
