"""Who is behind each line of the sheets. It stays in the run, under ``human/EXPORT/``; no sheet holds it.

human/EXPORT/export.json   what was asked of whom, by which design and seed
             key.jsonl     one line of a sheet each: item → task, sample, candidates
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.human.questions import QuestionsSpec

__all__ = ["Export", "KeyRow", "key_text", "read_exports"]


@dataclass(frozen=True, slots=True)
class KeyRow:
    """What stands behind one line.

    Attributes:
        item: The line's id.
        rater: Whose sheet it is on.
        task: The task.
        id: The sample's id.
        sides: Whose answer stands there: one group of candidates that gave the same answer, or left and right.
        weight: How many samples of the task it stands for.
        sha256: Of what the rater reads.
        texts: Column → ``cell_digest`` of what stands in it, to find what was edited.
        repeat: 1 where the rater sees it a second time.
        check: Question → the answer that an attention check asks for; None for a real line.
    """

    item: str
    rater: str
    task: str
    id: str
    sides: tuple[tuple[str, ...], ...]
    weight: float
    sha256: str
    texts: Mapping[str, str]
    repeat: int = 0
    check: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """One export of a run: its questions, its design, its key.

    Attributes:
        export: Its id.
        asked: Questions and instructions.
        settings: Design, choice of samples and seed, as they were given.
        rows: Item → what stands behind it.
        identical: Pairs that were not shown, since both answers are the same: ``{"task", "id", "candidates",
            "weight"}``.
    """

    export: str
    asked: QuestionsSpec
    settings: Mapping[str, Any]
    rows: Mapping[str, KeyRow]
    identical: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The content of ``export.json``."""
        return {
            "format": 1,
            "export": self.export,
            "questions": self.asked.model_dump(mode="json", exclude_unset=True),
            "settings": dict(self.settings),
            "identical": list(self.identical),
        }


def key_text(rows: Sequence[KeyRow]) -> str:
    """The content of ``key.jsonl``."""
    return "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)


def read_exports(folder: Path) -> dict[str, Export]:
    """Return every export of a run by its id.

    Args:
        folder: ``human/`` of the run.

    Raises:
        DataError: A key cannot be read.
    """
    found = {}
    for path in sorted(folder.glob("*/export.json")):
        try:
            about = json.loads(path.read_text("utf-8", "surrogatepass"))
            lines = (path.parent / "key.jsonl").read_text("utf-8", "surrogatepass").split("\n")
            rows = [_row(json.loads(line)) for line in lines if line]
            asked = QuestionsSpec.model_validate(about["questions"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path.parent} holds no readable key ({error}): export again with the same seed and settings."
            ) from error
        keyed = {row.item: row for row in rows}
        found[str(about["export"])] = Export(
            about["export"], asked, about["settings"], keyed, about.get("identical") or []
        )
    return found


def _row(values: dict[str, Any]) -> KeyRow:
    return KeyRow(**{**values, "sides": tuple(tuple(side) for side in values["sides"])})
