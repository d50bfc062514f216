"""Label Studio: tasks to import, the labelling configuration, and its export read back.

Formats: https://labelstud.io/guide/tasks (import), https://labelstud.io/guide/export (JSON and JSON-MIN) and
https://labelstud.io/tags (configuration).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from evalkit.human.columns import ITEM
from evalkit.human.escape import mark, unmark
from evalkit.human.questions import Question, QuestionsSpec
from evalkit.human.sheet import Filled, Sheet, header, read_seconds, text_columns

__all__ = ["label_studio_config", "label_studio_lines", "label_studio_tasks"]


def label_studio_tasks(sheet: Sheet) -> str:
    """The JSON that Label Studio imports: a list of tasks with their data."""
    tasks = []
    for line in sheet.lines:
        texts = {_key(column): mark(text) for column, text in line.texts().items()}
        tasks.append({"data": {"item": line.item, "rater": sheet.rater, "task": line.task, **texts}})
    return json.dumps(tasks, indent=1, ensure_ascii=False) + "\n"


def label_studio_config(asked: QuestionsSpec) -> str:
    """The labelling configuration (XML) for these questions.

    Ratings are choices: Label Studio's own rating begins at 1 and has no anchors.
    """
    columns = text_columns(asked)
    target = _key(columns[-1])  # what the answers are attached to
    parts = ["<View>"]
    if asked.instructions:
        parts.append(f'  <Header size="5" value={quoteattr(mark(asked.instructions))}/>')
    for column in columns:
        name = _key(column)
        parts.append(f'  <Header value="{column.capitalize() if len(column) > 1 else column}"/>')
        parts.append(f'  <Text name="{name}" value="${name}"/>')
    for number, question in enumerate(asked.questions, 1):
        parts += _control(question, number, target)
    return "\n".join([*parts, "</View>"]) + "\n"


def label_studio_lines(
    content: Any, name: str, asked: Mapping[str, QuestionsSpec]
) -> tuple[list[Filled], list[str]]:
    """Read an export of Label Studio, JSON or JSON-MIN.

    Args:
        content: The parsed JSON.
        name: The file, for messages.
        asked: Export → its questions.

    Returns:
        The lines, and what is wrong.
    """
    lines: list[Filled] = []
    problems: list[str] = []
    several = _several(content)
    for number, task in enumerate(content, 1):
        where = f"{name}, task {number}"
        data = task.get("data", task) if isinstance(task, dict) else None
        item = str(data.get("item", "")).strip() if isinstance(data, dict) else ""
        if not isinstance(data, dict) or not ITEM.fullmatch(item):
            problems.append(f"{where}: no data.item such as 9f31c2ab-017-c4d5e6f7; export JSON or JSON-MIN.")
            continue
        spec = asked.get(item[:8]) or next(iter(asked.values()))
        texts = {
            column: unmark(data[_key(column)])
            for column in text_columns(spec)
            if isinstance(data.get(_key(column)), str)
        }
        annotations = task.get("annotations")
        given = [task] if not isinstance(annotations, list) else annotations
        taken = [one for one in given if isinstance(one, dict) and not one.get("was_cancelled")]
        for one in taken:
            rater = str(data.get("rater", ""))
            if several:  # whose sheet it was says nothing
                rater = _who(one) or rater
            try:
                values = dict(_values(one, spec)) if annotations is not None else _flat(data, spec)
            except (AttributeError, TypeError):
                problems.append(f"{where}: its annotation is not as Label Studio writes it; export it again.")
                continue
            lines.append(Filled(where, item, rater, values, texts, read_seconds(one.get("lead_time"))))
    return lines, problems


def _several(content: Sequence[Any]) -> bool:
    """Whether several people annotated one task."""
    people: dict[str, set[str]] = {}
    for number, task in enumerate(content):
        if not isinstance(task, dict):
            continue
        annotations = task.get("annotations")
        given = annotations if isinstance(annotations, list) else [task]
        data = task.get("data", task)
        item = str(data.get("item", number)) if isinstance(data, dict) else str(number)
        taken = [one for one in given if isinstance(one, dict) and not one.get("was_cancelled")]
        people.setdefault(item, set()).update(_who(one) for one in taken)
    return any(len(names) > 1 for names in people.values())


def _control(question: Question, number: int, target: str) -> Sequence[str]:
    name = _control_name(question, number)
    title = f"  <Header value={quoteattr(mark(header(question)))}/>"
    common = f'name="{name}" toName="{target}"'
    if question.kind == "text":
        return title, f'  <TextArea {common} rows="3" maxSubmissions="1" editable="true"/>'
    choices = []
    for value, meaning in question.options:
        text = f"{value} – {meaning}" if meaning and meaning != value else value
        choices.append(f"    <Choice value={quoteattr(mark(text))} alias={quoteattr(mark(value))}/>")
    head = (
        f'  <Choices {common} choice="single-radio" showInline="{"false" if question.anchors else "true"}">'
    )
    return title, head, *choices, "  </Choices>"


def _values(annotation: Mapping[str, Any], spec: QuestionsSpec) -> Iterator[tuple[str, str]]:
    names = {_control_name(question, number): question for number, question in enumerate(spec.questions, 1)}
    for region in annotation.get("result") or []:
        question = names.get(str(region.get("from_name")))
        value = region.get("value") or {}
        said = value.get("choices") or value.get("text")
        if question is not None and said:
            yield question.name, _plain(question, said)


def _flat(row: Mapping[str, Any], spec: QuestionsSpec) -> dict[str, str]:
    """JSON-MIN: one key a control; several answers are ``{"choices": [...]}``."""
    found = {}
    for number, question in enumerate(spec.questions, 1):
        said = row.get(_control_name(question, number))
        if isinstance(said, dict):
            said = said.get("choices")
        if said not in (None, "", []):
            found[question.name] = _plain(question, said)
    return found


def _plain(question: Question, said: Any) -> str:
    """What was said; of a choice that comes with its meaning (``A – is better``) the choice."""
    text = unmark(str(said[0] if isinstance(said, list) else said))
    full = {f"{value} – {meaning}": value for value, meaning in question.options if meaning != value}
    return full.get(text, text)


def _who(annotation: Mapping[str, Any]) -> str:
    by = annotation.get("completed_by", annotation.get("annotator"))
    if isinstance(by, dict):
        return str(by.get("email") or by.get("id") or "")
    return "" if by is None else f"user-{by}"


def _key(column: str) -> str:
    return column.replace(" ", "_").lower()


def _control_name(question: Question, number: int) -> str:
    """An XML name; question names may hold anything."""
    plain = "".join(mark if mark.isascii() and mark.isalnum() else "_" for mark in question.name)
    return f"q{number}_{plain}"
