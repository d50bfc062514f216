"""Whether a number that a judge made has been held against people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["UNCALIBRATED", "judges_of", "trust_in"]

Json = Mapping[str, Any]
UNCALIBRATED = "uncalibrated judge"


def trust_in(metric: str, results: Json) -> str:
    """Return ``uncalibrated judge``, ``calibrated judge``, or nothing for a number that no judge made.

    A judge's own value and each of its criteria are calibrated on their own; of several runs, in all of them.

    >>> trust_in("judge:tone.warmth", {"judges": [{"name": "tone", "calibrated": True}]})
    'uncalibrated judge'
    >>> trust_in("exact_match", {})
    ''
    """
    if not metric.startswith("judge:"):
        return ""
    entries = judges_of(metric, results)
    done = entries and all(_calibrated(metric.removeprefix("judge:"), entry) for entry in entries)
    return "calibrated judge" if done else UNCALIBRATED


def _calibrated(told: str, entry: Json) -> bool:
    if told == entry["name"]:
        return bool(entry.get("calibrated"))
    return told.removeprefix(f"{entry['name']}.") in (entry.get("calibrated_criteria") or [])


def judges_of(metric: str, results: Json) -> list[Json]:
    """The judges that made a number: one, or one a run."""
    told = metric.removeprefix("judge:")
    names = [str(entry["name"]) for entry in results.get("judges") or []]
    own = [
        name
        for name in names
        if metric.startswith("judge:") and (told == name or told.startswith(f"{name}."))
    ]
    longest = max(own, key=len, default=None)
    return [entry for entry in results.get("judges") or [] if str(entry["name"]) == longest]
