"""What people said, one label a line: ``human/labels.jsonl`` of a run.

    {"candidate": "r16", "task": "tickets", "id": "17", "question": "coherence", "rater": "rater-1", "label": 4,
     "weight": 1.0, "seconds": 11.2, "item": "9f31c2ab-017-c4d5e6f7", "sha256": "5e0c…"}

A label stands for one rater's answer to one question about one candidate's answer to one sample; a pairwise
label has ``other`` too, and says how ``candidate`` did against it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from evalkit.errors import DataError

__all__ = ["Label", "LabelValue", "PairLabel", "label_from_json", "labels_text", "read_labels"]

LabelValue: TypeAlias = bool | int | str
"""``rating``: int on the question's scale · ``yes_no``: bool · ``category`` and ``text``: str · ``pairwise``: a
``PairLabel``."""

PairLabel = Literal["win", "loss", "tie", "both_bad"]
"""How ``candidate`` did against ``other``."""


@dataclass(frozen=True, slots=True)
class Label:
    """One rater's answer to one question.

    Attributes:
        candidate: Whose answer was rated; of a pair, the one that the label is about.
        task: Of the sample.
        id: The sample's id.
        question: Name of the question; results call it ``human:QUESTION``.
        rater: Who said it.
        label: What was said; see ``LabelValue``.
        other: The other candidate of a pair; None for questions about one answer.
        weight: How many samples of the task this one stands for: the inverse of its chance to be sampled.
        seconds: Time spent on the whole item; None where unknown.
        item: The line of the sheet it stood on.
        sha256: Of what the rater saw: prompt, answers, target.
        repeat: 0, or 1 where the rater was shown the same item a second time.

    >>> Label("r16", "tickets", "17", "safe", "ann", True).to_json()["label"]
    True
    """

    candidate: str
    task: str
    id: str
    question: str
    rater: str
    label: LabelValue
    other: str | None = None
    weight: float = 1.0
    seconds: float | None = None
    item: str = ""
    sha256: str = ""
    repeat: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """What there is one label of: item, question, rater."""
        return self.item, self.question, self.rater

    def to_json(self) -> dict[str, Any]:
        """The line of ``labels.jsonl``; what does not apply is left out."""
        row: dict[str, Any] = {"candidate": self.candidate, "task": self.task, "id": self.id}
        if self.other is not None:
            row["other"] = self.other
        row |= {"question": self.question, "rater": self.rater, "label": self.label, "weight": self.weight}
        if self.seconds is not None:
            row["seconds"] = self.seconds
        row |= {"item": self.item, "sha256": self.sha256}
        if self.repeat:
            row["repeat"] = self.repeat
        return row


def label_from_json(row: Mapping[str, Any], where: str) -> Label:
    """Read what ``Label.to_json`` wrote.

    Args:
        row: The object.
        where: Its file and line, for the message.

    Raises:
        DataError: A key is missing, unknown or of the wrong kind.
    """
    wanted = ("candidate", "task", "id", "question", "rater", "label")
    missing = [name for name in wanted if name not in row]
    strangers = [name for name in row if name not in Label.__slots__]
    if missing or strangers:
        said = f"lacks {', '.join(missing)}" if missing else f"has the unknown key {strangers[0]!r}"
        raise DataError(f"{where}: expected a label with {', '.join(wanted)}; it {said}.")
    texts = [name for name in (*wanted[:-1], "item", "sha256") if not isinstance(row.get(name, ""), str)]
    if texts or not isinstance(row["label"], bool | int | str):
        name = (texts or ["label"])[0]
        raise DataError(f"{where}: expected a text for {name!r}, got {row[name]!r}.")
    weight = row.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
        raise DataError(f"{where}: expected a weight above 0, got {weight!r}.")
    return Label(**{name: row[name] for name in Label.__slots__ if name in row})


def read_labels(path: Path, *, repeats: bool = False) -> list[Label]:
    """Return the labels of a file; none where there is no such file.

    Args:
        path: ``labels.jsonl``.
        repeats: With what raters said when they were shown an item again.

    Raises:
        DataError: A line is no label; the message names file and line.
    """
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text("utf-8", "surrogatepass").split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{where}: expected JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected an object, got {type(row).__name__}.")
        found.append(label_from_json(row, where))
    return found if repeats else [label for label in found if not label.repeat]


def labels_text(labels: Iterable[Label]) -> str:
    """The content of ``labels.jsonl``."""
    return "".join(
        json.dumps(label.to_json(), ensure_ascii=False, allow_nan=False) + "\n" for label in labels
    )
