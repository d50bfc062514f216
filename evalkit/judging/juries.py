"""Several judges on one sample: pure functions from their rows to one row. Asking is elsewhere."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from evalkit.judging.records import Judgement

__all__ = ["Aggregate", "aggregate", "disputed", "jury_row"]

Aggregate = Literal["majority", "mean", "quorum", "weighted"]


def aggregate(
    votes: Mapping[str, float | None],
    how: Aggregate,
    *,
    quorum: int | None = None,
    weights: Mapping[str, float] | None = None,
) -> float | str:
    """Return the jury's value, or why there is none.

    Args:
        votes: Member → value; None where it gave none.
        how: ``mean``; ``majority``: the value that more than half of the votes given have (a score rounded to
            whole steps); ``quorum``: a value that at least ``quorum`` members have; ``weighted``: the weighted mean.
        quorum: For ``quorum``.
        weights: For ``weighted``: by member, such as agreement with people.

    >>> aggregate({"a": 4.0, "b": 4.0, "c": 1.0}, "majority")
    4.0
    >>> aggregate({"a": 4.0, "b": 2.0}, "majority")
    'no majority among 2 votes'
    >>> aggregate({"a": 4.0, "b": 1.0}, "weighted", weights={"a": 2.0, "b": 1.0})
    3.0
    """
    given = {name: value for name, value in votes.items() if value is not None}
    if not given:
        return "no member of the jury gave a verdict"
    if how == "mean":
        return statistics.fmean(given.values())
    if how == "weighted":
        shares = {name: (weights or {}).get(name, 1.0) for name in given}
        if sum(shares.values()) == 0:
            return "no member with a vote has any weight"
        return sum(shares[name] * value for name, value in given.items()) / sum(shares.values())
    counts = Counter(round(2 * value) / 2 for value in given.values()).most_common()
    value, most = counts[0]
    needed = quorum if how == "quorum" and quorum is not None else len(given) // 2 + 1
    if most < needed or (len(counts) > 1 and counts[1][1] == most):
        return (
            f"no majority among {len(given)} votes"
            if how == "majority"
            else f"no value has the {needed} votes of the quorum"
        )
    return value


def jury_row(
    rows: Mapping[str, Judgement],
    how: Aggregate,
    bounds: tuple[float, float],
    *,
    quorum: int | None = None,
    weights: Mapping[str, float] | None = None,
) -> Judgement:
    """Return the jury's row on one sample of one candidate.

    Args:
        rows: Member → its row.
        how: See ``aggregate``.
        bounds: Least and greatest value a member may give.
        quorum: See ``aggregate``.
        weights: See ``aggregate``.
    """
    members = list(rows.values())
    votes = {name: row.value for name, row in rows.items()}
    found = aggregate(votes, how, quorum=quorum, weights=weights)
    costs = [row.cost for row in members if row.cost is not None]
    whole = replace(
        members[0],
        score=None,
        winner=None,
        answers=None,
        unscored=None,
        value=None,
        criteria=None,
        replies=(),
        orders=(),
        probabilities=(),
        repeats=(),
        model="",
        reason="\n".join(
            f"{name}: {row.reason or row.unscored or ''}".rstrip() for name, row in rows.items()
        ),
        votes=votes,
        disagreement=_spread(list(votes.values()), bounds),
        calls=sum(row.calls for row in members),
        tokens=sum(row.tokens for row in members),
        seconds=sum(row.seconds for row in members),
        cost=sum(costs) if costs else None,
    )
    if isinstance(found, str):
        return replace(whole, unscored=found)
    if any(row.winner is not None for row in members):
        return replace(whole, winner="A" if found > 0.5 else "B" if found < 0.5 else "tie", value=found)
    return replace(whole, score=found, value=found)


def disputed(rows: Iterable[Judgement], *, at_least: float = 0.0) -> list[Judgement]:
    """The rows that people should look at first: those a jury disagrees on, and those it could not score.

    Args:
        rows: Of a jury.
        at_least: Least disagreement, in 0–1, exclusive.

    Returns:
        The most disputed first.
    """
    found = [
        row
        for row in rows
        if row.votes is not None and (row.unscored is not None or (row.disagreement or 0.0) > at_least)
    ]
    return sorted(found, key=lambda row: (row.unscored is None, -(row.disagreement or 0.0)))


def _spread(values: Sequence[float | None], bounds: tuple[float, float]) -> float | None:
    """Distance of the farthest votes as a share of the scale; None below two votes."""
    given = [value for value in values if value is not None]
    return (max(given) - min(given)) / (bounds[1] - bounds[0]) if len(given) > 1 else None
