"""Training rows → conversations: what is taken, and what is refused in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.data.chat import conversations, read_conversations
from evalkit.data.conversation import Conversation
from evalkit.data.rows import Row
from evalkit.errors import DataError


def _chat(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _problem(data: dict[str, Any]) -> str:
    with pytest.raises(DataError) as caught:
        conversations([Row(data, "t.jsonl", 7, 7)])
    assert len(caught.value.messages) == 1
    return caught.value.messages[0]


def test_the_three_forms() -> None:
    rows = [
        {**_chat(("system", "s"), ("user", "u"), ("assistant", "a")), "id": 5, "weight": 2, "source": "real"},
        {"prompt": "p", "completion": " c"},
        {"text": "t", "label": "kept out of the way"},
    ]
    assert conversations(Row(row, "f", number + 1, number) for number, row in enumerate(rows, start=1)) == [
        Conversation(row=2, messages=rows[0]["messages"], weight=2.0, id="5", source="real"),
        Conversation(row=3, prompt="p", completion=" c"),
        Conversation(row=4, text="t"),
    ]


def test_a_chat_may_use_tools_and_have_many_turns() -> None:
    turns = [("user", "u"), ("assistant", "call"), ("tool", "x"), ("tool", "y"), ("assistant", "a")]
    chat = _chat(*turns, ("user", "v"), ("assistant", "b"))
    assert conversations([Row(chat, "f", 1, 1)])[0].messages == chat["messages"]


def test_keys_that_are_null_are_absent() -> None:
    row = {
        "messages": [{"role": "user", "content": "u", "name": None}, {"role": "assistant", "content": "a"}]
    }
    assert conversations([Row(row, "f", 1, 1)])[0].messages == [
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "a"},
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (_chat(("user", "u")), "has no assistant turn: there is nothing to learn."),
        (_chat(), "has no assistant turn"),
        ({"messages": "hello"}, "`messages` must be a list of"),
        (
            _chat(("user", "u"), ("assistant", "a"), ("user", "v")),
            "turn 3 is user: the last turn must be assistant",
        ),
        (_chat(("user", "u"), ("user", "v"), ("assistant", "a")), "turn 2 is user after user: user may only"),
        (
            _chat(("assistant", "a")),
            "turn 1 is assistant after the start: assistant may only follow user or tool",
        ),
        (
            _chat(("user", "u"), ("assistant", "a"), ("system", "s"), ("user", "v"), ("assistant", "b")),
            "turn 3 is system",
        ),
        (_chat(("user", "u"), ("tool", "t"), ("assistant", "a")), "turn 2 is tool after user"),
        (_chat(("human", "u"), ("assistant", "a")), "turn 1 has the role 'human'; expected system, user"),
        (_chat(("usr", "u"), ("assistant", "a")), "Did you mean 'user'?"),
        (_chat(("user", "u"), ("assistant", " \n")), "turn 2 (assistant) is empty"),
        (_chat(("user", 3), ("assistant", "a")), "turn 1 (user) must have a text as `content`; got int."),
        (
            {
                "messages": [
                    *_chat(("user", "u"))["messages"],
                    {"role": "assistant", "content": "a", "tool_calls": []},
                ]
            },
            "turn 2 (assistant) has `tool_calls`, which is not read",
        ),
        ({"prompt": "p", "completion": ""}, "`completion` is empty"),
        ({"completion": "c"}, "`prompt` beside `completion` must be a text"),
        ({"prompt": [], "completion": "c"}, "`prompt` beside `completion` must be a text"),
        ({"text": 3}, "`text` must be a text."),
        (
            {"text": "t", "messages": []},
            "expected one of messages, prompt with completion, or text; got the fields",
        ),
        ({"instruction": "i", "output": "o"}, "got the fields instruction, output."),
        ({}, "got the fields none."),
        ({"text": "t", "weight": 0}, "`weight` must be a number above 0; got 0."),
        ({"text": "t", "weight": True}, "`weight` must be a number above 0; got True."),
        ({"text": "t", "id": 1.5}, "`id` must be a text or a whole number."),
        ({"prompt": "p", "chosen": "c", "rejected": "r"}, "is a preference row (chosen, rejected)"),
        ({"prompt": "p", "completion": "c", "label": True}, "is a thumbs row"),
        ({"prompt": "p", "tests": "…"}, "is a prompt without an answer"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_what_is_wrong(row: dict[str, Any], words: str) -> None:
    message = _problem(row)
    assert message.startswith("t.jsonl:7: ")
    assert words in message


def test_all_bad_rows_of_a_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    rows = [_chat(("user", "u")), {"text": "ok"}, _chat(("user", 1), ("assistant", ""))]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_conversations(path)
    assert [message.removeprefix(str(path)) for message in caught.value.messages] == [
        ":1: has no assistant turn: there is nothing to learn.",
        ":3: turn 1 (user) must have a text as `content`; got int.",
        ":3: turn 2 (assistant) is empty: there is nothing to learn.",
    ]
