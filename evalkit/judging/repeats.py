"""Asking a judge the same again: which answers, and what came of it. A repetition never enters a number.

A judge behind a server is asked the very same; the delimiters' marks differ, as they do in every call. The
probabilities of a model in this process change with these marks alone: that is what a repetition of it shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evalkit.judging.ask import Asked
from evalkit.judging.cases import Case
from evalkit.judging.prompts import Question
from evalkit.judging.records import Judgement
from evalkit.signature import digest

__all__ = ["FEWEST", "asked_again", "count_again", "drawn_again", "with_repeats"]

FEWEST = 10
"""Answers that are judged a second time at least, where there are so many."""


def count_again(cases: int, share: float) -> int:
    """How many of so many cases are judged a second time.

    >>> count_again(1000, 0.05), count_again(64, 0.05), count_again(4, 0.05), count_again(64, 0.0)
    (50, 10, 4, 0)
    """
    return min(cases, max(FEWEST, round(share * cases))) if share > 0 else 0


def drawn_again(cases: Sequence[Case], share: float, *, seed: int) -> set[int]:
    """Return the places of the cases to judge a second time.

    Args:
        cases: Those with something to ask about.
        share: Of them, in 0–1; 0 is none, else ``FEWEST`` at least.
        seed: Of the draw, which depends on candidate, task and id alone.
    """
    keys = [digest([seed, "again", case.candidate, case.task, case.id]) for case in cases]
    order = sorted(range(len(cases)), key=keys.__getitem__)
    return set(order[: count_again(len(cases), share)])


def asked_again(questions: Sequence[Question]) -> list[Question]:
    """The same questions once more; none for a judge with votes, which are repetitions already."""
    if any(question.vote > 0 for question in questions):
        return []
    return [replace(question, id=f"{question.id}|again", vote=1) for question in questions]


def with_repeats(row: Judgement, questions: Sequence[Question], asked: Mapping[str, Asked]) -> Judgement:
    """Return a row with the verdicts of what was asked more than once, and what the repetitions took.

    Args:
        row: Of the questions' first asking, or of all votes.
        questions: Of a case, those asked again among them.
        asked: Question id → outcome.
    """
    said: dict[str, list[Any]] = {}
    for question in questions:
        said.setdefault(question.id.rpartition("|v")[0], []).append(_said(asked[question.id]))
    more = [asked[question.id] for question in questions if question.id.endswith("|again")]
    costs = [one.cost for one in more if one.cost is not None]
    return replace(
        row,
        repeats=tuple(tuple(verdicts) for verdicts in said.values() if len(verdicts) > 1),
        calls=row.calls + sum(one.calls for one in more),
        tokens=row.tokens + sum(one.tokens for one in more),
        seconds=row.seconds + sum(one.seconds for one in more),
        cost=(row.cost or 0.0) + sum(costs) if costs else row.cost,
    )


def _said(one: Asked) -> Any:
    """The verdict as a JSON value: of probabilities the likeliest word, for no two of them are ever equal."""
    if one.verdict is None:
        return None
    if one.probabilities is not None:
        return one.replies[-1]
    value = one.verdict.value
    return list(value) if isinstance(value, tuple) else value
