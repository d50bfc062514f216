"""Judges that ``evalkit judge`` added to a run: noted in its folder, and there again after the study runs again.

judgements/NAME.added.json    the judge's entry as in a study, what made its numbers, and why it could not be finished
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import UserError
from evalkit.running.folder import RunFolder, safe_name, write_json
from evalkit.running.judges import Judged, open_uses
from evalkit.specs.study import JudgeUse

__all__ = ["added_judges", "note_added"]

ENDING = ".added.json"


def note_added(folder: RunFolder, judges: Iterable[Judged]) -> None:
    """Note judges that the run's study does not name.

    Args:
        folder: The run.
        judges: With their verdicts written.
    """
    for judged in judges:
        value: dict[str, Any] = {
            "use": judged.use.model_dump(mode="json"),
            "about": judged.about(),
            "error": judged.error,
        }
        write_json(folder.path / "judgements" / f"{safe_name(judged.name)}{ENDING}", value)


def added_judges(
    folder: RunFolder, own: Collection[str], roots: Sequence[Path]
) -> tuple[list[Judged], list[str]]:
    """Return the judges that were added to a run and are still what they were.

    Args:
        folder: The run.
        own: Names of the study's judges, which win over added ones.
        roots: Where catalog folders may be.

    Returns:
        The judges, without rows, and remarks: those whose files have changed since, whose numbers no longer count.
    """
    judges: list[Judged] = []
    remarks: list[str] = []
    for file in sorted((folder.path / "judgements").glob(f"*{ENDING}")):
        noted = json.loads(file.read_text("utf-8"))
        use = JudgeUse.model_validate(noted["use"])
        name = use.name or use.judge
        if name in own or not (folder.path / "judgements" / f"{safe_name(name)}.jsonl").is_file():
            continue
        try:
            (judged,) = open_uses([use], roots)
        except UserError as error:
            remarks.append(f"The verdicts of judge {name} are left out: {error}")
            continue
        if judged.about() != noted["about"]:
            remarks.append(
                f"The verdicts of judge {name} are left out, since its files have changed: "
                f"type `evalkit judge {folder.path} --judge {name}` with its model again."
            )
            continue
        judged.error = noted["error"]
        judges.append(judged)
    return judges, remarks
