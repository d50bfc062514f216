"""Validation rows: a share of the training rows, near-duplicates on one side, or a file of their own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from evalkit.data.chat import read_conversations
from evalkit.data.conversation import Conversation
from evalkit.data.near import near_groups, normalized
from evalkit.errors import DataError

__all__ = ["split_validation"]


def split_validation(
    rows: Sequence[Conversation], validation: float | Path | None, *, seed: int
) -> tuple[list[Conversation], list[Conversation]]:
    """Return (training rows, validation rows), both in their first order.

    Args:
        rows: All training rows.
        validation: Share in (0, 1) to set aside; at least one row and never all. Rows whose questions (user
            turns, prompt or raw text) are near-duplicates stay on one side, so the share may be missed by the
            size of a group; where no group is small enough, only rows with equal questions stay together. A
            path: that file's rows, and none of ``rows``. None: no validation.
        seed: Of the draw.

    Raises:
        DataError: The file is bad, or nothing can be set aside: one row, or too few different questions.
    """
    if validation is None:
        return list(rows), []
    if isinstance(validation, Path):
        return list(rows), read_conversations(validation)
    questions = [_question(row) for row in rows]
    wanted = max(1, round(validation * len(rows)))
    held = _draw(near_groups(questions), wanted, seed) or _draw(_equal_groups(questions), wanted, seed)
    if not held:
        raise DataError(
            f"validation: {validation} of the {len(rows)} training rows cannot be set aside: they ask the same or "
            "nearly the same, and near-duplicates stay on one side, so that validation rows are new to the model. "
            "Name a file of its own under `data: {validation: FILE}`, or write `data: {validation: null}`."
        )
    train = [row for index, row in enumerate(rows) if index not in held]
    return train, [row for index, row in enumerate(rows) if index in held]


def _draw(groups: list[int], wanted: int, seed: int) -> set[int]:
    """Draw whole groups until ``wanted`` rows are held, skipping those that do not fit; one is always left."""
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    order = random.Random(seed).sample(list(members.values()), len(members))
    held: set[int] = set()
    for indices in order[:-1]:
        if len(held) + len(indices) <= wanted:
            held.update(indices)
    return held


def _question(row: Conversation) -> str:
    """What makes a row alike another: what is asked, without the system prompt that all rows may share."""
    if row.messages is not None:
        return "\n".join(message["content"] for message in row.messages if message["role"] == "user")
    return row.prompt or row.completion or row.text or ""


def _equal_groups(questions: list[str]) -> list[int]:
    first: dict[str, int] = {}
    return [first.setdefault(normalized(question), index) for index, question in enumerate(questions)]
