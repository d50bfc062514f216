"""Which rows an optimiser step sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.training.batches import micro_batches, window
from evalkit.training.rows import TokenRow
from evalkit.training.schedule import steps_per_epoch, total_steps


@given(
    rows=st.integers(1, 60), size=st.integers(1, 70), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 3)
)
def test_every_epoch_sees_every_row_once(rows: int, size: int, seed: int, epoch: int) -> None:
    steps = steps_per_epoch(rows, size)
    seen = [window(epoch * steps + step, rows, size, seed) for step in range(steps)]
    assert sorted(index for step in seen for index in step) == list(range(rows))
    assert all(len(step) == size for step in seen[:-1])
    assert 1 <= len(seen[-1]) <= size


def test_orders_differ_by_epoch_and_seed_and_are_the_same_again() -> None:
    first = window(0, 50, 50, seed=1)
    assert first == window(0, 50, 50, seed=1)
    assert len({tuple(order) for order in (first, window(1, 50, 50, seed=1), window(0, 50, 50, seed=2))}) == 3


def test_order_is_pinned() -> None:
    # numpy's PCG64, default_rng([17, 0]).permutation(8): another order would change what a study trained
    assert window(0, 8, 8, seed=17) == [1, 0, 6, 4, 2, 7, 5, 3]


def test_order_of_the_data_where_asked_for() -> None:
    assert window(2, 5, 4, seed=1, shuffle=False) == [0, 1, 2, 3]
    assert window(3, 5, 4, seed=1, shuffle=False) == [4]


def test_micro_batches_hold_rows_of_similar_length_longest_first() -> None:
    rows = [
        TokenRow(tuple(range(length)), (False,) * length, number)
        for number, length in enumerate([3, 9, 4, 8, 5])
    ]
    assert [[len(row.ids) for row in group] for group in micro_batches(rows, 2)] == [[9, 8], [5, 4], [3]]


@pytest.mark.parametrize(
    ("epochs", "max_steps", "expected"),
    [(3.0, None, 48), (0.5, None, 8), (0.01, None, 1), (3.0, 20, 20), (1.0, 100, 16), (0.1 * 3, None, 5)],
)
def test_number_of_steps(epochs: float, max_steps: int | None, expected: int) -> None:
    assert total_steps(250, 16, epochs, max_steps) == expected  # 16 steps an epoch, the last of them 10 rows
