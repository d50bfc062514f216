"""Where the seconds of a training go: rows into tensors, forward, backward, optimiser, validation.

Wall time, read without waiting for the device. On a CPU it is what each phase took. CUDA runs its kernels later than
they are asked for, so there a phase is charged for what it waited: all of a step is counted, its split is rough.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["PHASES", "Clock", "add_phases", "phase_totals", "share_phases"]

PHASES = ("data", "forward", "backward", "optimizer", "validation")
"""Of a step, in their order; the head's share is in forward and backward."""


class Clock:
    """Adds up wall seconds by phase.

    >>> clock = Clock()
    >>> with clock("forward"):
    ...     pass
    >>> list(clock.seconds), clock.total >= 0
    (['forward'], True)
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Charge the block to a phase."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - began

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())


def add_phases(reading: dict[str, Any], spent: Mapping[str, float], share: float = 1.0) -> None:
    """Add seconds to a row of the log, by phase and in all.

    Args:
        reading: Its ``seconds_by_phase`` and ``seconds`` grow.
        spent: Phase → seconds.
        share: The candidate's part of them, where a pass is common to several.
    """
    phases = reading.setdefault("seconds_by_phase", dict.fromkeys(PHASES, 0.0))
    for phase, seconds in spent.items():
        phases[phase] += seconds * share
        reading["seconds"] += seconds * share


def share_phases(
    readings: Mapping[str, dict[str, Any]], spent: Mapping[str, float], tokens: Mapping[str, int]
) -> None:
    """Add the seconds of a common pass to the candidates' rows of the log, divided by tokens.

    Args:
        readings: Candidate → its row.
        spent: Phase → seconds.
        tokens: Candidate → how many were run for it.
    """
    for owner, count in tokens.items():
        add_phases(readings[owner], spent, count / sum(tokens.values()))


def phase_totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Add up a log's seconds by phase.

    >>> rows = [{"seconds_by_phase": {"forward": 1.0}}, {"seconds_by_phase": {"forward": 0.5}}]
    >>> phase_totals(rows)["forward"]
    1.5
    """
    return {
        phase: round(sum(row.get("seconds_by_phase", {}).get(phase, 0.0) for row in rows), 6)
        for phase in PHASES
    }
