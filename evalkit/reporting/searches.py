"""What searches decided: who was dropped at which rung, with which loss, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.running.done import dropped_at

__all__ = ["SearchRow", "SearchTable", "dropped_remarks", "search_tables"]

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SearchRow:
    """One candidate of a search.

    Attributes:
        candidate: The candidate.
        learning_rate: Its band; None where that is not known.
        looks: How it came out of each rung (``training.halving.Standing``); None where it did not come to it.
        end: What became of it.
    """

    candidate: str
    learning_rate: float | None
    looks: tuple[Json | None, ...]
    end: str


@dataclass(frozen=True, slots=True)
class SearchTable:
    """The decisions of one search.

    Attributes:
        search: The study's entry.
        rungs: Its rungs with a decision, from 1.
        of: All its rungs; the last is the end, where nobody is dropped.
        rows: Candidates, those that came furthest first, and among them those with the lowest loss.
    """

    search: str
    rungs: tuple[int, ...]
    of: int
    rows: tuple[SearchRow, ...]


def search_tables(results: Json) -> list[SearchTable]:
    """Return one table a search of a run, in the study's order."""
    entries: dict[str, list[Json]] = {}
    for entry in results.get("candidates", []):
        if entry.get("search"):
            entries.setdefault(str(entry["search"]), []).append(entry)
    return [found for name, members in entries.items() if (found := _table(name, members)) is not None]


def dropped_remarks(results: Json) -> list[str]:
    """Return one sentence a search that dropped somebody."""
    found = []
    for table in search_tables(results):
        lost = [row for row in table.rows if row.end.startswith("dropped")]
        names = ", ".join(f"{row.candidate} ({_rung(row)} of {table.of})" for row in lost)
        if lost:
            found.append(f"Dropped by validation loss in the search {table.search}, so not scored: {names}.")
    return found


def _rung(row: SearchRow) -> str:
    return f"at rung {sum(look is not None for look in row.looks)}"


def _table(name: str, members: list[Json]) -> SearchTable | None:
    looks = {entry["name"]: {row["rung"]: row for row in _standings(entry)} for entry in members}
    every = [row for rows in looks.values() for row in rows.values()]
    if not every:
        return None
    rungs = tuple(sorted({row["rung"] for row in every}))
    rows = [
        SearchRow(
            entry["name"],
            (entry.get("settings") or {}).get("learning_rate"),
            tuple(looks[entry["name"]].get(rung) for rung in rungs),
            _end(entry),
        )
        for entry in members
    ]
    return SearchTable(name, rungs, max(row["of"] for row in every), tuple(sorted(rows, key=_rank)))


def _standings(entry: Json) -> list[Json]:
    return list((entry.get("training") or {}).get("rungs") or [])


def _rank(row: SearchRow) -> tuple[int, float]:
    seen = [look for look in row.looks if look is not None]
    last = seen[-1]["loss"] if seen and seen[-1]["loss"] is not None else float("inf")
    return -sum(look["goes_on"] for look in seen), last


def _end(entry: Json) -> str:
    if entry.get("error"):
        return "could not be done"
    lost = dropped_at(entry)
    if lost is not None:
        return f"{lost}: {_standings(entry)[-1]['why']}"
    return "stopped early, scored" if (entry.get("training") or {}).get("stopped") == "early" else "scored"
