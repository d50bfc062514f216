"""The searches of a plan (``search: {rungs, keep}``): who competes with whom, and where their decisions are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.errors import SpecError
from evalkit.running.cache import Cache
from evalkit.running.plan import Plan, Planned
from evalkit.running.together import rivals, takes_many
from evalkit.signature import digest
from evalkit.specs.study import Search, TrainCandidate
from evalkit.training.halving import Decision, Halving, places, rung_step
from evalkit.training.schedule import total_steps

__all__ = ["check_searches", "check_steps", "describe_search", "kept_search", "searches"]


def searches(plan: Plan) -> list[tuple[Search, tuple[Planned, ...]]]:
    """Return each search of a plan with its candidates, in the study's order."""
    found: dict[str, tuple[Search, tuple[Planned, ...]]] = {}
    for planned in plan.candidates:
        if isinstance(planned.spec, TrainCandidate) and planned.spec.search is not None:
            members = rivals(planned, plan)
            if members:
                found.setdefault(planned.spec.name, (planned.spec.search, members))
    return list(found.values())


def check_searches(plan: Plan) -> None:
    """Check that candidates of a search can be trained step by step beside each other.

    Raises:
        SpecError: Their trainer has no ``train_many``.
    """
    problems = [
        f"{plan.path}: candidate {spec.name!r}: `search` needs a trainer with train_many, which "
        f"{spec.trainer!r} does not have; take the search out, or write train_many as trainers/qlora/train.py has it."
        for spec in {id(p.spec): p.spec for _, members in searches(plan) for p in members}.values()
        if isinstance(spec, TrainCandidate) and not takes_many(spec.trainer, plan)
    ]
    if problems:
        raise SpecError(*dict.fromkeys(problems))


def check_steps(plan: Plan, planned: Planned, rows: int) -> None:
    """Check that there is an optimiser step for every rung.

    Raises:
        SpecError: There are fewer.
    """
    search = planned.spec.search if isinstance(planned.spec, TrainCandidate) else None
    if search is not None and rivals(planned, plan) and _steps(planned, rows) < search.rungs:
        raise SpecError(
            f"{plan.path}: candidate {planned.name!r}: {search.rungs} rungs need as many optimiser steps, and it "
            f"takes {_steps(planned, rows)}; write fewer rungs, or more epochs."
        )


def kept_search(search: Search, members: Sequence[Planned], keys: Sequence[str], cache: Cache) -> Halving:
    """Return a search that goes on from the decisions a killed process made, and keeps its own in the cache.

    Args:
        search: Its settings.
        members: Its candidates.
        keys: Of their adapters, one a candidate: decisions are kept under these, whatever candidates are called.
        cache: Where to.
    """
    names = [member.name for member in members]
    key = digest({"stage": "search", "version": 1, "members": list(keys), **search.model_dump(mode="json")})

    def record(decisions: list[Decision]) -> None:
        cache.put(key, [[[names.index(name), told] for name, told in made.items()] for made in decisions])

    known: list[list[Any]] = cache.get_many([key]).get(key, [])
    return Halving(
        {member.name: member.settings.learning_rate for member in members},
        search.rungs,
        search.keep,
        [{names[number]: told for number, told in made} for made in known],
        record,
    )


def describe_search(search: Search, members: Sequence[Planned], rows: int, tokens: float) -> dict[str, Any]:
    """Say before a run when candidates of a search are compared, how many go on, and what that saves.

    Args:
        search: Its settings.
        members: Its candidates.
        rows: Training rows of each.
        tokens: Of a row, on average.

    Returns:
        ``candidate``, ``candidates``, ``rungs``, ``keep``, ``bands`` (learning rate → candidates, of which one stays
        until the end), ``at`` (``rung``, ``after`` (candidate → optimiser steps) and ``go_on``, one a rung but the
        last), ``tokens`` of training without the search and ``tokens_low`` and ``tokens_high`` with it: they differ
        where candidates have schedules of different length.
    """
    steps = {member.name: _steps(member, rows) for member in members}
    bands: dict[str, list[str]] = {}
    for member in members:
        bands.setdefault(f"{member.settings.learning_rate:g}", []).append(member.name)
    going = places(len(members), len(bands), search.rungs, search.keep)
    costs = sorted(tokens * steps[member.name] * _rows_a_step(member, rows) for member in members)
    left = [len(members), *going]
    return {
        "candidate": getattr(members[0].spec, "name", ""),
        "candidates": list(steps),
        "rungs": search.rungs,
        "keep": search.keep,
        "bands": bands,
        "at": [
            {
                "rung": rung,
                "after": {name: rung_step(rung, search.rungs, count) for name, count in steps.items()},
                "go_on": count,
            }
            for rung, count in enumerate(going, 1)
        ],
        "tokens": round(sum(costs)),
        "tokens_low": round(sum(sum(costs[:count]) for count in left) / search.rungs),
        "tokens_high": round(sum(sum(costs[len(costs) - count :]) for count in left) / search.rungs),
    }


def _rows_a_step(member: Planned, rows: int) -> float:
    """Rows of an optimiser step, on average over an epoch, whose last step may see fewer."""
    return rows / -(-rows // int(member.settings.batch_size))


def _steps(planned: Planned, rows: int) -> int:
    settings = planned.settings
    return total_steps(rows, settings.batch_size, settings.epochs, settings.max_steps)
