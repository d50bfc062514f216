"""The learning rate over the steps: transformers' own schedules."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["make_schedule"]

_NAMES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def make_schedule(optimizer: Any, name: str, warmup: float, steps: int) -> Any:
    """Return a scheduler to be stepped after each optimiser step.

    Args:
        optimizer: Its learning rate is the peak.
        name: ``cosine`` and ``linear`` end at 0; ``constant`` stays.
        warmup: Share of the steps in which the rate rises from 0, rounded up to whole steps, but never all of them:
            the first one is taken at a rate of 0, and a training of one step would change nothing.
        steps: Optimiser steps of the whole training.
    """
    from transformers import get_scheduler

    rising = min(math.ceil(warmup * steps), steps - 1)
    return get_scheduler(_NAMES[name], optimizer, num_warmup_steps=rising, num_training_steps=steps)
