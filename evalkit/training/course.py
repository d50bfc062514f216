"""The course of a training: which rows each optimiser step sees, and how many steps there are.

Each epoch sees every row once, in a new order, which depends on seed and epoch alone, so that a resumed training
sees the same rows. A step takes the next rows of that order: a number of them, or as many as hold a number of tokens.
Either way its loss is the mean over its supervised tokens.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from evalkit.specs.trainer import QloraSettings

__all__ = ["Course", "Place", "course_of"]


class Place(NamedTuple):
    """Where a step stands.

    Attributes:
        epoch: From 0.
        step: Within its epoch, from 0.
        steps: Of its epoch.
    """

    epoch: int
    step: int
    steps: int


@dataclass(frozen=True)
class Course:
    """The steps of a training, from 0 over all epochs.

    Attributes:
        lengths: Tokens of each row; at least one row.
        seed: Of the orders.
        batch_size: Rows per step; the last step of an epoch may see fewer. None: ``batch_tokens`` decides.
        batch_tokens: Tokens per step, at most; a row that has more makes a step of its own.

    >>> course = Course([3, 3, 9, 2, 2], seed=17, batch_size=None, batch_tokens=6)
    >>> course.epoch(0), course.epoch(1)  # the orders are 4 0 2 1 3 and 4 2 1 3 0
    ([[4, 0], [2], [1, 3]], [[4], [2], [1, 3], [0]])
    >>> course.total(epochs=2.0, max_steps=None), course.rows(4), round(course.epochs(5), 3)
    (7, [2], 1.5)
    """

    lengths: Sequence[int]
    seed: int
    batch_size: int | None
    batch_tokens: int | None = None
    _before: list[int] = field(default_factory=lambda: [0], init=False, repr=False, compare=False)
    _cut: dict[int, list[list[int]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def epoch(self, number: int) -> list[list[int]]:
        """Indices of the rows of each step of an epoch."""
        if number not in self._cut:
            order = np.random.default_rng([self.seed, number]).permutation(len(self.lengths))
            self._cut.clear()  # one is held at a time
            self._cut[number] = [part.tolist() for part in np.split(order, self._cuts(order))]
        return self._cut[number]

    def rows(self, step: int) -> list[int]:
        """Indices of the rows of a step."""
        place = self.place(step)
        return self.epoch(place.epoch)[place.step]

    def place(self, step: int) -> Place:
        """Epoch of a step, and where in it."""
        while self._before[-1] <= step:
            self._steps_before(len(self._before))
        epoch = bisect_right(self._before, step) - 1
        return Place(epoch, step - self._before[epoch], self._before[epoch + 1] - self._before[epoch])

    def total(self, epochs: float, max_steps: int | None) -> int:
        """Steps of the whole training, ≥ 1.

        >>> rows = [1] * 250  # 16 steps an epoch, the last of 10 rows
        >>> Course(rows, 17, 16).total(3.0, None), Course(rows, 17, 16).total(2.3, None)
        (48, 37)
        >>> Course(rows, 17, 16).total(3.0, max_steps=20)
        20
        """
        whole, most = int(epochs), math.inf if max_steps is None else max_steps
        epoch = 0
        while epoch < whole and self._steps_before(epoch) < most:
            epoch += 1
        steps, part = self._steps_before(epoch), epochs - whole
        if epoch == whole and part:
            steps += math.ceil(round(part * len(self.epoch(epoch)), 6))
        return int(min(max(1, steps), most))

    def epochs(self, steps: int) -> float:
        """Epochs that so many steps make, ≥ 1 step."""
        place = self.place(steps - 1)
        return place.epoch + (place.step + 1) / place.steps

    def validates(self, steps: int) -> bool:
        """Whether a validation is due after so many steps, ≥ 1: twice an epoch.

        By tokens an epoch's steps are not always as many: it is due after half of each epoch's and after its last.
        """
        place = self.place(steps - 1)
        half = math.ceil(place.steps / 2)
        return steps % half == 0 if self.batch_tokens is None else place.step + 1 in (half, place.steps)

    def _steps_before(self, epoch: int) -> int:
        while len(self._before) <= epoch:
            self._before.append(self._before[-1] + len(self.epoch(len(self._before) - 1)))
        return self._before[epoch]

    def _cuts(self, order: np.ndarray) -> list[int]:
        """Where one step of an order ends and the next begins."""
        if self.batch_tokens is None:
            return list(range(self.batch_size or 1, len(order), self.batch_size or 1))
        held = np.cumsum(np.asarray(self.lengths)[order])  # tokens up to and with each row
        cuts: list[int] = []
        start, before = 0, 0
        while True:
            start = max(start + 1, int(np.searchsorted(held, before + self.batch_tokens, side="right")))
            if start >= len(order):
                return cuts
            cuts.append(start)
            before = int(held[start - 1])


def course_of(settings: QloraSettings, lengths: Sequence[int], seed: int = 17) -> Course:
    """Return the course that settings ask for.

    Args:
        settings: ``batch_size`` or ``batch_tokens``, and the seed.
        lengths: Tokens of each row; how many rows there are is all that matters to ``batch_size``.
        seed: Used where the settings have none.
    """
    own = seed if settings.seed is None else settings.seed
    return Course(lengths, own, settings.batch_size, settings.batch_tokens)
