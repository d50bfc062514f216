"""From a job's conversations to the token rows of its loop, with everything that was left out told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from evalkit.data.conversation import Conversation
from evalkit.errors import CandidateError
from evalkit.models.hashing import adapter_sha256
from evalkit.signature import digest
from evalkit.training.course import Course, course_of
from evalkit.training.halving import least_steps
from evalkit.training.job import TrainingJob
from evalkit.training.masks import LossOn, mask_rows
from evalkit.training.rows import Policy, TokenRow, fit_rows

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a loop runs on.

    Attributes:
        train: Rows to learn, each at most ``max_length`` tokens long.
        validation: Held-out rows; may be empty.
        seed: Of everything random.
        course: Which rows each optimiser step sees.
        key: Hash of all that the training depends on: a checkpoint of another key is of another training.
    """

    train: list[TokenRow]
    validation: list[TokenRow]
    seed: int
    course: Course
    key: str


def prepare(job: TrainingJob) -> Prepared:
    """Tokenise, mask and verify the rows of a job.

    Validation rows are always masked to the assistant's answers, and long ones dropped, so that validation
    losses of candidates with other settings compare.

    Raises:
        DataError: A row whose mask cannot be shown to be right.
        CandidateError: No row is left to learn, or none of the validation rows; or a setting that cannot be
            had.
    """
    settings = job.settings
    _check_settings(job)
    context = job.base.context
    limit = settings.max_length if context is None else min(settings.max_length, context)
    train = _rows(job, job.train, settings.loss_on, limit, job.overlong, "training")
    validation = _rows(job, job.validation, "assistant", limit, "drop", "validation")
    seed = job.seed if settings.seed is None else settings.seed
    course = course_of(settings, [len(row.ids) for row in train], seed)
    _check_search(job, course, len(validation))
    parts = {
        "base": job.base.fingerprint(),
        "settings": settings.content(),
        "seed": seed,
        "train": [asdict(row) for row in train],
        "validation": [asdict(row) for row in validation],
        "start": None if job.start is None else adapter_sha256(job.start),
    }
    return Prepared(train, validation, seed, course, digest(parts))


def _check_settings(job: TrainingJob) -> None:
    settings = job.settings
    if settings.offload != "none" and not job.base.device.startswith("cuda"):
        job.tell(f"offload {settings.offload}: on a CPU they are in main memory already.")
    if settings.offload == "weights" and settings.speed == "dense-cache":
        raise CandidateError("offload: weights and speed: dense-cache are opposites; write one of them.")
    if settings.offload == "weights" and settings.dora:
        raise CandidateError(
            "offload: weights does not go with dora, which reads every weight in every pass; write one of them."
        )


def _check_search(job: TrainingJob, course: Course, validation: int) -> None:
    if job.search is None:
        return
    if not validation:
        raise CandidateError(
            "a search drops candidates by their loss on validation rows, and there are none."
        )
    steps = course.total(job.settings.epochs, job.settings.max_steps)
    needed = least_steps(job.search.rungs, job.settings.warmup)
    if steps < needed:
        raise CandidateError(
            f"{job.search.rungs} rungs need {needed} optimiser steps, and this candidate takes {steps}: "
            "write fewer rungs, more epochs, or a smaller batch."
        )


def _rows(
    job: TrainingJob,
    conversations: Sequence[Conversation],
    loss_on: LossOn,
    limit: int,
    overlong: Policy,
    what: str,
) -> list[TokenRow]:
    rows = mask_rows(conversations, job.base.tokenizer, job.base.eos_ids, loss_on)
    kept, found = fit_rows(rows, limit, overlong)
    for message in found.messages():
        job.tell(f"{what} data: {message}")
    if not kept and (conversations or what == "training"):
        raise CandidateError(
            f"no {what} row is left: {len(conversations)} were given"
            + (f", {len(found.dropped)} are longer than max_length {limit}" if found.dropped else "")
            + ("; raise max_length, choose `overlong: truncate`, or name other rows" if found.dropped else "")
            + (" under `data: {validation: …}`" if what == "validation" else "")
        )
    return kept
