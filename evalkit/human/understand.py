"""From what came back to labels: every line is checked against the key before any label counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from evalkit.errors import nearest
from evalkit.human.answers import expected, read_answer
from evalkit.human.key import Export, KeyRow
from evalkit.human.questions import Question
from evalkit.human.records import Label, LabelValue
from evalkit.human.sheet import Filled, cell_digest

__all__ = ["Check", "Understood", "understand"]

_TURNED = {"A": "B", "B": "A"}


@dataclass(frozen=True, slots=True)
class Check:
    """How a rater did on one question of an attention check.

    Attributes:
        rater: The rater.
        item: The line.
        question: The question.
        passed: The answer is the one that was asked for.
    """

    rater: str
    item: str
    question: str
    passed: bool


@dataclass(slots=True)
class Understood:
    """What the lines say.

    Attributes:
        labels: One for each candidate, question and line that was filled in.
        checks: Attention checks.
        problems: What could not be understood, each with its file, sheet and row.
        empty: Lines without any answer.
    """

    labels: list[Label] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    empty: int = 0


def understand(lines: Iterable[Filled], exports: Mapping[str, Export]) -> Understood:
    """Turn lines into labels.

    A line is refused whole where its item is none of this run's or where its text was changed; an answer is
    refused alone. Two lines of one item and rater have to agree; the second adds nothing then.

    Args:
        lines: From files of any format.
        exports: Every export of the run.
    """
    found = Understood()
    seen: dict[tuple[str, str, str], tuple[object, str]] = {}
    for line in lines:
        export = exports.get(line.item[:8])
        row = export.rows.get(line.item) if export else None
        problem = _refusal(line, export, row, exports)
        if problem or export is None or row is None:
            found.problems.append(f"{line.where}: {problem}")
            continue
        rater = line.rater or row.rater
        known = [question.name for question in export.asked.questions]
        found.problems += [
            f"{line.where}: {name!r} is no question of this export.{nearest(name, known)} Known: {', '.join(known)}."
            for name, cell in line.values.items()
            if cell.strip() and name not in known
        ]
        answered = False
        for question in export.asked.questions:
            cell = line.values.get(question.name, "")
            if not cell.strip():
                continue
            answered = True
            value = read_answer(question, cell)
            if value is None:
                found.problems.append(
                    f"{line.where}, column {question.name!r}: expected {expected(question)}, got {_short(cell)}."
                )
                continue
            key = (line.item, question.name, rater)
            before = seen.get(key)
            if before is None:
                seen[key] = (value, line.where)
                _take(found, line, row, rater, question, value)
            elif before[0] != value:
                found.problems.append(
                    f"{line.where}, column {question.name!r}: {rater} says {_short(value)} here and "
                    f"{_short(before[0])} in {before[1]} about the same item {line.item}: keep one of them."
                )
        found.empty += not answered
    return found


def _take(
    found: Understood, line: Filled, row: KeyRow, rater: str, question: Question, value: LabelValue
) -> None:
    if row.check is not None:
        if question.name in row.check:
            passed = value == read_answer(question, row.check[question.name])
            found.checks.append(Check(rater, row.item, question.name, passed))
        return
    for candidate, other, said in _about(row, question, value):
        found.labels.append(
            Label(
                candidate=candidate,
                task=row.task,
                id=row.id,
                question=question.name,
                rater=rater,
                label=said,
                other=other,
                weight=row.weight,
                seconds=line.seconds,
                item=row.item,
                sha256=row.sha256,
                repeat=row.repeat,
            )
        )


def _about(
    row: KeyRow, question: Question, value: LabelValue
) -> Iterator[tuple[str, str | None, LabelValue]]:
    """(candidate, other, label) of every candidate, or pair, that stands behind a line.

    Of a pair the label is about the one whose name sorts first, so that the same pair is the same pair wherever
    its sides stood.
    """
    if len(row.sides) == 1:
        for candidate in row.sides[0]:
            yield candidate, None, value
        return
    for left in row.sides[0]:
        for right in row.sides[1]:
            first, second = sorted((left, right))
            if question.kind != "pairwise":
                yield first, second, value
                continue
            side = str(value) if first == left else _TURNED.get(str(value), str(value))
            yield first, second, {"A": "win", "B": "loss", "both bad": "both_bad"}.get(side, side)


def _refusal(
    line: Filled, export: Export | None, row: KeyRow | None, exports: Mapping[str, Export]
) -> str | None:
    """Why a line is not read at all, or None."""
    if export is None:
        known = ", ".join(exports)
        return f"item {_short(line.item)} is of another run or export; the exports of this run are {known}."
    if row is None:
        number = line.item.rpartition("-")[0]
        same = next((item for item in export.rows if item.rpartition("-")[0] == number), None)
        if same is not None:
            return (
                f"item {line.item!r} has another hash than this run's {same!r}: "
                "the line was made from other answers, or its id was edited."
            )
        return f"item {_short(line.item)} is not in export {export.export}: its id was edited."
    edited = [
        f"{column} now reads {_short(line.texts[column])}"
        for column, known in row.texts.items()
        if column in line.texts and cell_digest(line.texts[column]) != known
    ]
    return (
        f"the text of item {line.item} was edited: {', '.join(edited)}. Put back what was exported."
        if edited
        else None
    )


def _short(value: object) -> str:
    text = "yes" if value is True else "no" if value is False else str(value)
    return repr(text if len(text) <= 40 else text[:39] + "…")
