"""What becomes of an adapter when it is shipped: each merged form beside the adapter as it was trained and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.running.done import Done
from evalkit.running.folder import RunFolder
from evalkit.running.noise import Sds
from evalkit.running.pairs import compare_pairs
from evalkit.specs.study import StatisticsSpec

__all__ = ["compare_forms"]


def compare_forms(
    everything: Sequence[Done],
    folder: RunFolder,
    primaries: Mapping[str, str],
    seed: int,
    asked: StatisticsSpec,
    sds: Sds,
) -> list[dict[str, Any]]:
    """Compare every form with its adapter, on the same samples.

    Args:
        everything: The candidates of a run.
        folder: Where their answers are.
        primaries: Task → its primary metric: these comparisons are one family that is corrected for their number.
        seed: Of the resampling.
        asked: How to compare.
        sds: Of the shift between numerical realisations.

    Returns:
        Comparisons as in ``results.json``, ``control`` the adapter, with ``changed``: how many of its answers are
        other ones.
    """
    by_name = {member.planned.name: member for member in everything}
    pairs = [(member, by_name[member.planned.of]) for member in everything if member.planned.of in by_name]
    made = compare_pairs(pairs, primaries, seed, asked, sds)
    changed = {
        pair: _changed(folder, *pair) for pair in {(row.candidate, row.control, row.task) for row in made}
    }
    return [{**row.to_json(), "changed": changed[row.candidate, row.control, row.task]} for row in made]


def _changed(folder: RunFolder, form: str, adapter: str, task: str) -> int:
    before = {row["id"]: row["output"] for row in folder.samples(adapter, task)}
    return sum(before.get(row["id"], row["output"]) != row["output"] for row in folder.samples(form, task))
