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
from evalkit.training.course import course_of
from evalkit.training.halving import Decision, Halving, least_steps, places, rung_step

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


def check_steps(plan: Plan, planned: Planned, lengths: Sequence[int], about: str = "about") -> None:
    """Check that every candidate has learned something before the first rung, and between rungs.

    Args:
        plan: The plan.
        planned: One of its candidates.
        lengths: About how many tokens each of its training rows has.
        about: What the number of steps is where it follows from them.

    Raises:
        SpecError: There are fewer.
    """
    search = planned.spec.search if isinstance(planned.spec, TrainCandidate) else None
    if search is None or not rivals(planned, plan):
        return
    steps = course_of(planned.settings, lengths).total(planned.settings.epochs, planned.settings.max_steps)
    needed = least_steps(search.rungs, planned.settings.warmup)
    if steps < needed:
        takes = f"{steps}" if planned.settings.batch_tokens is None else f"{about} {steps}"
        raise SpecError(
            f"{plan.path}: candidate {planned.name!r}: {search.rungs} rungs need {needed} optimiser steps, and it "
            f"takes {takes}; write fewer rungs, more epochs, or a smaller batch."
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


def describe_search(search: Search, members: Sequence[Planned], lengths: Sequence[int]) -> dict[str, Any]:
    """Say before a run when candidates of a search are compared, how many go on, and what that saves.

    Args:
        search: Its settings.
        members: Its candidates.
        lengths: About how many tokens each of their training rows has.

    Returns:
        ``candidate``, ``candidates``, ``rungs``, ``keep``, ``about`` (whether steps are estimates), ``bands`` (learning
        rate → candidates, of which one stays until the end), ``at`` (``rung``, ``after`` (candidate → optimiser steps)
        and ``go_on``, one a rung but the last), ``tokens`` of training without the search and ``tokens_low`` and
        ``tokens_high`` with it: they differ where candidates have schedules of different length.
    """
    courses = {member.name: course_of(member.settings, lengths) for member in members}
    steps = {m.name: courses[m.name].total(m.settings.epochs, m.settings.max_steps) for m in members}
    bands: dict[str, list[str]] = {}
    for member in members:
        bands.setdefault(f"{member.settings.learning_rate:g}", []).append(member.name)
    going = places(len(members), len(bands), search.rungs, search.keep)
    costs = sorted(sum(lengths) * course.epochs(steps[name]) for name, course in courses.items())
    left = [len(members), *going]
    return {
        "candidate": getattr(members[0].spec, "name", ""),
        "candidates": list(steps),
        "rungs": search.rungs,
        "keep": search.keep,
        "about": any(member.settings.batch_tokens is not None for member in members),
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
