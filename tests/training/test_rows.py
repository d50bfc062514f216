"""Rows that are too long: dropped, cut or split, never without being counted."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from evalkit.training.rows import Overlong, TokenRow, fit_rows


def row(number: int, length: int, answer: int, raw: bool = False) -> TokenRow:
    """``length`` tokens, the last ``answer`` of them supervised."""
    mask = [False] * (length - answer) + [True] * answer
    return TokenRow(tuple(range(length)), tuple(mask), number, raw=raw)


def test_drop_keeps_what_fits_and_names_the_rest() -> None:
    kept, found = fit_rows([row(1, 8, 2), row(2, 9, 2), row(3, 8, 2), row(4, 20, 2)], 8, "drop")
    assert [item.row for item in kept] == [1, 3]
    assert found == Overlong(8, dropped=[2, 4])
    assert found.messages() == ["2 rows longer than 8 tokens were dropped: rows 2, 4"]


def test_truncate_cuts_the_end_and_drops_what_has_nothing_left_to_learn() -> None:
    kept, found = fit_rows([row(1, 10, 4), row(2, 10, 2)], 8, "truncate")
    assert [(item.ids, item.targets) for item in kept] == [(tuple(range(8)), 2)]
    assert found == Overlong(8, dropped=[2], truncated=[1])
    assert found.messages() == [
        "1 row longer than 8 tokens was dropped: row 2",
        "1 row longer than 8 tokens was truncated: row 1",
    ]


@pytest.mark.parametrize("length", [9, 15, 16, 22, 23, 100])
def test_split_predicts_every_token_of_raw_text_once(length: int) -> None:
    whole = TokenRow(tuple(range(length)), (False, *[True] * (length - 1)), 1, raw=True)
    kept, found = fit_rows([whole], 8, "split")
    assert [
        token for item in kept for token, on in zip(item.ids, item.supervised, strict=True) if on
    ] == list(range(1, length))
    assert all(2 <= len(item.ids) <= 8 for item in kept)
    assert all(before.ids[-1] == after.ids[0] for before, after in pairwise(kept))
    assert found == Overlong(8, split=[1])


def test_split_drops_chats() -> None:
    kept, found = fit_rows([row(5, 9, 3)], 8, "split")
    assert (kept, found) == ([], Overlong(8, dropped=[5]))


def test_branches_of_one_conversation_are_counted_once() -> None:
    _, found = fit_rows([row(5, 9, 3), row(5, 12, 3), row(6, 9, 3)], 8, "drop")
    assert found.dropped == [5, 6]


def test_long_lists_are_shortened() -> None:
    (told,) = Overlong(8, dropped=list(range(1, 31))).messages()
    assert told.endswith(
        "rows 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20 and 10 more"
    )


def test_nothing_to_say_where_all_rows_fit() -> None:
    kept, found = fit_rows([row(1, 8, 2)], 8, "drop")
    assert (len(kept), found.messages()) == (1, [])


def test_weights_survive_a_cut() -> None:
    heavy: Any = TokenRow(tuple(range(9)), (False, *[True] * 8), 1, weight=2.5, raw=True)
    kept, _ = fit_rows([heavy], 8, "split")
    assert [item.weight for item in kept] == [2.5, 2.5]
