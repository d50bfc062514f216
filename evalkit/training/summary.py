"""What a training took and where it ended, added up from its log."""

from __future__ import annotations

from evalkit.records import TrainingSummary
from evalkit.training.checkpoints import Position
from evalkit.training.job import TrainingJob
from evalkit.training.memory import peak_memory
from evalkit.training.phases import phase_totals

__all__ = ["summarise"]


def summarise(position: Position, per_epoch: int, job: TrainingJob, stopped: str) -> TrainingSummary:
    """Return the summary of a training that has come to its end.

    Args:
        position: How far it came; at least one step.
        per_epoch: Optimiser steps that see every row once; the loss is the mean over the last so many.
        job: What was trained.
        stopped: Why no more steps are taken.
    """
    rows = position.rows
    last = rows[-per_epoch:]
    tokens = sum(row["tokens"] for row in rows)
    return TrainingSummary(
        tokens=tokens,
        computed_tokens=sum(row["computed_tokens"] for row in rows),
        supervised_tokens=sum(row["supervised_tokens"] for row in rows),
        steps=position.step,
        seconds=position.seconds,
        tokens_per_second=tokens / position.seconds if position.seconds else 0.0,
        peak_memory_bytes=peak_memory(job.base.device),
        train_loss=sum(row["loss"] * row["supervised_tokens"] for row in last)
        / sum(row["supervised_tokens"] for row in last),
        validation_loss=position.best_loss,
        stopped=stopped,
        seconds_by_phase=phase_totals(rows),
        rungs=[] if job.search is None else list(job.search.standings(job.name)),
    )
