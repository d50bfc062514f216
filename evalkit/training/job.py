"""What a trainer is given: one candidate's base, settings and rows, and where to write and report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from evalkit.data.conversation import Conversation
from evalkit.models.loading import Base
from evalkit.specs.trainer import QloraSettings
from evalkit.training.halving import Halving
from evalkit.training.rows import Policy

__all__ = ["Progress", "TrainingJob", "told_to_all"]


class Progress(Protocol):
    """Hears how far the training is."""

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        """The training begins."""
        ...

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Optimiser steps were done."""
        ...

    def done(self, note: str = "") -> None:
        """The training ended."""
        ...


class _Nobody:
    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        pass

    def advance(self, steps: int = 1, note: str = "") -> None:
        pass

    def done(self, note: str = "") -> None:
        pass


def _ignore(_: object) -> None:
    pass


@dataclass(frozen=True)
class TrainingJob:
    """One candidate to train.

    Attributes:
        base: The loaded base; it is the same after the training as before.
        settings: Every setting, resolved.
        train: Rows to learn.
        validation: Held-out rows for early stopping and the best checkpoint; may be empty.
        folder: Work folder. Checkpoints go to ``checkpoint/`` in it, the finished adapter to ``adapter/``; a
            killed training called again with the same folder goes on at its last checkpoint.
        name: The candidate's name, for progress and messages.
        overlong: What happens to rows longer than ``settings.max_length``.
        seed: Used where ``settings.seed`` is None.
        start: Adapter in peft's format to start from, with the same rank and targets; None: a new one.
        search: What drops candidates on the way, the same object for all its candidates, which are trained in one
            call; None: nobody is dropped.
        log: Called with the row of docs/reference §5 after each optimiser step. After a resume it is called for
            every step from the first on again, so a log that replaces rows by ``step`` is always whole.
        progress: Hears the steps.
        tell: Called with each sentence the user should read, such as rows that were dropped.
        checkpoint_seconds: A checkpoint is written after a step where the last one is this old; 0: each step.
    """

    base: Base
    settings: QloraSettings
    train: Sequence[Conversation]
    validation: Sequence[Conversation]
    folder: Path
    name: str = "candidate"
    overlong: Policy = "drop"
    seed: int = 17
    start: Path | None = None
    search: Halving | None = None
    log: Callable[[dict[str, Any]], None] = _ignore
    progress: Progress = field(default_factory=_Nobody)
    tell: Callable[[str], None] = _ignore
    checkpoint_seconds: float = 30.0


def told_to_all(jobs: Iterable[TrainingJob]) -> Callable[[str], None]:
    """Return a ``tell`` whose sentences every one of these candidates hears."""
    heard = list(jobs)

    def tell(sentence: str) -> None:
        for job in heard:
            job.tell(sentence)

    return tell
