"""Which trained candidates of a plan share a pass over their base, and why the others train alone."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from evalkit.catalog import find
from evalkit.running.plan import Plan, Planned
from evalkit.specs.study import TrainCandidate
from evalkit.training.joining import pass_key, why_alone

__all__ = ["Pass", "passes"]


@dataclass(frozen=True, slots=True)
class Pass:
    """Candidates that train in one pass.

    Attributes:
        members: In the plan's order; at least one.
        reason: Why a single member is alone; None where it could be joined.
    """

    members: tuple[Planned, ...]
    reason: str | None = None


def passes(plan: Plan) -> list[Pass]:
    """Return the passes in which a plan's candidates train, as far as settings decide it.

    Candidates join that have the same base, quantisation, dtype, device and trainer. Where the base's
    architecture turns out not to be exact in streams, they are trained one after the other.
    """
    groups: dict[Hashable, list[Planned]] = {}
    alone: dict[Hashable, str] = {}
    for number, planned in enumerate(plan.candidates):
        if not isinstance(planned.spec, TrainCandidate):
            continue
        reason = why_alone(planned.settings) or _trainer_alone(planned.spec.trainer, plan)
        key: Hashable = (planned.base, planned.spec.trainer, pass_key(planned.settings))
        if reason is not None:
            key = number
            alone[key] = reason
        groups.setdefault(key, []).append(planned)
    return [Pass(tuple(members), alone.get(key)) for key, members in groups.items()]


def _trainer_alone(trainer: str, plan: Plan) -> str | None:
    loop = find("trainers", trainer, plan.roots).path / "train.py"
    if "def train_many(" in loop.read_text(encoding="utf-8"):
        return None
    return f"the trainer {trainer} has no train_many"
