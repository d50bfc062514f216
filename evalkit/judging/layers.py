"""Which samples a judge is asked about: those that metrics leave open, and a drawn share of the others.

A drawn sample stands for the others of its kind: its weight is their number over the number drawn. The draw has a
fixed size, so the weights add up to the number of samples and the weighted mean of the verdicts is an unbiased
estimate of what judging everything would have given (Horvitz and Thompson 1952).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from evalkit.records import Score, Unscored
from evalkit.signature import digest
from evalkit.specs.study import JudgeWhen

__all__ = ["is_open", "selected"]


def is_open(score: Score | None, when: JudgeWhen) -> bool:
    """Whether a metric leaves a sample open.

    >>> is_open(0.45, JudgeWhen(near=[0.5, 0.1])), is_open(0.9, JudgeWhen(near=[0.5, 0.1]))
    (True, False)
    """
    if score is None or isinstance(score, Unscored):
        return when.unscored
    if when.near is not None and abs(score - when.near[0]) <= when.near[1]:
        return True
    if when.above is None and when.below is None:
        return False
    return (when.above is None or score > when.above) and (when.below is None or score < when.below)


def selected(
    ids: Sequence[str], scores: Iterable[Mapping[str, Score]], when: JudgeWhen, *, seed: int
) -> dict[str, float]:
    """Return the samples of a task to judge and the weight of each.

    Args:
        ids: n ids of the task's samples.
        scores: One mapping a candidate: sample id → its score in the deciding metric.
        when: The study's ``when:``.
        seed: Of the draw, which depends on the ids alone.
    """
    candidates = list(scores)
    chosen = {id: 1.0 for id in ids if any(is_open(own[id], when) for own in candidates if id in own)}
    others = [id for id in ids if id not in chosen]
    count = min(len(others), max(1, round(when.rate * len(others)))) if when.rate > 0 and others else 0
    drawn = sorted(others, key=lambda id: digest([seed, "judge", id]))[:count]
    return {**chosen, **{id: len(others) / count for id in drawn}}
