"""Training rows → conversations, with every bad row named by file and line, all at once.

The forms, by the fields a row has: ``messages``; ``prompt`` with ``completion``; ``text``. Preference, thumbs
and reward rows are known too, and refused here with what takes them: supervised training would learn a
rejected answer as well as a chosen one.

Roles follow what every chat template accepts: an optional ``system`` first, then ``user`` and ``assistant``
in turn, ``tool`` only after ``assistant`` or another ``tool``, the last turn ``assistant``. (The templates of
Llama 2, Mistral and Gemma raise on two user turns in a row.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evalkit.data.conversation import Conversation
from evalkit.data.rows import Row, bad_rows, stream_rows
from evalkit.errors import DataError, nearest
from evalkit.records import Message

__all__ = ["conversations", "read_conversations"]

ROLES = ("system", "user", "assistant", "tool")
# role → roles that may come before it; None is the start
_AFTER: dict[str, tuple[str | None, ...]] = {
    "system": (None,),
    "user": (None, "system", "assistant"),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}
_REFUSED = {
    "preference": "a preference row (chosen, rejected); for supervised training keep the messages with the chosen "
    "answer as their last turn",
    "thumbs": "a thumbs row (completion with label true or false); for supervised training keep the rows "
    "labelled true and drop the field `label`",
    "reward": "a prompt without an answer; for supervised training add `completion`",
}


def read_conversations(path: Path) -> list[Conversation]:
    """Return the training rows of a file as conversations, in order.

    Raises:
        DataError: See ``read_rows`` and ``conversations``.
    """
    problems: list[str] = []
    try:
        found = [_conversation(row, problems) for row in stream_rows(path)]
    except DataError as error:  # lines that are no rows: told together with rows that are no conversations
        if problems:
            raise bad_rows(sorted([*problems, *error.messages], key=_line_of)) from error
        raise
    return _checked(found, problems)


def conversations(rows: Iterable[Row]) -> list[Conversation]:
    """Return the rows as conversations, in order.

    Raises:
        DataError: Some rows are no supervised training rows: up to 20 are named by file and line with what is
            wrong, and how many there are.
    """
    problems: list[str] = []
    return _checked([_conversation(row, problems) for row in rows], problems)


def _checked(found: list[Conversation | None], problems: list[str]) -> list[Conversation]:
    if problems:
        raise bad_rows(problems)
    return [conversation for conversation in found if conversation is not None]


def _conversation(row: Row, problems: list[str]) -> Conversation | None:
    data, before = row.data, len(problems)
    form = _form(data)
    if form in _REFUSED:
        problems.append(f"{row.place}: is {_REFUSED[form]}.")
        return None
    wrong = _wrong_fields(data, form)
    wrong += _wrong_messages(data["messages"]) if form == "messages" else []
    problems += [f"{row.place}: {text}" for text in wrong]
    if len(problems) > before:
        return None
    return Conversation(
        row=row.line,
        messages=_messages(data["messages"]) if form == "messages" else None,
        prompt=data["prompt"] if form == "completion" else None,
        completion=data["completion"] if form == "completion" else None,
        text=data["text"] if form == "text" else None,
        weight=float(data.get("weight", 1.0)),
        id=str(data.get("id", "")),
        source=str(data.get("source", "")),
    )


def _line_of(problem: str) -> float:
    """The line that a message begins with: ``FILE:LINE: …``; what names none comes last."""
    place = re.match(r".*?:(\d+): ", problem)
    return float(place[1]) if place else math.inf


def _form(data: dict[str, Any]) -> str:
    if "chosen" in data or "rejected" in data:
        return "preference"
    if "completion" in data and isinstance(data.get("label"), bool):
        return "thumbs"
    if "prompt" in data and not {"completion", "messages", "text"} & data.keys():
        return "reward"
    forms = [name for name in ("messages", "completion", "text") if name in data]
    return forms[0] if len(forms) == 1 else ""


def _wrong_fields(data: dict[str, Any], form: str) -> list[str]:
    wrong = []
    if not form:
        fields = ", ".join(sorted(data)) or "none"
        wrong.append(f"expected one of messages, prompt with completion, or text; got the fields {fields}.")
    if form == "completion" and not isinstance(data.get("prompt"), str):
        wrong.append("`prompt` beside `completion` must be a text; a chat goes under `messages`.")
    if form in ("completion", "text") and not isinstance(data[form], str):
        wrong.append(f"`{form}` must be a text.")
    elif form in ("completion", "text") and not data[form].strip():
        wrong.append(f"`{form}` is empty: there is nothing to learn.")
    weight = data.get("weight", 1.0)
    if not _is_number(weight) or not (math.isfinite(weight) and weight > 0):
        wrong.append(f"`weight` must be a number above 0; got {weight!r}.")
    if not isinstance(data.get("id", ""), str | int) or isinstance(data.get("id"), bool):
        wrong.append("`id` must be a text or a whole number.")
    if not isinstance(data.get("source", ""), str):
        wrong.append("`source` must be a text, such as real or synthetic.")
    return wrong


def _wrong_messages(messages: Any) -> list[str]:
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        return ['`messages` must be a list of {"role": …, "content": …}.']
    known = all(message.get("role") in ROLES for message in messages)
    if known and not any(message["role"] == "assistant" for message in messages):
        return ["has no assistant turn: there is nothing to learn."]
    wrong: list[str] = []
    previous: str | None = None
    for number, message in enumerate(messages, start=1):
        wrong += [f"turn {number} {text}" for text in _wrong_turn(message, previous)]
        if message.get("role") not in ROLES:
            return wrong
        previous = message["role"]
    if previous != "assistant":
        wrong.append(
            f"turn {len(messages)} is {previous}: the last turn must be assistant; remove what follows it."
        )
    return wrong


def _wrong_turn(message: dict[str, Any], previous: str | None) -> list[str]:
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        return [f"has the role {role!r}; expected {', '.join(ROLES)}.{nearest(str(role), ROLES)}"]
    wrong = []
    if previous not in _AFTER[role]:
        allowed = " or ".join(name or "the start" for name in _AFTER[role])
        wrong.append(f"is {role} after {previous or 'the start'}: {role} may only follow {allowed}.")
    if not isinstance(content, str):
        wrong.append(f"({role}) must have a text as `content`; got {type(content).__name__}.")
    elif role == "assistant" and not content.strip():
        wrong.append("(assistant) is empty: there is nothing to learn.")
    unread = [key for key in message if key not in ("role", "content") and message[key] is not None]
    if unread:
        wrong.append(f"({role}) has `{unread[0]}`, which is not read: write it into `content`.")
    return wrong


def _messages(messages: list[dict[str, Any]]) -> list[Message]:
    return [Message(role=message["role"], content=message["content"]) for message in messages]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
