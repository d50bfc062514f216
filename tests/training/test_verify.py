"""The verifier must find a wrong mask that is put before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from evalkit.errors import DataError
from evalkit.records import Message
from evalkit.training.turns import chat_turns, merge_turns
from evalkit.training.verify import Frame, check_roles, check_turns

MESSAGES: list[Message] = [
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "Four"},
    {"role": "user", "content": "3+3?"},
    {"role": "assistant", "content": "Six"},
]


def shifted(mask: list[bool]) -> list[bool]:
    return [False, *mask[:-1]]


def longer(mask: list[bool]) -> list[bool]:
    start = mask.index(True)
    return [*mask[: start - 1], True, *mask[start:]]


def without_end(mask: list[bool]) -> list[bool]:
    return [*mask[:-1], False]


def nothing(mask: list[bool]) -> list[bool]:
    return [False] * len(mask)


def everything(mask: list[bool]) -> list[bool]:
    return [True] * len(mask)


@pytest.mark.parametrize("damage", [shifted, longer, without_end, nothing, everything])
def test_a_damaged_mask_is_refused(
    tokenizer_of: Callable[[str], Any], damage: Callable[[list[bool]], list[bool]]
) -> None:
    tokenizer = tokenizer_of("chatml")
    ends = frozenset({tokenizer.eos_token_id})
    turns = chat_turns(tokenizer, MESSAGES, ends)
    ((ids, mask),) = merge_turns(turns)
    check_turns(tokenizer, turns, [(ids, mask)], ends, {1: Frame(), 3: Frame()})
    with pytest.raises(DataError):
        check_turns(tokenizer, turns, [(ids, damage(mask))], ends, {1: Frame(), 3: Frame()})


def test_other_prompt_ids_than_the_evaluators_are_refused(tokenizer_of: Callable[[str], Any]) -> None:
    tokenizer = tokenizer_of("chatml")
    ends = frozenset({tokenizer.eos_token_id})
    turns = chat_turns(tokenizer, MESSAGES, ends)
    ((ids, mask),) = merge_turns(turns)
    with pytest.raises(DataError, match="evaluator's prompt ids"):
        check_turns(tokenizer, turns, [([ids[0], *ids], [False, *mask])], ends, {})  # a second start token


def test_frames_say_what_the_template_puts_around_an_answer(tokenizer_of: Callable[[str], Any]) -> None:
    tokenizer = tokenizer_of("qwen3")
    ends = frozenset({tokenizer.eos_token_id})
    frames = check_roles(tokenizer, ["user", "assistant"], ends, last=False)
    assert frames == {1: Frame("<think>\n\n</think>\n\n", "")}
    tokenizer = tokenizer_of("llama2_merge")
    frames = check_roles(tokenizer, ["user", "assistant"], frozenset({tokenizer.eos_token_id}), last=False)
    assert frames == {1: Frame(" ", " ")}
