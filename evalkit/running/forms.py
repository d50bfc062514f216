"""What becomes of an adapter when it is shipped: each merged form beside the adapter as it was trained and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.records import Comparison
from evalkit.running.done import Done
from evalkit.running.folder import RunFolder
from evalkit.running.score import compare_scored, correct
from evalkit.specs.study import StatisticsSpec

__all__ = ["compare_forms"]


def compare_forms(
    everything: Sequence[Done],
    folder: RunFolder,
    primaries: Mapping[str, str],
    seed: int,
    asked: StatisticsSpec,
) -> list[dict[str, Any]]:
    """Compare every form with its adapter, on the same samples.

    Args:
        everything: The candidates of a run.
        folder: Where their answers are.
        primaries: Task → its primary metric: these comparisons are one family that is corrected for their number.
        seed: Of the resampling.
        asked: How to compare.

    Returns:
        Comparisons as in ``results.json``, ``control`` the adapter, with ``changed``: how many of its answers are
        other ones.
    """
    by_name = {member.planned.name: member for member in everything}
    made: list[Comparison] = []
    for member in everything:
        adapter = by_name.get(member.planned.of or "")
        for task, scored in member.scored.items():
            if adapter is not None and task in adapter.scored:
                made += compare_scored(
                    scored,
                    adapter.scored[task],
                    candidate=member.planned.name,
                    control=adapter.planned.name,
                    task=task,
                    seed=seed,
                    exact=asked.exact,
                )
    family = [row for row in made if primaries[row.task] == row.metric]
    corrected = {
        id(row): new for row, new in zip(family, correct(family, method=asked.correction), strict=True)
    }
    changed = {
        pair: _changed(folder, *pair) for pair in {(row.candidate, row.control, row.task) for row in made}
    }
    return [
        {**corrected.get(id(row), row).to_json(), "changed": changed[row.candidate, row.control, row.task]}
        for row in made
    ]


def _changed(folder: RunFolder, form: str, adapter: str, task: str) -> int:
    before = {row["id"]: row["output"] for row in folder.samples(adapter, task)}
    return sum(before.get(row["id"], row["output"]) != row["output"] for row in folder.samples(form, task))
