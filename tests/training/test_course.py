"""Which rows an optimiser step sees, and how many steps there are."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.training.course import Course, Place

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)
BUDGETS = st.integers(1, 120)


def orders(seed: int, epoch: int, rows: int) -> list[int]:
    """As the orders of rows were defined before there were budgets: numpy's PCG64."""
    return [int(i) for i in np.random.default_rng([seed, epoch]).permutation(rows)]


def all_steps(course: Course, steps: int) -> list[list[int]]:
    return [course.rows(step) for step in range(steps)]


@given(rows=st.integers(1, 60), size=st.integers(1, 70), seed=SEEDS, epochs=st.integers(1, 3))
def test_by_rows_each_step_is_the_next_so_many_of_an_order(
    rows: int, size: int, seed: int, epochs: int
) -> None:
    course, steps = Course([7] * rows, seed, size), -(-rows // size)
    expected = [
        orders(seed, epoch, rows)[i * size : (i + 1) * size] for epoch in range(epochs) for i in range(steps)
    ]
    assert all_steps(course, epochs * steps) == expected
    assert all_steps(Course([7] * rows, seed, size), epochs * steps)[::-1] == expected[::-1]
    half = max(1, math.ceil(steps / 2))  # the rule of validations as it was
    for done in range(1, epochs * steps + 1):
        assert course.validates(done) == (done % half == 0)
        assert round(course.epochs(done), 6) == round(done / steps, 6)


@given(lengths=LENGTHS, budget=BUDGETS, seed=SEEDS, epoch=st.integers(0, 3))
def test_by_tokens_every_row_is_seen_once_an_epoch_and_steps_are_full(
    lengths: list[int], budget: int, seed: int, epoch: int
) -> None:
    steps = Course(lengths, seed, None, budget).epoch(epoch)
    assert [row for step in steps for row in step] == orders(seed, epoch, len(lengths))
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        held = sum(lengths[row] for row in step)
        assert held <= budget or len(step) == 1
        if following is not None:  # the next row would not have gone in
            assert held + lengths[following[0]] > budget


@given(lengths=LENGTHS, budget=BUDGETS, seed=SEEDS, epochs=st.integers(1, 4), part=st.integers(0, 7))
def test_steps_places_and_validations_add_up_over_epochs_of_different_length(
    lengths: list[int], budget: int, seed: int, epochs: int, part: int
) -> None:
    course = Course(lengths, seed, None, budget)
    by_epoch = [Course(lengths, seed, None, budget).epoch(epoch) for epoch in range(epochs + 1)]
    whole = sum(len(steps) for steps in by_epoch[:-1])
    share = Fraction(part, 8)
    total = whole + math.ceil(share * len(by_epoch[-1]))
    assert course.total(epochs + part / 8, None) == total
    assert course.total(epochs + part / 8, max_steps=total + 1) == total
    assert course.total(epochs + part / 8, max_steps=max(1, total - 1)) == max(1, total - 1)
    assert all_steps(course, whole) == [step for steps in by_epoch[:-1] for step in steps]
    done = 0
    for epoch, steps in enumerate(by_epoch[:-1]):
        for i in range(len(steps)):
            assert course.place(done) == Place(epoch, i, len(steps))
            done += 1
            assert course.epochs(done) == pytest.approx(epoch + (i + 1) / len(steps))
            assert course.validates(done) == (i + 1 in {math.ceil(len(steps) / 2), len(steps)})


def test_steps_by_hand() -> None:
    # the orders of five rows under seed 17 are 4 0 2 1 3 and 4 2 1 3 0
    course = Course([3, 3, 9, 2, 2], 17, None, 6)
    assert orders(17, 0, 5) == [4, 0, 2, 1, 3]
    # 2 and 3 tokens, and 9 more would be too many; 9 alone are over the budget; 3 and 2
    assert course.epoch(0) == [[4, 0], [2], [1, 3]]
    assert course.epoch(1) == [[4], [2], [1, 3], [0]]
    assert [course.place(step) for step in (0, 2, 3, 6)] == [(0, 0, 3), (0, 2, 3), (1, 0, 4), (1, 3, 4)]
    assert [course.epochs(done) for done in (1, 3, 4, 7)] == [1 / 3, 1.0, 1.25, 2.0]
    assert [done for done in range(1, 8) if course.validates(done)] == [2, 3, 5, 7]
    assert course.total(1.0, None) == 3
    assert course.total(1.5, None) == 3 + 2  # half of the second epoch's four
    assert course.total(0.01, None) == 1
    assert course.total(2.0, max_steps=5) == 5
    # a budget that two rows fill to the last token
    assert Course([3, 3, 9, 2, 2], 17, None, 5).epoch(0) == [[4, 0], [2], [1, 3]]


def test_orders_differ_by_epoch_and_seed() -> None:
    first = Course([1] * 50, 1, 50)
    assert (
        len({tuple(order) for order in (first.rows(0), first.rows(1), Course([1] * 50, 2, 50).rows(0))}) == 3
    )


def test_order_is_pinned() -> None:
    # numpy's PCG64, default_rng([17, 0]).permutation(8): another order would change what a study trained
    assert Course([1] * 8, 17, 8).rows(0) == [1, 0, 6, 4, 2, 7, 5, 3]


@pytest.mark.parametrize(
    ("epochs", "max_steps", "expected"),
    [(3.0, None, 48), (0.5, None, 8), (0.01, None, 1), (3.0, 20, 20), (1.0, 100, 16), (0.1 * 3, None, 5)],
)
def test_number_of_steps(epochs: float, max_steps: int | None, expected: int) -> None:
    # 16 steps an epoch, the last of them 10 rows
    assert Course([1] * 250, 17, 16).total(epochs, max_steps) == expected


@given(
    rows=st.integers(1, 300),
    size=st.integers(1, 40),
    epochs=st.integers(1, 100).map(lambda tenths: tenths / 10),
    most=st.none() | st.integers(1, 50),
)
def test_by_rows_the_number_of_steps_is_as_it_was(
    rows: int, size: int, epochs: float, most: int | None
) -> None:
    steps = max(
        1, math.ceil(round(epochs * math.ceil(rows / size), 6))
    )  # the formula before there were budgets
    assert Course([1] * rows, 3, size).total(epochs, most) == (steps if most is None else min(steps, most))


@given(rows=st.integers(1, 40), size=st.integers(1, 12), length=st.integers(1, 9), seed=SEEDS)
def test_rows_of_one_length_make_the_steps_of_a_batch_size(
    rows: int, size: int, length: int, seed: int
) -> None:
    by_tokens = Course([length] * rows, seed, None, size * length + length - 1)
    by_rows = Course([length] * rows, seed, size)
    assert [by_tokens.epoch(epoch) for epoch in (0, 1)] == [by_rows.epoch(epoch) for epoch in (0, 1)]


def test_a_token_weighs_about_the_same_whatever_the_length_of_its_row() -> None:
    """The gradient of an epoch is the sum over tokens of what each weighs in its step: 1 / the step's tokens.

    Over many seeds, relative to the mean over all tokens. Steps of so many rows weigh tokens of long rows less: such a
    row makes its own step larger. With a budget that is hardly so.
    """
    lengths = [10] * 30 + [20] * 20 + [80] * 10  # 1,500 tokens

    def weights(courses: list[Course]) -> np.ndarray:
        found = np.zeros(len(lengths))
        for course in courses:
            for step in course.epoch(0):
                found[step] += 1 / sum(lengths[row] for row in step)
        mean = float((found * lengths).sum()) / sum(lengths)
        return np.array([found[:30].mean(), found[30:50].mean(), found[50:].mean()]) / mean

    seeds = range(3000)
    by_tokens = weights([Course(lengths, seed, None, 400) for seed in seeds])
    by_rows = weights([Course(lengths, seed, 16) for seed in seeds])  # of 400 tokens on average
    assert by_tokens == pytest.approx([1.025, 1.018, 0.981], abs=0.005)
    assert by_rows == pytest.approx([1.092, 1.067, 0.932], abs=0.005)
