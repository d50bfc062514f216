"""Candidates of one base that have few answers to give each: in common passes, into the cache.

A pass over few tokens takes as long as reading the base's weights, so that five candidates with eight answers each take
little longer together than one of them. What is done here is only sooner in the cache: each candidate still reads it,
and asks for what is missing, by itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from evalkit.errors import CandidateError
from evalkit.models.limits import Limits
from evalkit.models.local import answer_together, why_not_together
from evalkit.models.memory import out_of_memory
from evalkit.records import Request
from evalkit.running.answer import keep
from evalkit.running.bases import Adapter, LazyBase, LazyModel
from evalkit.running.cache import Cache
from evalkit.running.done import Done
from evalkit.running.keys import answer_key
from evalkit.running.progress import Progress

__all__ = ["Few", "answer_few", "most_answers"]

SHARE = 4
"""Of a device's slots this part: a candidate that fills more of them gains little from company."""


class Few(NamedTuple):
    """A local candidate and all that a task asks of it."""

    member: Done
    adapter: Adapter | None
    requests: list[Request]


def most_answers(base: LazyBase) -> int:
    """How many answers of a candidate are few on the base's device."""
    return Limits.of(base.device).slots // SHARE


def answer_few(base: LazyBase, task: str, asked: Sequence[Few], cache: Cache, progress: Progress) -> None:
    """Answer together what candidates have left to answer, where at least two of them have little of it.

    Candidates whose adapters cannot act side by side are left out, and so is an adapter that does not fit: that is
    told when its own turn comes.

    Args:
        base: Of all of them.
        task: Its name, for the reader.
        asked: The candidates.
        cache: Where the answers go.
        progress: Told of every answer.
    """
    missing = [(each, _missing(base, each, cache)) for each in asked]
    able = [(each, left) for each, left in missing if 0 < _answers(left) <= most_answers(base)]
    if len(able) > 1:
        able = [(each, left) for each, left in able if _fits(base, each.adapter)]
    if len(able) < 2:
        return
    keys = {key: (each, request) for each, left in able for key, request in left.items()}
    pairs = [(each.adapter.name if each.adapter else None, request) for each, request in keys.values()]
    places, started = list(keys), time.monotonic()
    progress.stage(f"answer {len(able)} candidates · {task}", total=len(pairs), unit="samples")
    try:
        for place, output in answer_together(base.load(), pairs):
            keep(cache, places[place], output)
            progress.advance()
    except NotImplementedError as error:
        base.tell(f"{error}: candidates answer one after the other.")
    progress.done()
    for each, left in able:
        each.member.took(f"answer {task}", (time.monotonic() - started) * len(left) / len(pairs))


def _missing(base: LazyBase, few: Few, cache: Cache) -> dict[str, Request]:
    """What is not in the cache, by key; nothing where it cannot be asked at once."""
    merged = few.adapter is not None and few.adapter.form is not None
    if merged or any(request.kind == "conversation" for request in few.requests):
        return {}
    try:
        fingerprint = LazyModel(base, few.adapter).fingerprint()
    except CandidateError:  # told when its own turn comes
        return {}
    keys = {answer_key(fingerprint, request): request for request in few.requests}
    stored = cache.get_many(keys)
    return {key: request for key, request in keys.items() if key not in stored}


def _answers(left: dict[str, Request]) -> int:
    return sum(request.generation.samples if request.kind == "generate" else 1 for request in left.values())


def _fits(base: LazyBase, adapter: Adapter | None) -> bool:
    try:
        loaded = base.put_on(adapter)
    except CandidateError:
        return False
    except RuntimeError as error:
        if out_of_memory(error):  # not beside the others; alone there may be room
            return False
        raise
    return why_not_together(loaded, [] if adapter is None else [adapter.name]) is None
