"""Candidates' adapters: trained here, given, or another's in the form it is shipped in; checked against their base."""

from __future__ import annotations

import time
from collections.abc import Sequence

from evalkit.errors import CandidateError, DroppedError
from evalkit.models.hashing import adapter_sha256
from evalkit.running.bases import Adapter, LazyBase
from evalkit.running.cache import Cache
from evalkit.running.done import Done
from evalkit.running.folder import RunFolder
from evalkit.running.plan import Plan, Planned
from evalkit.running.progress import Progress
from evalkit.running.train import train_candidate
from evalkit.specs.study import AdapterCandidate

__all__ = ["make_adapter", "make_adapters"]


def make_adapters(
    members: Sequence[Done],
    plan: Plan,
    base: LazyBase | None,
    cache: Cache,
    folder: RunFolder,
    progress: Progress,
) -> dict[str, Adapter]:
    """Train candidates and check every adapter, before anyone is asked: a wrong one is told of at once.

    Args:
        members: The candidates of one base; what cannot be done, or was dropped, is noted in them.
        plan: What they are part of.
        base: Their base; None for those that have none.
        cache: Of finished stages.
        folder: Of the run.
        progress: Told what could not be done.

    Returns:
        Candidate → its adapter, for those that have one.
    """
    found: dict[str, Adapter] = {}
    for member in members:
        name, started = member.planned.name, time.monotonic()
        try:
            adapter = make_adapter(member, plan, base, cache, folder, progress)
            if adapter is not None:
                found[name] = adapter
        except DroppedError:
            member.dropped = True
        except CandidateError as error:
            member.fail(error, progress)
        finally:
            if base is not None:
                base.forget(name)
        spent = {} if base is None else base.training_seconds
        member.seconds["train"] = spent.get(name, time.monotonic() - started)
    return found


def make_adapter(
    member: Done, plan: Plan, base: LazyBase | None, cache: Cache, folder: RunFolder, progress: Progress
) -> Adapter | None:
    """Make the candidate's adapter and check it against its base; None for a candidate without one.

    Raises:
        DroppedError: Its search dropped it.
        CandidateError: It could not be made, or does not fit.
    """
    planned = member.planned
    if base is None:
        return None
    if planned.kind == "train":
        trained = train_candidate(planned, plan, base, cache, folder, progress)
        member.training, member.adapter_sha256 = trained.summary, trained.sha256
        member.notes.extend(trained.notes)
        if trained.path is None or trained.sha256 is None:
            raise DroppedError(f"{planned.name} was {trained.summary.stopped}, as its search asks for")
        base.preflight(planned.name, trained.path, trained.sha256)
        return Adapter(planned.name, trained.path, trained.sha256)
    if isinstance(planned.spec, AdapterCandidate):
        member.adapter_sha256 = adapter_sha256(planned.spec.path)
        member.notes.extend(base.preflight(planned.name, planned.spec.path, member.adapter_sha256))
        return Adapter(planned.name, planned.spec.path, member.adapter_sha256)
    if planned.form is not None:
        adapter = _adapter_of(planned, plan, base, cache, folder, progress)
        member.adapter_sha256 = adapter.sha256
        return adapter
    return None


def _adapter_of(
    planned: Planned, plan: Plan, base: LazyBase, cache: Cache, folder: RunFolder, progress: Progress
) -> Adapter:
    """The adapter that is merged: another candidate's, as it was made or given."""
    other = next(candidate for candidate in plan.candidates if candidate.name == planned.of)
    try:
        adapter = make_adapter(Done(other), plan, base, cache, folder, progress)
    except CandidateError as error:
        if isinstance(error, DroppedError):
            raise
        raise CandidateError(f"it is {other.name} merged, which could not be done: {error}") from error
    if adapter is None:
        raise CandidateError(f"{other.name} has no adapter to merge")
    base.preflight(planned.name, adapter.path, adapter.sha256, planned.form)
    return adapter._replace(name=planned.name, form=planned.form)
