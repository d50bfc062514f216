"""Rows of similar length run together."""

from __future__ import annotations

from evalkit.training.batches import micro_batches
from evalkit.training.rows import TokenRow


def test_micro_batches_hold_rows_of_similar_length_longest_first() -> None:
    rows = [
        TokenRow(tuple(range(length)), (False,) * length, number)
        for number, length in enumerate([3, 9, 4, 8, 5])
    ]
    assert [[len(row.ids) for row in group] for group in micro_batches(rows, 2)] == [[9, 8], [5, 4], [3]]
