"""How far a judge's number may be trusted, in words that stand beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.judging.trust import judges_of, trust_in
from evalkit.reporting import formats

__all__ = ["Leaning", "judge_lines", "judge_notes", "leaning_in", "leanings"]

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Leaning:
    """One thing besides the answer that sways a judge, as a run measured it.

    Attributes:
        short: What stands beside numbers.
        long: What it is.
        value: ``{"value", "low", "high"}``.
        shift: True where 0 is none; else a share.
    """

    short: str
    long: str
    value: Json
    shift: bool

    @property
    def figures(self) -> str:
        """The value with its interval."""
        row, digits = self.value, 2
        number = (formats.signed if self.shift else formats.number)(row["value"], digits)
        ends = "" if row.get("low") is None else f" {formats.span(row['low'], row['high'], digits)}"
        return number + ends


_LEANINGS = (
    ("position_flips", "turned round", "of its verdicts turned round when the sides were exchanged", False),
    ("first_shown", "first shown", "of what it decided went to the answer shown first (0.5 is fair)", False),
    ("length_slope", "length", "on its score for twice the length", True),
    ("format_slope", "Markdown", "on its score for twice the Markdown, at equal length", True),
    ("repeats", "repeats", "of its verdicts were the same when it was asked again", False),
    ("own_family", "own family", "for candidates of its own family, above what others gave them", True),
)


def leanings(entry: Json) -> list[Leaning]:
    """What sways a judge, where its run could measure it.

    Args:
        entry: The judge's object in ``results.json``.

    >>> [one.short for one in leanings({"bias": {"repeats": {"value": 1.0, "low": 0.7, "high": 1.0}}})]
    ['repeats']
    """
    return list(_measured(entry.get("bias") or {}))


def _measured(bias: Json) -> Iterator[Leaning]:
    for key, short, long, shift in _LEANINGS:
        row = bias.get(key)
        if row and row.get("value") is not None:
            yield Leaning(short, long, row, shift)
    for row in bias.get("wins") or []:
        own = f" of {row['candidate']}" if len(bias["wins"]) > 1 else ""
        for key, what in (("length_slope", "length"), ("format_slope", "Markdown")):
            slope = row.get(key)
            if slope and slope.get("value") is not None:
                yield Leaning(f"{what}{own}", f"on the log-odds of a win{own} for more {what}", slope, True)
    for name, own_bias in (bias.get("members") or {}).items():
        label = name.partition("@")[2]
        for one in _measured(own_bias):
            yield Leaning(f"{label}: {one.short}", f"{one.long} ({label})", one.value, one.shift)


def leaning_in(metric: str, results: Json) -> str:
    """What stands beside a judge's number: what sways it, short; nothing for a number that no judge made.

    >>> bias = {"repeats": {"value": 0.9, "low": 0.6, "high": 1.0}, "length_slope": {"value": 0.31}}
    >>> leaning_in("judge:tone", {"judges": [{"name": "tone", "bias": bias}]})
    'length +0.31, repeats 0.90'
    """
    told = []
    entries = judges_of(metric, results)
    for entry in entries:
        sways = [
            f"{one.short} {(formats.signed if one.shift else formats.number)(one.value['value'], 2)}"
            for one in leanings(entry)
        ]
        run = f"{entry['run']}: " if len(entries) > 1 and entry.get("run") else ""
        told += [run + ", ".join(sways)] if sways else []
    return "; ".join(told)


def judge_lines(results: Json, names: Collection[str]) -> list[str]:
    """One line a number that these judges made, with how far it is to be trusted."""
    lines = []
    for row in results["scores"]:
        metric = str(row["metric"])
        if not any(entry["name"] in names for entry in judges_of(metric, results)):
            continue
        figures = "no value" if row["value"] is None else f"{row['value']:.3f}"
        if row.get("low") is not None:
            figures += f" [{row['low']:.3f}, {row['high']:.3f}]"
        sways = leaning_in(metric, results)
        lines.append(
            f"{row['candidate']} | {row['task']} | {metric} | {figures} | n {row['n']} (+{row['unscored']} unscored)"
            f" | {trust_in(metric, results)}{f' ({sways})' if sways else ''}"
        )
    return lines


def judge_notes(results: Json) -> list[str]:
    """One remark a judge: who judged, on how many samples, and how far its numbers can be trusted."""
    notes = []
    for entry in results.get("judges") or []:
        models = ", ".join(entry.get("models") or []) + (", recorded" if entry.get("recorded") else "")
        text = f"judge:{entry['name']} ({models}) gave {entry['judged'] - entry['unscored']} verdicts"
        if entry["unscored"]:
            text += f", {entry['unscored']} are unscored"
            text += " (nobody recorded one on that very answer)" if entry.get("recorded") else ""
        if entry.get("aggregate"):
            text += f"; a jury, {entry['aggregate']}, that disagrees on {entry['disputed']} answers"
        text += "."
        if not entry.get("calibrated"):
            text += (
                " It is UNCALIBRATED: nobody has compared it with people here, so its numbers show what this model "
                f"prefers, not how good the answers are (evalkit calibrate RUN --judge {entry['name']} --labels FILE)."
            )
        if sways := [f"{one.figures} {one.long}" for one in leanings(entry)]:
            text += f" What sways it: {'; '.join(sways)}."
        if entry.get("error"):
            text += f" It could not be finished: {entry['error']}."
        notes.append(text)
    return notes
