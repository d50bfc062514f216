"""The learning rate over the steps: transformers' own schedules."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["make_schedule", "steps_per_epoch", "total_steps"]

_NAMES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Optimiser steps that see every row once; the last one may see fewer rows.

    >>> steps_per_epoch(250, 16)
    16
    """
    return math.ceil(rows / batch_size)


def total_steps(rows: int, batch_size: int, epochs: float, max_steps: int | None) -> int:
    """Optimiser steps of the whole training, ≥ 1.

    >>> total_steps(250, 16, epochs=3.0, max_steps=None)
    48
    >>> total_steps(250, 16, epochs=3.0, max_steps=20)
    20
    """
    steps = max(1, math.ceil(round(epochs * steps_per_epoch(rows, batch_size), 6)))
    return steps if max_steps is None else min(steps, max_steps)


def make_schedule(optimizer: Any, name: str, warmup: float, steps: int) -> Any:
    """Return a scheduler to be stepped after each optimiser step.

    Args:
        optimizer: Its learning rate is the peak.
        name: ``cosine`` and ``linear`` end at 0; ``constant`` stays.
        warmup: Share of the steps in which the rate rises from 0, rounded up to whole steps.
        steps: Optimiser steps of the whole training.
    """
    from transformers import get_scheduler

    return get_scheduler(
        _NAMES[name], optimizer, num_warmup_steps=math.ceil(warmup * steps), num_training_steps=steps
    )
