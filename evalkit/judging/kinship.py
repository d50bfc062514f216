"""Does a judge favour its own family of models? (Panickssery et al. 2024, arXiv:2404.13076.)"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np

from evalkit.judging.records import Judgement
from evalkit.stats.bootstrap import Interval, bootstrap_interval
from evalkit.stats.resampling import Array

__all__ = ["Answer", "family_of", "self_preference"]

Answer: TypeAlias = tuple[str, str, str]
"""Candidate, task, sample id."""

FAMILIES = {
    "gpt": r"gpt|chatgpt|\bo[1-9]\b|davinci",
    "claude": r"claude",
    "gemini": r"gemini|palm",
    "gemma": r"gemma",
    "llama": r"llama|vicuna|alpaca",
    "qwen": r"qwen|qwq",
    "mistral": r"mistral|mixtral|ministral|codestral|magistral",
    "deepseek": r"deepseek",
    "smollm": r"smollm",
    "phi": r"\bphi",
    "olmo": r"olmo|tulu",
    "granite": r"granite",
    "command": r"command-?r|cohere|aya",
}


def family_of(model: str | None) -> str | None:
    """Return the family that a model's name tells, or None.

    >>> family_of("meta-llama/Llama-3.1-8B-Instruct"), family_of("my-model")
    ('llama', None)
    """
    name = (model or "").lower()
    return next((family for family, pattern in FAMILIES.items() if re.search(pattern, name)), None)


def self_preference(
    rows: Iterable[Judgement],
    kin: set[str],
    reference: Mapping[Answer, float],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """Return by how much a judge lifts its own family above what a reference says of the same answers.

    (judge − reference, mean over its own family) − (the same over the others): a difference in differences, since
    its family may simply be better. Of pairs those count in which one side is of its family: judge − reference,
    of the points of that side. The interval is over samples.

    Args:
        rows: Its verdicts.
        kin: Candidates of the judge's family.
        reference: What others gave the same answers, on the judge's scale.
        confidence: Two-sided level of the interval.
        seed: Of the bootstrap.

    Returns:
        In units of the judge's scale; None without a reference, without kin, or without anybody else.
    """
    gaps = [
        (row, row.value - reference[key])
        for row in rows
        for key in [(row.candidate, row.task, row.id)]
        if row.value is not None and key in reference
    ]
    columns: list[list[float]] = []
    kept = []
    for row, gap in gaps:
        mine = row.candidate in kin
        if row.opponent is None:
            columns.append([gap, 1.0, 0.0, 0.0] if mine else [0.0, 0.0, gap, 1.0])
        elif mine != (row.opponent in kin):
            columns.append([gap if mine else -gap, 1.0, 0.0, 0.0])
        else:
            continue
        kept.append(row)
    pairs = all(row.opponent is not None for row in kept)
    ours, others = (sum(column[place] for column in columns) for place in (1, 3))
    if ours == 0 or (others == 0 and not pairs):
        return None

    def difference(totals: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            apart = 0.0 if pairs else totals[..., 2] / totals[..., 3]
            return np.asarray(totals[..., 0] / totals[..., 1] - apart)

    clusters = [f"{row.task}\0{row.id}" for row in kept]
    return bootstrap_interval(
        np.array(columns), difference, clusters=clusters, confidence=confidence, resamples=2_000, seed=seed
    )
