"""Candidates of a search meet at its rungs: they show their losses, and those that lost train no further."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evalkit.errors import CandidateError
from evalkit.training.halving import told, where
from evalkit.training.member import Member
from evalkit.training.summary import summarise

__all__ = ["compete"]


def compete(members: Sequence[Member], finish: Callable[[Member], None]) -> None:
    """Show the searches who has come to a rung and who is out; end who lost, and who waited for that alone.

    Args:
        members: Candidates, with a search or without.
        finish: Ends one that has nothing left to do.
    """
    searching = [(member, member.job.search) for member in members if member.job.search is not None]
    for member, search in searching:
        loss = member.position.shown
        if isinstance(member.outcome, CandidateError):
            search.leave(member.job.name)
        elif member.outcome is None and member.waits and loss is not None:
            ended = member.stopped is not None
            search.arrive(member.job.name, loss, member.position.step, member.steps, ended=ended)
    for member, search in searching:
        if member.outcome is not None:
            continue
        if member.position.note(search.standings(member.job.name)):
            member.job.log(member.position.rows[-1])
        lost = search.lost(member.job.name)
        if lost is not None and member.position.rows and member.position.step >= lost["step"]:
            member.job.tell(told(lost))
            member.outcome = summarise(member.position, member.per_epoch, member.job, where(lost))
        elif member.stopped is not None and not member.waits:
            finish(member)
