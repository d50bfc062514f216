"""How far a judge's number may be trusted, in words that stand beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["UNCALIBRATED", "judge_notes", "trust_in"]

UNCALIBRATED = "uncalibrated judge"


def trust_in(metric: str, results: Mapping[str, Any]) -> str:
    """Return ``uncalibrated judge``, ``calibrated judge``, or nothing for a number that no judge made.

    >>> trust_in("judge:tone.warmth", {"judges": [{"name": "tone", "calibrated": False}]})
    'uncalibrated judge'
    >>> trust_in("exact_match", {})
    ''
    """
    if not metric.startswith("judge:"):
        return ""
    told = metric.removeprefix("judge:")
    for entry in results.get("judges") or []:
        name = str(entry["name"])
        if (told == name or told.startswith(f"{name}.")) and entry.get("calibrated"):
            return "calibrated judge"
    return UNCALIBRATED


def judge_notes(results: Mapping[str, Any]) -> list[str]:
    """One remark a judge: who judged, on how many samples, and how far its numbers can be trusted."""
    notes = []
    for entry in results.get("judges") or []:
        models = ", ".join(entry.get("models") or [])
        text = f"judge:{entry['name']} ({models}) gave {entry['judged'] - entry['unscored']} verdicts"
        if entry["unscored"]:
            text += f", {entry['unscored']} are unscored"
        if entry.get("aggregate"):
            text += f"; a jury, {entry['aggregate']}, that disagrees on {entry['disputed']} answers"
        text += "."
        if not entry.get("calibrated"):
            text += (
                " It is UNCALIBRATED: nobody has compared it with people here, so its numbers show what this model "
                f"prefers, not how good the answers are (evalkit calibrate RUN --judge {entry['name']} --labels FILE)."
            )
        if entry.get("error"):
            text += f" It could not be finished: {entry['error']}."
        notes.append(text)
    return notes
