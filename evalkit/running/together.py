"""Which trained candidates of a plan share a pass over their base, and why the others train alone."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from evalkit.catalog import find
from evalkit.running.lineage import generation
from evalkit.running.plan import Plan, Planned
from evalkit.specs.study import TrainCandidate
from evalkit.training.joining import COMMON, pass_key, why_alone

__all__ = ["Pass", "company", "passes", "rivals", "takes_many"]


@dataclass(frozen=True, slots=True)
class Pass:
    """Candidates that train in one pass.

    Attributes:
        members: In the plan's order; at least one.
        reason: Why a single member is alone; None where there is nobody else on its base, or several are here.
    """

    members: tuple[Planned, ...]
    reason: str | None = None


def passes(plan: Plan) -> list[Pass]:
    """Return the passes in which a plan's candidates train, as far as settings decide it.

    Candidates join that have the same base, quantisation, dtype, device and trainer, and start from no candidate of
    their own pass. Where the base's architecture turns out not to be exact in streams, they are trained one after
    the other.
    """
    groups: dict[Hashable, list[Planned]] = {}
    alone: dict[Hashable, str] = {}
    for number, planned in enumerate(plan.candidates):
        if not isinstance(planned.spec, TrainCandidate):
            continue
        reason = why_alone(planned.settings) or _trainer_alone(planned.spec.trainer, plan)
        settings, before = planned.settings, generation(planned, plan)
        key: Hashable = (planned.base, planned.spec.trainer, pass_key(settings), before)
        if reason is not None:
            key = number
            alone[key] = reason
        groups.setdefault(key, []).append(planned)
    for key, members in groups.items():
        if len(members) == 1 and key not in alone and (reason := _unlike(members[0], plan)) is not None:
            alone[key] = reason
    return [Pass(tuple(members), alone.get(key)) for key, members in groups.items()]


def _unlike(planned: Planned, plan: Plan) -> str | None:
    """Say what nobody else on a candidate's base has as well; None where there is nobody else."""
    own, before = planned.settings, generation(planned, plan)
    others = [
        other.settings
        for other in plan.candidates
        if isinstance(other.spec, TrainCandidate)
        and isinstance(planned.spec, TrainCandidate)
        and other is not planned
        and (other.base, other.spec.trainer) == (planned.base, planned.spec.trainer)
        and generation(other, plan) == before
    ]
    if not others:
        return "what it starts from is trained first" if before else None
    differ = [name for name in COMMON if all(getattr(other, name) != getattr(own, name) for other in others)]
    if not differ and all(pass_key(other) != pass_key(own) for other in others):
        return f"no other candidate has the same {', '.join(COMMON[:-1])} and {COMMON[-1]}"
    return f"no other candidate has its {' and its '.join(differ)}" if differ else None


def rivals(planned: Planned, plan: Plan) -> tuple[Planned, ...]:
    """Return the candidates of one's search, itself among them; nobody where it has none, or only itself."""
    if not isinstance(planned.spec, TrainCandidate) or planned.spec.search is None:
        return ()
    members = tuple(other for other in plan.candidates if other.entry == planned.entry)
    return members if len(members) > 1 else ()


def company(planned: Planned, plan: Plan) -> tuple[Planned, ...]:
    """Return those that are trained in one call with a candidate: of its pass, of its search, and of theirs."""
    groups = [found.members for found in passes(plan)]
    groups += [members for other in plan.candidates if (members := rivals(other, plan))]
    found = {planned.name}
    while True:
        more = {m.name for group in groups if any(m.name in found for m in group) for m in group}
        if more <= found:
            return tuple(member for member in plan.candidates if member.name in found)
        found |= more


def takes_many(trainer: str, plan: Plan) -> bool:
    """Whether a trainer trains several candidates at once."""
    loop = find("trainers", trainer, plan.roots).path / "train.py"
    return "def train_many(" in loop.read_text(encoding="utf-8")


def _trainer_alone(trainer: str, plan: Plan) -> str | None:
    return None if takes_many(trainer, plan) else f"the trainer {trainer} has no train_many"
