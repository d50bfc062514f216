"""From samples to sheets and their key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from evalkit.human.design import Design, Slot, Unit, design
from evalkit.human.escape import plain_lines
from evalkit.human.key import Export, KeyRow
from evalkit.human.questions import QuestionsSpec
from evalkit.human.sheet import Line, Sheet, Turn, cell_digest
from evalkit.signature import digest

__all__ = ["Question", "make_sheets"]

Question = tuple[tuple[Turn, ...], str | None]
"""What is asked in a sample, and its target where raters are shown it."""


def make_sheets(
    units: Sequence[Unit],
    asked_in: Mapping[tuple[str, str], Question],
    asked: QuestionsSpec,
    how: Design,
    *,
    study: str,
    identity: Mapping[str, Any],
) -> tuple[Export, list[Sheet]]:
    """Lay out the sheets of all raters.

    Args:
        units: The samples that were chosen, with the answers to show.
        asked_in: (task, id) → prompt and target.
        asked: The questions.
        how: The design.
        study: Name of the study, the sheets' title.
        identity: What makes this export another than others: the run and how samples were chosen. The same
            identity, questions, design and answers give the same sheets.

    Returns:
        The export with its key, and one sheet a rater.
    """
    contents = [[unit.task, unit.id, unit.weight, dict(unit.answers)] for unit in units]
    settings = {**identity, "design": {name: getattr(how, name) for name in Design.__slots__}}
    export = digest({"settings": settings, "asked": asked.model_dump(mode="json"), "units": contents})[:8]
    rng = np.random.default_rng([how.seed, 1])
    rows: list[KeyRow] = []
    sheets = []
    shown, blocks = design(units, how)
    for number, slots in enumerate(shown, 1):
        rater = f"rater-{number}"
        lines = []
        for slot in slots:
            unit = units[slot.unit]
            line, check = _line(slot, unit, asked_in[unit.task, unit.id], asked, rng)
            texts = line.texts()
            sha256 = digest({column: plain_lines(text) for column, text in texts.items()})
            mark = digest([export, len(rows), sha256])[:8]  # differs where a line is shown twice
            item = f"{export}-{len(rows):03d}-{mark}"
            lines.append(Line(item, line.task, line.prompt, line.answers, line.target))
            rows.append(
                KeyRow(
                    item=item,
                    rater=rater,
                    task=unit.task,
                    id=unit.id,
                    sides=slot.sides,
                    weight=unit.weight,
                    sha256=sha256,
                    texts={column: cell_digest(text) for column, text in texts.items()},
                    repeat=int(slot.repeat),
                    check=check,
                )
            )
        sheets.append(Sheet(export, study, rater, asked, lines))
    identical = _identical(units, blocks) if how.pairwise else []
    return Export(export, asked, settings, {row.item: row for row in rows}, identical), sheets


def _line(
    slot: Slot, unit: Unit, question: Question, asked: QuestionsSpec, rng: np.random.Generator
) -> tuple[Line, dict[str, str] | None]:
    prompt, target = question
    if not slot.check:
        answers = tuple(unit.answers[side[0]] for side in slot.sides)
        return Line("", unit.task, prompt, answers, target), None
    check = {
        one.name: str(rng.choice([value for value, _ in one.options]))
        for one in asked.questions
        if one.options
    }
    orders = "; ".join(f"{name}: {value}" for name, value in check.items())
    text = f"This is a check that answers are read. Whatever the question above is, please choose: {orders}."
    return Line("", unit.task, prompt, (text,) * len(slot.sides), target), check


def _identical(units: Sequence[Unit], blocks: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Pairs of a block with the same answer: a tie that nobody has to be asked about."""
    return [
        {"task": unit.task, "id": unit.id, "candidates": [first, second], "weight": unit.weight}
        for unit, block in zip(units, blocks, strict=True)
        for first, second in combinations(sorted(block), 2)
        if unit.answers[first] == unit.answers[second]
    ]
