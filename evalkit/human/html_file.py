"""One offline HTML page for a rater: nothing is fetched, nothing that a model wrote is run.

Template, style sheet and script lie in ``page/`` and are put into one file, under a content security policy that
names both by their hash and forbids everything else. Answers are kept in the browser as they are given, and leave
it as a JSON file that ``evalkit human import`` takes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.human.sheet import Filled, Sheet, read_seconds

__all__ = ["html_page", "page_lines"]

PAGE = Path(__file__).parent / "page"


def html_page(sheet: Sheet) -> str:
    """The rater's page."""
    style, script = ((PAGE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src '{_source(style)}'; script-src '{_source(script)}'"
    )
    parts = {
        "policy": html.escape(policy),
        "title": html.escape(f"{sheet.study} · {sheet.rater}"),
        "style": style,
        "script": script,
        "data": _script_json(_data(sheet)),
    }
    template = (PAGE / "page.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def page_lines(content: Mapping[str, Any], name: str) -> list[Filled]:
    """Read what the page's "save" button wrote.

    Args:
        content: The parsed JSON.
        name: The file, for messages.

    Raises:
        DataError: It is not what the page writes.
    """
    lines = []
    rows = content.get("labels")
    if not isinstance(rows, list):
        raise DataError(f"{name}: expected the labels that a rater's page saves, with a list 'labels'.")
    for number, row in enumerate(rows, 1):
        answers = row.get("answers") if isinstance(row, dict) else None
        if not isinstance(answers, dict) or not isinstance(row.get("item"), str):
            raise DataError(
                f"{name}, label {number}: expected 'item' and 'answers'; save the page's file again."
            )
        lines.append(
            Filled(
                where=f"{name}, label {number}",
                item=row["item"],
                rater=str(content.get("rater") or ""),
                values={str(name): str(said) for name, said in answers.items() if said is not None},
                seconds=read_seconds(row.get("seconds")),
            )
        )
    return lines


def _data(sheet: Sheet) -> dict[str, Any]:
    return {
        "export": sheet.export,
        "study": sheet.study,
        "rater": sheet.rater,
        "instructions": sheet.asked.instructions,
        "questions": [
            {
                "name": one.name,
                "ask": one.ask,
                "kind": one.kind,
                "options": [list(option) for option in one.options],
            }
            for one in sheet.asked.questions
        ],
        "lines": [
            {
                "item": line.item,
                "task": line.task,
                "prompt": [list(turn) for turn in line.prompt],
                "answers": list(line.answers),
                "target": line.target,
                "given": dict(line.given),
            }
            for line in sheet.lines
        ],
    }


def _script_json(value: Any) -> str:
    """JSON in which no character is left bare that HTML could read, so that no text can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _source(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
