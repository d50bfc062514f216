"""Candidates whose training goes on from another's adapter: ``start: OTHER``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.errors import CandidateError, SpecError
from evalkit.models.hashing import read_adapter_config
from evalkit.running.plan import Plan, Planned
from evalkit.specs.study import AdapterCandidate, TrainCandidate

__all__ = ["check_starts", "generation", "parent_of"]

SHAPE = ("rank", "alpha", "targets", "rslora", "dora")
"""Settings that say what the numbers of an adapter mean: they must be the same for it to go on."""
IN_PEFT = {"rank": "r", "alpha": "lora_alpha", "rslora": "use_rslora", "dora": "use_dora"}


def parent_of(planned: Planned, plan: Plan) -> Planned | None:
    """Return the candidate that one starts from; None for one that starts anew."""
    start = planned.spec.start if isinstance(planned.spec, TrainCandidate) else None
    return next((other for other in plan.candidates if other.name == start), None)


def generation(planned: Planned, plan: Plan) -> int:
    """How many trainings come before a candidate's own: it cannot train beside them."""
    parent = parent_of(planned, plan)
    return 0 if parent is None or parent.kind != "train" else 1 + generation(parent, plan)


def check_starts(plan: Plan) -> None:
    """Check that every candidate fits the one that it starts from, as far as settings tell.

    Raises:
        SpecError: One message a candidate: another base, or adapters that differ in shape or scale.
    """
    problems = [problem for planned in plan.candidates for problem in _problems(planned, plan)]
    if problems:
        raise SpecError(*problems)


def _problems(planned: Planned, plan: Plan) -> Iterator[str]:
    parent = parent_of(planned, plan)
    if parent is None:
        return
    where = f"{plan.path}: candidate {planned.name!r} starts from {parent.name!r}"
    if parent.base != planned.base:
        yield f"{where}, which stands on another base: give both the same model, quantization and dtype."
        return
    try:
        theirs = _shape(parent)
    except CandidateError as error:
        yield f"{where}: {error}"
        return
    for name, other in theirs.items():
        own = getattr(planned.settings, name)
        if own != other:
            yield f"{where}, whose {name} is {_plain(other)}, not {_plain(own)}: write {name}: {_plain(other)}."


def _shape(parent: Planned) -> Mapping[str, Any]:
    if isinstance(parent.spec, AdapterCandidate):
        config = read_adapter_config(parent.spec.path)
        return {name: config[key] for name, key in IN_PEFT.items() if key in config}
    return {name: getattr(parent.settings, name) for name in SHAPE}


def _plain(value: Any) -> str:
    """Write a setting as YAML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
