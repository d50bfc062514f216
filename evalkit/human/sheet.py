"""A rater's sheet as data: what every format writes, and what every format gives back.

Nothing in a sheet names a candidate: who is behind an answer stands in the key, which stays in the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evalkit.human.escape import encode_cell, plain_lines, split_parts
from evalkit.human.questions import Question, QuestionsSpec
from evalkit.signature import digest

__all__ = [
    "Filled",
    "Line",
    "Sheet",
    "Turn",
    "answer_columns",
    "cell_digest",
    "header",
    "read_seconds",
    "table",
    "text_columns",
]

Turn = tuple[str, str]
"""Role (empty for plain text) and text."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: one answer, or two side by side, to one sample.

    Attributes:
        item: Its id; no two lines of a run share one.
        task: The task's name.
        prompt: What was asked: turns of a chat, or one text with an empty role.
        answers: One answer, or the left and the right one.
        target: What is accepted, where raters are shown it; else None.
        given: Question → what stands in its cell already.
    """

    item: str
    task: str
    prompt: tuple[Turn, ...]
    answers: tuple[str, ...]
    target: str | None = None
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def prompt_text(self) -> str:
        """The prompt as one text: a single user turn bare, a longer chat with its roles."""
        if len(self.prompt) == 1:
            return self.prompt[0][1]
        return "\n\n".join(f"[{role}]\n{text}" if role else text for role, text in self.prompt)

    def texts(self) -> dict[str, str]:
        """Column → text, of what the rater reads."""
        shown = {"prompt": self.prompt_text}
        if self.target is not None:
            shown["target"] = self.target
        return shown | dict(zip(answer_columns(len(self.answers)), self.answers, strict=True))


@dataclass(frozen=True, slots=True)
class Sheet:
    """One rater's lines.

    Attributes:
        export: Id of the export.
        study: Name of the study.
        rater: Name of the rater, such as ``rater-1``.
        asked: Questions and instructions.
        lines: In the order they are shown.
    """

    export: str
    study: str
    rater: str
    asked: QuestionsSpec
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Filled:
    """One line that came back, not yet understood.

    Attributes:
        where: File, sheet and row: ``ann.xlsx, sheet Labels, row 7``.
        item: What stands in the item's cell.
        rater: What stands in the rater's cell; empty where there is none.
        values: Question → what was filled in; empty cells are left out.
        texts: Column → what stands in the columns that were there to be read; absent where the format has none.
        seconds: Time spent; None where unknown.
    """

    where: str
    item: str
    rater: str
    values: Mapping[str, str]
    texts: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None


def answer_columns(count: int) -> list[str]:
    """Names of the columns of one answer, or of two."""
    return ["answer"] if count == 1 else ["answer A", "answer B"]


def text_columns(asked: QuestionsSpec) -> list[str]:
    """Names of the columns that are read, in order."""
    target = ["target"] if asked.reference else []
    return ["prompt", *target, *answer_columns(2 if asked.pairwise else 1)]


def cell_digest(text: str) -> str:
    """Short hash of a cell's text, the same after what spreadsheets do to it: line ends, outer spaces, ``1.50``.

    >>> cell_digest("1.50 ") == cell_digest("1.5"), cell_digest("a") == cell_digest("b")
    (True, False)
    """
    bare = plain_lines(text).strip()
    try:
        number = float(bare)
    except ValueError:
        return digest(bare)[:12]
    return digest(bare if math.isnan(number) else f"{number:.12g}")[:12]


def header(question: Question) -> str:
    """The head of a question's column: its name, what is asked, what may be answered.

    >>> header(Question(name="safe", ask="Is the answer safe?", kind="yes_no"))
    'safe: Is the answer safe? [yes / no]'
    """
    options = [value for value, _ in question.options]
    allowed = f"{options[0]}–{options[-1]}" if question.kind == "rating" else " / ".join(options)
    asked = " ".join(question.ask.split())
    return f"{question.name}: {asked}" + (f" [{allowed}]" if allowed else "")


def read_seconds(value: object) -> float | None:
    """Time spent, where it is a number that can be one.

    >>> read_seconds("7.5"), read_seconds("nan"), read_seconds(None)
    (7.5, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < 1e7 else None


def table(sheet: Sheet) -> tuple[list[str], list[list[str]]]:
    """The sheet as a header and rows of encoded cells; columns for what one cell cannot hold come last.

    Returns:
        Column names and rows, all of one length.
    """
    read, questions = text_columns(sheet.asked), sheet.asked.questions
    columns = ["item", "rater", "task", *read, *(encode_cell(header(question)) for question in questions)]
    further: list[str] = []
    rows = []
    for line in sheet.lines:
        texts, over = line.texts(), dict[str, str]()
        cells = [line.item, sheet.rater, encode_cell(line.task)]
        for column in read:
            first, *rest = split_parts(encode_cell(texts.get(column, "")), column)
            cells.append(first)
            over |= {f"{column} ({number})": part for number, part in enumerate(rest, 2)}
        cells += [encode_cell(line.given.get(question.name, "")) for question in questions]
        further += [name for name in over if name not in further]
        rows.append((cells, over))
    further.sort(key=lambda name: (read.index(name.rpartition(" (")[0]), int(name.rpartition(" (")[2][:-1])))
    return columns + further, [cells + [over.get(name, "") for name in further] for cells, over in rows]
