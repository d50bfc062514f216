"""Candidates of a run beside each other, as one family of comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from evalkit.records import Comparison
from evalkit.running.comparisons import compare_scored, correct
from evalkit.running.done import Done
from evalkit.running.noise import Sds, difference_sds
from evalkit.specs.study import StatisticsSpec

__all__ = ["compare_pairs"]


def compare_pairs(
    pairs: Iterable[tuple[Done, Done]],
    primaries: Mapping[str, str],
    seed: int,
    asked: StatisticsSpec,
    sds: Sds,
) -> list[Comparison]:
    """Compare candidates on every task that both have scores of.

    Args:
        pairs: (candidate, what it is compared with).
        primaries: Task → its primary metric. All pairs on these are one family, corrected for their number; the other
            metrics describe, and stay uncorrected.
        seed: Of the resampling.
        asked: Which methods.
        sds: Of the shift between numerical realisations.
    """
    made: list[Comparison] = []
    for member, other in pairs:
        for task, scored in member.scored.items():
            if task in other.scored:
                made += compare_scored(
                    scored,
                    other.scored[task],
                    candidate=member.planned.name,
                    control=other.planned.name,
                    task=task,
                    seed=seed,
                    exact=asked.exact,
                    noise=difference_sds(member.planned.name, other.planned.name, task, sds),
                )
    family = [row for row in made if primaries[row.task] == row.metric]
    corrected = {
        id(row): new for row, new in zip(family, correct(family, method=asked.correction), strict=True)
    }
    return [corrected.get(id(row), row) for row in made]
