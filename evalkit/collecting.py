"""How often a command looks for cyclic garbage: seldom while it starts.

Importing makes a million objects that stay, and the collector walks over all of them again and again: a quarter of
the time from the command to the first answer. What comes then is left to the collector's own pace, because a cycle may
hold tensors.
"""

from __future__ import annotations

import gc

__all__ = ["started", "starting"]

SELDOM = (200_000, 30, 30)
"""As mypy sets it for itself: a look at the youngest objects after 200,000 new ones, not after 700."""
_before: list[tuple[int, int, int]] = []


def starting() -> None:
    """Let the collector look seldom from now on, until ``started``: for a process that is the command's own."""
    if not _before:
        _before.append(gc.get_threshold())
        gc.set_threshold(*SELDOM)


def started() -> None:
    """What was made since ``starting`` stays and is not looked at again; the collector goes on at its own pace.

    Nothing happens in a process that is not the command's own.
    """
    if _before:
        gc.freeze()
        gc.set_threshold(*_before.pop())
