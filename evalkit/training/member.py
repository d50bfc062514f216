"""One candidate of a pass, as the loop knows it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.errors import CandidateError
from evalkit.records import TrainingSummary
from evalkit.training.adapters import NewAdapter
from evalkit.training.checkpoints import Checkpoints, Position
from evalkit.training.job import TrainingJob
from evalkit.training.packing import Mode, Unit, streams
from evalkit.training.prepare import Prepared
from evalkit.training.rows import TokenRow

__all__ = ["Member", "Outcome"]

Outcome = TrainingSummary | CandidateError
"""What a training took, or why it could not be done."""


@dataclass
class Member:
    """One candidate of a pass; each has an optimiser, a schedule, a limit of its gradient and a course of its own.

    Attributes:
        slot: Its adapter's name on the base.
        job: What is trained.
        data: Its rows.
        mode: How they are run.
        adapter: On the base, once it is put in.
        optimizer: None again where it was out of memory.
        schedule: Of the optimiser's learning rate.
        position: How far it is.
        size: Rows run at once, as ``streams`` counts them: ``micro_batch``, or less where that did not fit.
        steps: Optimiser steps, if it is not stopped early.
        saved: When its last checkpoint was written.
        outcome: None while it trains.
    """

    slot: str
    job: TrainingJob
    data: Prepared
    mode: Mode
    adapter: NewAdapter = field(init=False)
    optimizer: Any = field(init=False, default=None)
    schedule: Any = field(init=False)
    position: Position = field(init=False, default_factory=Position)
    size: int = field(init=False)
    steps: int = field(init=False)
    saved: float = field(init=False, default_factory=time.monotonic)
    outcome: Outcome | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        settings = self.job.settings
        self.size = settings.micro_batch
        self.steps = self.data.course.total(settings.epochs, settings.max_steps)

    @property
    def per_epoch(self) -> int:
        """Optimiser steps of the epoch in which the last one was taken: they see every row once."""
        return self.data.course.place(self.position.step - 1).steps

    @property
    def validates(self) -> bool:
        """Whether a validation is due: twice an epoch, and after the last step."""
        done = self.position.step
        return bool(self.data.validation) and (done == self.steps or self.data.course.validates(done))

    @property
    def checkpoints(self) -> Checkpoints:
        """Where the last and the best state are kept."""
        return Checkpoints(self.job.folder / "checkpoint", self.data.key)

    @property
    def stopped(self) -> str | None:
        """``finished``, ``early``, or None while there is more to do."""
        patience = self.job.settings.early_stopping
        if patience is not None and self.position.worse >= patience:
            return "early"
        return "finished" if self.position.step >= self.steps else None

    @property
    def waits(self) -> bool:
        """Whether its search has to decide before it goes on, or before it ends early."""
        rung = None if self.job.search is None else self.job.search.next_step(self.steps)
        return rung is not None and (self.position.step >= rung or self.stopped is not None)

    @property
    def shows(self) -> bool:
        """Whether its search looks at it now, or did so before the training was killed and began again."""
        search = self.job.search
        return search is not None and (self.waits or search.looks(self.position.step, self.steps))

    def rows(self) -> list[TokenRow]:
        """Rows of its next optimiser step."""
        return [self.data.train[i] for i in self.data.course.rows(self.position.step)]

    def units(self, rows: Sequence[TokenRow], times: int = 1) -> list[Unit]:
        """Cut rows into what is run at once, ``times`` the usual size, whoever else is in the pass."""
        groups = streams(rows, times * self.size, self.job.base.device, self.mode)
        first = (self.data.seed * 1_000_003 + self.position.step) * 1_000_003
        seeds = range(first, first + len(groups))
        return [Unit(self.slot, group, self.mode, seed) for group, seed in zip(groups, seeds, strict=True)]

    def cut_smaller(self, unit: Unit, rows: Sequence[TokenRow], times: int) -> bool:
        """Halve ``size`` until a unit of these rows falls apart; whether it can, which a single row cannot."""
        if len(unit.rows) == 1:
            return False
        while any(other.rows == unit.rows for other in self.units(rows, times)):
            self.size //= 2
        return True

    def drop_gradients(self) -> None:
        """Forget what was summed up since the last step."""
        for parameter in self.adapter.parameters:
            parameter.grad = None

    def fail(self, error: CandidateError) -> None:
        """End without a result, and give back the memory of the optimiser."""
        self.outcome, self.optimizer = error, None
