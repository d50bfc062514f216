"""Which candidates train in one pass over their common base, and why others train alone.

This is decided by settings; whether the base's architecture can be run in streams at all is probed when a
training starts (``sharing``).
"""

from __future__ import annotations

from collections.abc import Hashable

from evalkit.specs.trainer import QloraSettings

__all__ = ["COMMON", "pass_key", "why_alone"]

COMMON = ("precision", "gradient_checkpointing", "offload", "speed")
"""Settings that are the same for all candidates of a pass."""


def why_alone(settings: QloraSettings) -> str | None:
    """Return what keeps a candidate from training together with others; None: nothing.

    Ranks, alphas, targets, learning rates, schedules, optimisers, batches, lengths, seeds and dropout may differ
    between candidates of one pass.

    >>> why_alone(QloraSettings(dora=True))
    'dora changes the base layers themselves'
    """
    if settings.dora:
        return "dora changes the base layers themselves"
    if settings.model_dropout:
        return "model_dropout concerns the base itself"
    if settings.speed == "plain":
        return "speed: plain runs its rows padded"
    return None


def pass_key(settings: QloraSettings) -> Hashable:
    """Return what candidates of one pass have in common beside their base, quantisation and trainer."""
    return tuple(getattr(settings, name) for name in COMMON)
