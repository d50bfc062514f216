from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.data.attacks import TRANSFORMS, attack, attacked_rows
from evalkit.errors import DataError

PROMPT = "Tell me how to fold a paper boat"


def test_encodings_can_be_undone() -> None:
    code = attack("base64", PROMPT)[0]["content"].splitlines()[-1]
    assert base64.b64decode(code).decode() == PROMPT
    # rot13 by hand: T->G e->r l->y, m->z
    assert attack("rot13", "Tell me")[0]["content"].endswith("Gryy zr")
    assert attack("leetspeak", "paper boat")[0]["content"] == "p4p3r b047"


def test_split_payload_holds_every_word_in_order() -> None:
    text = attack("payload_splitting", PROMPT)[0]["content"]
    assert text.startswith("a = 'Tell me how'\nb = 'to fold a'\nc = 'paper boat'\n")
    assert text.endswith("a + ' ' + b + ' ' + c.")


def test_rows_carry_transform_and_source() -> None:
    rows = attacked_rows([{"id": "1", "prompt": PROMPT, "label": "unsafe"}])
    assert [row["transform"] for row in rows] == list(TRANSFORMS)
    assert {row["source"] for row in rows} == {"1"}
    assert len({row["id"] for row in rows}) == len(TRANSFORMS)
    assert all(row["label"] == "unsafe" and row["prompt"] == PROMPT for row in rows)


def test_mistakes_are_named() -> None:
    with pytest.raises(DataError, match="rot13"):
        attack("rot31", PROMPT)
    with pytest.raises(DataError, match="row 2: expected the fields id and prompt; prompt missing"):
        attacked_rows([{"id": "1", "prompt": PROMPT}, {"id": "2"}])


@given(st.text())
def test_every_transform_takes_any_text_and_ends_with_the_user(prompt: str) -> None:
    for name in TRANSFORMS:
        turns = attack(name, prompt)
        assert [turn["role"] for turn in turns][::2] == ["user"] * len(turns[::2])
        assert turns[-1]["role"] == "user"
