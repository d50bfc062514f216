"""A task ready to be asked: its card with the samples of its test split, and the training rows it offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evalkit.data.cards import TaskCard, answer_text, load_card, slice_of
from evalkit.data.conversation import Conversation
from evalkit.data.prompts import prompt_of, with_answer
from evalkit.errors import DataError, SpecError
from evalkit.records import Sample
from evalkit.signature import digest, file_sha256

__all__ = ["MOST_SLICES", "Task", "load_task", "load_task_for_training", "training_conversations"]

MOST_SLICES = 100
"""Most values that a field of ``slices:`` may have."""


@dataclass(frozen=True)
class Task(TaskCard):
    """A task with its test samples.

    Attributes:
        samples: Of the test split, or a seeded subset of it, in the order of the rows.
        sha256: Of everything that can change a result: the card but for its description and the places of its
            data, the templates and Python beside it, files that a metric's settings name, the samples, and
            the pool of examples where the card asks for some.
    """

    samples: list[Sample]
    sha256: str


def load_task(
    name: str,
    roots: Sequence[Path] = (),
    *,
    limit: int | None = None,
    seed: int,
    chat: bool | None = None,
) -> Task:
    """Load a task and its test rows.

    Args:
        name: A name of the catalog, the path of a task's folder or card, or ``lm_eval:`` with a name or the path of
            a YAML of lm-evaluation-harness.
        roots: The project's folders, the study's first.
        limit: Take at most so many samples: a seeded random subset that depends on the ids alone, so that
            a limit of 50 is part of a limit of 100. Of a task with attacks, all forms of a request or none.
        seed: Of the subset and of few-shot draws.
        chat: In place of the card's ``chat:``; None keeps it.

    Raises:
        CatalogError: No such task.
        SpecError: Its card or prompt is wrong.
        DataError: Its rows are missing or bad.
    """
    card = load_card(name, roots, seed=seed, chat=chat)
    samples = _subset(card, card.read("test"), limit, seed)
    _check_slices(card, samples)
    return Task(card.entry, card.spec, seed, samples, _sha256(card, samples))


def load_task_for_training(name: str, roots: Sequence[Path] = (), *, seed: int) -> TaskCard:
    """Open a task without reading its test rows.

    Raises:
        CatalogError: No such task.
        SpecError: Its card is wrong.
    """
    return load_card(name, roots, seed=seed)


def training_conversations(
    task: TaskCard, chat: bool, split: Literal["train", "validation"] = "train"
) -> list[Conversation]:
    """Return a split as training rows: the prompt that an evaluation would send, and the target.

    Args:
        task: The task; its test rows are not read.
        chat: Whether the model has a chat template; the card's ``chat:`` overrules it.
        split: Which rows.

    Raises:
        SpecError: The card has no such split or no ``target``, or is a conversation.
        DataError: The rows are missing or bad, or have empty targets.
    """
    if task.spec.target is None and task.spec.kind != "perplexity":
        raise SpecError(f"{task.entry.card}: training on task {task.name!r} needs `target:` in its card.")
    if task.spec.kind == "conversation":
        raise SpecError(
            f"{task.entry.card}: task {task.name!r} is a conversation: its rows have no answers to learn. "
            "Train on rows with `messages`."
        )
    samples = task.read(split)
    empty = [sample.id for sample in samples if not _answer(task, sample).strip()]
    if empty:
        raise DataError(
            f"{task.source(split)}: {len(empty)} rows have an empty target: there is nothing to learn. "
            f"Their ids: {', '.join(empty[:20])}."
        )
    return [_conversation(task, sample, number, chat) for number, sample in enumerate(samples, start=1)]


def _conversation(task: TaskCard, sample: Sample, number: int, chat: bool) -> Conversation:
    source = sample.row.get("source")
    common: dict[str, Any] = {
        "row": number,
        "id": sample.id,
        "source": source if isinstance(source, str) else "",
    }
    if task.spec.kind == "perplexity":
        return Conversation(text=str(sample.input), **common)
    answer, between = answer_text(sample.target), task.spec.target_delimiter
    prompt = prompt_of(task, sample, chat=chat, seed=task.seed)
    if isinstance(prompt, str):
        return Conversation(prompt=prompt, completion=between + answer, **common)
    return Conversation(messages=with_answer(prompt, answer, between), **common)


def _answer(task: TaskCard, sample: Sample) -> str:
    return str(sample.input) if task.spec.kind == "perplexity" else answer_text(sample.target)


def _subset(card: TaskCard, samples: list[Sample], limit: int | None, seed: int) -> list[Sample]:
    if limit is None or limit >= len(samples):
        return samples
    forms = max(1, len(card.spec.attacks))
    names = {sample.id: sample.id.rpartition("/")[0] if forms > 1 else sample.id for sample in samples}
    order = sorted(dict.fromkeys(names.values()), key=lambda name: digest(f"{seed}:{name}"))
    chosen = set(order[: max(1, limit // forms)])
    return [sample for sample in samples if names[sample.id] in chosen]


def _check_slices(card: TaskCard, samples: list[Sample]) -> None:
    for field in card.slices:
        values = {slice_of(sample, field) for sample in samples}
        if len(values) > MOST_SLICES:
            raise SpecError(
                f"{card.entry.card}: slices: field {field!r} has {len(values)} values; expected at most {MOST_SLICES}."
            )


def _sha256(card: TaskCard, samples: list[Sample]) -> str:
    if card.harness is not None:  # its rows and prompts are in its own hash; where it lies is in none
        spec = card.spec.model_dump(mode="json", exclude={"description", "data"})
        for use in spec["metrics"]:
            use["settings"].pop("task", None)
        return digest(
            {"harness": card.harness.sha256, "task": spec, "ids": [sample.id for sample in samples]}
        )
    unused = {"turns"} if card.spec.turns is None else set()  # a new key leaves the hashes of old cards alone
    spec = card.spec.model_dump(mode="json", exclude={"description", "data", *unused})
    folder = card.entry.path
    named = [value for use in card.spec.metrics for value in use.settings.values() if isinstance(value, str)]
    files = {*folder.glob("*.j2"), *folder.glob("*.py"), *(folder / name for name in named)}
    return digest(
        {
            "card": spec,
            "files": {path.name: file_sha256(path) for path in sorted(files) if path.is_file()},
            "samples": [_content(sample) for sample in samples],
            "examples": [_content(sample) for sample in card.examples] if card.spec.fewshot else [],
        }
    )


def _content(sample: Sample) -> list[Any]:
    return [sample.id, sample.row]
